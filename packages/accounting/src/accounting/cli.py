"""The command `flops`: what a model costs, before it runs."""

import argparse
import difflib
import json
import sys
from collections.abc import Sequence

from accounting.presets import PRESETS
from accounting.report import describe, render
from accounting.shape import ModelShape

_SIZES = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")


def flops(argv: Sequence[str] | None = None) -> None:
    """Print parameters and forward FLOPs of presets, or of a shape given by its sizes."""
    arguments = _parser().parse_args(argv)
    try:
        shapes = _shapes(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments.json:
        print(json.dumps({name: describe(shape) for name, shape in shapes.items()}, indent=2))
    else:
        print(render(shapes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flops",
        description="Parameters and forward FLOPs of a Transformer language model, component by "
        "component. FLOPs count matrix products by the counter convention: attention not halved.",
        epilog="A shape of your own needs all six sizes, e.g. flops --vocab-size 10000 "
        "--context-length 256 --d-model 512 --num-layers 4 --num-heads 16 --d-ff 1344",
    )
    parser.add_argument(
        "presets", nargs="*", metavar="PRESET", help=f"{', '.join(PRESETS)}; default: all"
    )
    for name in _SIZES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    parser.add_argument("--num-kv-heads", type=int, metavar="N", help="grouped-query attention")
    parser.add_argument("--feed-forward", choices=("swiglu", "silu"), default="swiglu")
    parser.add_argument("--tie-embeddings", action="store_true", help="head = embedding")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def _shapes(arguments: argparse.Namespace) -> dict[str, ModelShape]:
    given = {name: getattr(arguments, name) for name in _SIZES}
    named = [name for name, value in given.items() if value is not None]
    if not named:
        return {name: _preset(name) for name in arguments.presets or PRESETS}
    if arguments.presets:
        raise ValueError(f"give presets ({', '.join(arguments.presets)}) or sizes, not both")
    missing = [f"--{name.replace('_', '-')}" for name in _SIZES if name not in named]
    if missing:
        raise ValueError(f"a shape needs all six sizes; missing: {', '.join(missing)}")
    shape = ModelShape(
        **given,
        num_kv_heads=arguments.num_kv_heads,
        feed_forward=arguments.feed_forward,
        tie_embeddings=arguments.tie_embeddings,
    )
    return {"custom": shape}


def _preset(name: str) -> ModelShape:
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown preset {name!r}; did you mean {near!r}? presets are {', '.join(PRESETS)}"
        )
    return PRESETS[name]
