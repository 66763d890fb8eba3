"""The command `flops`: what a model costs, before it runs."""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterable, Sequence

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
        print(f"flops: error: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments.json:
        text = json.dumps({name: describe(shape) for name, shape in shapes.items()}, indent=2)
    else:
        text = render(shapes)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader has gone, as `head` does. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


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
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    # What is not given does not appear, so that `ModelShape` alone has the defaults.
    shape = parser.add_argument_group("a shape of your own", argument_default=argparse.SUPPRESS)
    for name in _SIZES:
        shape.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    shape.add_argument("--num-kv-heads", type=int, metavar="N", help="grouped-query attention")
    shape.add_argument("--feed-forward", choices=("swiglu", "silu"), help="default: swiglu")
    shape.add_argument("--tie-embeddings", action="store_true", help="head = embedding")
    return parser


def _shapes(arguments: argparse.Namespace) -> dict[str, ModelShape]:
    given = {k: v for k, v in vars(arguments).items() if k not in ("presets", "json")}
    if not given:
        return {name: _preset(name) for name in arguments.presets or PRESETS}
    if arguments.presets:
        raise ValueError(
            f"give presets ({', '.join(arguments.presets)}) or a shape ({_options(given)}), "
            "not both"
        )
    missing = [name for name in _SIZES if name not in given]
    if missing:
        raise ValueError(f"a shape needs all six sizes; missing: {_options(missing)}")
    return {"custom": ModelShape(**given)}


def _options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _preset(name: str) -> ModelShape:
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown preset {name!r}; did you mean {near!r}? presets are {', '.join(PRESETS)}"
        )
    return PRESETS[name]
