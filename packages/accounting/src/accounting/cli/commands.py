"""The commands: flops, params, memory, inference, plan, measure-peak.

Results go to stdout and charts to files; a mistake ends with one line and exit code 2.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from accounting.cli import arguments as options
from accounting.cli.measure_peak import measure_peak as measure
from accounting.cli.streams import fail, repair_streams, written_output
from accounting.inference import inference as infer
from accounting.parameters import count_parameters
from accounting.plan import Budget, plan_to_toml, propose
from accounting.plural import plural
from accounting.presets import COURSE_PRESETS, describe_model
from accounting.reports.chart import stacked_bars
from accounting.reports.costs import describe, flops_bars, render
from accounting.reports.files import write_text_atomically
from accounting.reports.layout import Section, render_sections, sections_json
from accounting.reports.memory import memory_sections
from accounting.reports.runs import (
    allocation_section,
    duration_section,
    inference_sections,
    parameter_section,
    plan_section,
)
from accounting.scaling import APPROACHES
from accounting.sources.inputs import Model
from accounting.time import read_metrics, remaining_time, training_time

_XL = "gpt2-xl"


def flops(argv: Sequence[str] | None = None) -> None:
    """Print parameters and FLOPs of models, component by component."""
    parser = options.new_parser(
        "flops",
        "Parameters and FLOPs of a Transformer language model, component by component. FLOPs are\n"
        "of matrix products. Conventions: counter counts every score, as torch's FlopCounterMode\n"
        "does; model halves causal attention (MFU uses it); hardware adds what is computed twice.",
        epilog="flops cs336-2026-xl cs336-2026-xl-16k\nflops gpt2-xl --d-ff 4288\n"
        "A shape of your own needs all six sizes, e.g. flops --vocab-size 10000 "
        "--context-length 256\n--d-model 512 --num-layers 4 --num-heads 16 --d-ff 1344",
    )
    options.add_models(parser, default="the GPT-2 sizes of both years")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw shares as SVG")
    _run(parser, argv, _flops)


def params(argv: Sequence[str] | None = None) -> None:
    """Print parameters of models."""
    parser = options.new_parser(
        "params",
        "Parameters of a Transformer language model, component by component; exact.",
        epilog="params tinystories\nparams path/to/config.json\nparams model.safetensors",
    )
    options.add_models(parser, default=_XL)
    _run(parser, argv, _params)


def memory(argv: Sequence[str] | None = None) -> None:
    """Print the memory of a training step, tensor by tensor, and the largest batch."""
    parser = options.new_parser(
        "memory",
        "Memory of a training step in eager mode: weights, gradients, optimizer state, what is\n"
        "kept for the backward pass tensor by tensor, and the peak over the step. Then a * batch\n"
        "+ b and the largest batch that fits, with the activations that CS336 lists in 2025, with\n"
        "those that it lists in 2026, and with all that this project's model keeps. Dimensions:\n"
        "b batch, t position, d width, h query head, g key head, k head width, f feed-forward\n"
        "width, v vocabulary.",
        epilog="memory cs336-2026-xl --memory-gb 80\nmemory tinystories --batch-size 128 "
        "--device H200 --dtype bfloat16\nmemory runs/quickstart-001 --explain",
    )
    options.add_models(parser, default=_XL)
    options.add_step(parser)
    options.add_device(parser)
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the peak as SVG")
    _run(parser, argv, _memory)


def inference(argv: Sequence[str] | None = None) -> None:
    """Print what generating text costs."""
    parser = options.new_parser(
        "inference",
        "Generating with a cache: its bytes, FLOPs of prefill and decode, and the tokens/s that\n"
        "the memory's bandwidth allows.",
        epilog="inference gpt2-xl --device H200 --prompt-tokens 512 --new-tokens 128",
    )
    options.add_models(parser, default=_XL)
    options.add_device(parser)
    group = parser.add_argument_group("what is generated")
    group.add_argument("--prompt-tokens", type=int, metavar="N", help="a sequence (the context)")
    group.add_argument("--new-tokens", type=int, default=0, metavar="N", help="after it (0)")
    group.add_argument("--batch-size", type=int, default=1, metavar="N", help="sequences (1)")
    group.add_argument("--weight-bytes", type=float, default=2, metavar="N", help="a weight (2)")
    group.add_argument("--cache-bytes", type=float, default=2, metavar="N", help="a number (2)")
    _run(parser, argv, _inference)


def plan(argv: Sequence[str] | None = None) -> None:
    """Propose a model for a budget, or say how long a given one takes."""
    parser = options.new_parser(
        "plan",
        "Without a model: the best one for the hours and the device, by Chinchilla's fits, with a\n"
        "configuration that the trainer takes. With a model: how long it trains, what that draws\n"
        "and costs. With a run's folder: what is left, by its own metrics.",
        epilog="plan --hours 2 --device H200 --write plan.toml\n"
        "plan gpt2-xl --steps 400000 --batch-size 1024 --device A100 --dtype float32 --mfu 0.5\n"
        "plan cs336-2026-xl --steps 400000 --batch-size 1024 --peak-tflops 495 --mfu 0.5\n"
        "plan runs/quickstart-001",
    )
    options.add_models(parser, default="a proposal")
    options.add_device(parser)
    group = parser.add_argument_group("the budget, or the run")
    group.add_argument("--hours", type=float, metavar="N", help="wall clock there is")
    group.add_argument("--mfu", type=float, default=0.4, help="share of the peak reached (0.4)")
    group.add_argument("--dtype", choices=("bfloat16", "tf32", "float32"), help="(bfloat16)")
    group.add_argument("--approach", choices=APPROACHES, default="parametric", help="which fit")
    group.add_argument("--unique-tokens", type=float, metavar="N", help="tokens of the corpus")
    group.add_argument("--corpus", choices=("stdlib", "tinystories", "owt"), default="owt")
    group.add_argument("--write", type=Path, metavar="FILE", help="write the configuration")
    group.add_argument("--steps", type=int, metavar="N", help="optimizer steps of the run")
    group.add_argument("--batch-size", type=int, metavar="N", help="windows a step")
    group.add_argument("--evaluation-tokens", type=int, default=0, metavar="N", help="in all (0)")
    group.add_argument("--warm-up-seconds", type=float, default=0.0, metavar="N", help="(0)")
    group.add_argument("--price", type=float, metavar="N", help="of an hour, in any currency")
    _run(parser, argv, _plan)


def measure_peak(argv: Sequence[str] | None = None) -> None:
    """Measure the FLOP/s of matrix products; needs torch."""
    parser = options.new_parser(
        "measure-peak",
        "The FLOP/s that matrix products reach on this machine, for --peak-tflops. The one\n"
        "command that needs torch: it comes with the extra `measure`.",
        epilog="measure-peak --device cuda --dtype bfloat16",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ..., mps (cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    _run(parser, argv, _measure_peak)


def _flops(arguments: argparse.Namespace) -> str:
    models = options.read_models(arguments, default=COURSE_PRESETS)
    shapes = {name: model.require("context_length") for name, model in models.items()}
    if arguments.chart:
        title = "Forward FLOPs of one sequence, shares (counter convention)"
        chart = stacked_bars(title, flops_bars(shapes), unit="TFLOP", share=True)
        write_text_atomically(arguments.chart, chart)
    if arguments.json:
        return json.dumps({name: describe(name, shape) for name, shape in shapes.items()}, indent=2)
    return render(shapes, explain=arguments.explain)


def _params(arguments: argparse.Namespace) -> str:
    models = options.read_models(arguments, default=[_XL])
    return _shown(
        arguments,
        [
            parameter_section(
                describe_model(name, model.shape), count_parameters(model.shape), model.weights
            )
            for name, model in models.items()
        ],
    )


def _memory(arguments: argparse.Namespace) -> str:
    models = options.read_models(arguments, default=[_XL])
    memory_bytes = options.memory_of(arguments, default_gb=80)
    sections, bars = [], {}
    for name, model in models.items():
        shape = model.require("context_length", "num_heads")
        found = memory_sections(
            shape, options.read_settings(arguments, model), memory_bytes=memory_bytes
        )
        title = describe_model(name, shape)
        bars[title] = _bar(found[2])
        for index, one in enumerate(found):
            is_named = index == 0 or len(models) > 1
            heading = f"{title}: {one.title}" if is_named else one.title
            sections.append(Section(heading, one.rows, one.note))
    if arguments.chart:
        title = "Memory at the peak of a training step"
        write_text_atomically(arguments.chart, stacked_bars(title, bars, unit="GB"))
    return _shown(arguments, sections)


def _bar(section: Section) -> dict[str, float]:
    """Sum what lives at the peak by its kind, which the label says before the colon."""
    bar: dict[str, float] = {}
    for row in section.rows:
        kind = row.name.partition(":")[0]
        assert isinstance(row.value, int)
        bar[kind] = bar.get(kind, 0.0) + row.value / 1e9
    largest = sorted(bar, key=lambda kind: -bar[kind])[:6]
    rest = sum(value for kind, value in bar.items() if kind not in largest)
    return {kind: bar[kind] for kind in largest} | {"other": rest}


def _inference(arguments: argparse.Namespace) -> str:
    sections = []
    device = options.read_device(arguments)
    for name, model in options.read_models(arguments, default=[_XL]).items():
        shape = model.require("context_length")
        prompt = arguments.prompt_tokens or shape.context_length - arguments.new_tokens
        found = infer(
            shape,
            prompt_tokens=prompt,
            new_tokens=arguments.new_tokens,
            batch_size=arguments.batch_size,
            weight_bytes=arguments.weight_bytes,
            cache_bytes=arguments.cache_bytes,
            bytes_per_second=device.bytes_per_second if device else None,
        )
        sequences = plural(arguments.batch_size, "sequence")
        how = f"{sequences} of {prompt} + {plural(arguments.new_tokens, 'token')}"
        sections += inference_sections(describe_model(name, shape), found, how=how)
    return _shown(arguments, sections)


def _plan(arguments: argparse.Namespace) -> str:
    models = options.read_models(arguments, default=[])
    if not models:
        return _proposal(arguments)
    return _shown(
        arguments,
        [one for name, model in models.items() for one in _durations(arguments, name, model)],
    )


def _proposal(arguments: argparse.Namespace) -> str:
    if arguments.hours is None:
        raise ValueError("give --hours and --device for a proposal, or a model to time")
    dtype = arguments.dtype or "bfloat16"
    budget = Budget(
        hours=arguments.hours,
        peak_flops_per_second=options.peak_of(arguments, dtype),
        memory_bytes=options.memory_of(arguments, default_gb=16),
        utilization=arguments.mfu,
    )
    proposed = propose(
        budget,
        approach=arguments.approach,
        unique_tokens=arguments.unique_tokens,
        settings=options.StepSettings(
            dtype="bfloat16" if dtype == "bfloat16" else "float32", loss="chunked"
        ),
    )
    toml = plan_to_toml(proposed, source=arguments.corpus, hours=arguments.hours)
    if arguments.write:
        write_text_atomically(arguments.write, toml)
    sections = [allocation_section(budget.flops), plan_section(proposed, budget)]
    if arguments.json:
        content = sections_json(sections, explain=arguments.explain)
        return json.dumps({**content, "toml": toml}, indent=2)
    return f"{render_sections(sections, explain=arguments.explain)}\n\n{toml}".rstrip()


def _durations(arguments: argparse.Namespace, name: str, model: Model) -> list[Section]:
    metrics, price = Path(name) / "metrics.jsonl", arguments.price
    shape = model.require("context_length")
    device = options.read_device(arguments)
    training = model.run.get("training", {})
    steps = arguments.steps or training.get("max_steps")
    batch_size = arguments.batch_size or training.get("batch_size")
    if steps is None or batch_size is None:
        raise ValueError(f"{name} does not say how long it trains; give --steps and --batch-size")
    tokens = steps * batch_size * shape.context_length
    if metrics.is_file():
        left = remaining_time(read_metrics(metrics), total_tokens=tokens)
        title = f"{name}: what is left, by its own metrics"
        return [duration_section(title, left, device=device, price=price)]
    peak = options.peak_of(arguments, arguments.dtype or "bfloat16")
    return [
        duration_section(
            f"{describe_model(name, shape)}: {plural(tokens, 'token')} at {arguments.mfu:.0%} of "
            f"{peak / 1e12:g} TFLOP/s, FLOPs by the {convention} convention",
            training_time(
                shape,
                tokens,
                flops_per_second=peak * arguments.mfu,
                convention=convention,
                evaluation_tokens=arguments.evaluation_tokens,
                warm_up_seconds=arguments.warm_up_seconds,
            ),
            device=device,
            price=price,
        )
        for convention in ("counter", "model")
    ]


def _measure_peak(arguments: argparse.Namespace) -> str:
    speed, size = measure(arguments.device, arguments.dtype)
    if arguments.json:
        return json.dumps({"flops_per_second": speed, "size": size})
    why = f"  best of matrix products, at {size} x {size}" if arguments.explain else ""
    return f"{arguments.device}, {arguments.dtype}: {speed / 1e12:.3f} TFLOP/s{why}"


def _shown(arguments: argparse.Namespace, sections: Sequence[Section]) -> str:
    if arguments.json:
        return json.dumps(sections_json(sections, explain=arguments.explain), indent=2)
    return render_sections(sections, explain=arguments.explain)


def _run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    command: Callable[[argparse.Namespace], str],
) -> None:
    repair_streams()
    try:
        with written_output():
            print(command(parser.parse_args(argv)))
    except (ValueError, OSError) as error:
        fail(f"{parser.prog}: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
