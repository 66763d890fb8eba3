"""Run the commands flops, params, memory, inference, plan and measure-peak.

Results go to stdout and charts to files; a mistake ends with one line and exit code 2. A program
that trains models answers the same commands for its own (`run_command`).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accounting.cli import answers
from accounting.cli import arguments as options
from accounting.cli.streams import fail, repair_streams, written_output
from accounting.scaling import APPROACHES
from accounting.sources.inputs import ACCOUNTING
from accounting.sources.model import Application


def run_named_command(argv: Sequence[str], *, application: Application) -> None:
    """Answer the command that the first word names, for a program that offers all of them."""
    parser = argparse.ArgumentParser(
        prog=application.command.strip(),
        description="What models cost, before they run and while they train.",
        epilog="\n".join(_parser(name, application).format_usage() for name in COMMANDS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="its own, see below")
    named = parser.parse_args(argv)
    run_command(named.command, named.words, application=application)


def run_command(
    name: str, argv: Sequence[str] | None = None, *, application: Application = ACCOUNTING
) -> None:
    """Answer a command.

    Args:
        name: of `COMMANDS`.
        argv: its words; None: those of the process.
        application: in whose terms models are named.

    Raises:
        SystemExit: a mistake (2), `--help` (0), or nobody reads the answer.
    """
    parser = _parser(name, application)
    repair_streams()
    try:
        with written_output():
            print(COMMANDS[name].answer(parser.parse_args(argv), application))
    except (ValueError, OSError) as error:
        fail(f"{parser.prog}: error: {error}")


def _parser(name: str, application: Application) -> argparse.ArgumentParser:
    command, prog = COMMANDS[name], f"{application.command}{name}"
    parser = options.new_parser(prog, command.description, epilog=command.epilog)
    command.declare(parser, application)
    return parser


def _declare_flops(parser: argparse.ArgumentParser, application: Application) -> None:
    options.add_models(parser, application, default="the GPT-2 sizes of both years")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw shares as SVG")


def _declare_memory(parser: argparse.ArgumentParser, application: Application) -> None:
    options.add_models(parser, application, default=answers.DEFAULT_MODEL)
    options.add_step(parser)
    options.add_device(parser)
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the peak as SVG")


def _declare_inference(parser: argparse.ArgumentParser, application: Application) -> None:
    options.add_models(parser, application, default=answers.DEFAULT_MODEL)
    options.add_device(parser)
    group = parser.add_argument_group("what is generated")
    group.add_argument("--prompt-tokens", type=int, metavar="N", help="per sequence (the context)")
    group.add_argument("--new-tokens", type=int, default=0, metavar="N", help="after it (0)")
    group.add_argument("--batch-size", type=int, default=1, metavar="N", help="sequences (1)")
    group.add_argument("--weight-bytes", type=float, default=2, metavar="N", help="a weight (2)")
    group.add_argument("--cache-bytes", type=float, default=2, metavar="N", help="a number (2)")


def _declare_plan(parser: argparse.ArgumentParser, application: Application) -> None:
    options.add_models(parser, application, default="a proposal")
    options.add_device(parser)
    group = parser.add_argument_group("the budget, or the run")
    group.add_argument("--hours", type=float, metavar="N", help="wall clock available")
    group.add_argument("--mfu", type=float, default=0.4, help="share of the peak reached (0.4)")
    group.add_argument("--dtype", choices=("bfloat16", "tf32", "float32"), help="(bfloat16)")
    group.add_argument("--approach", choices=APPROACHES, default="parametric", help="which fit")
    group.add_argument("--unique-tokens", type=float, metavar="N", help="tokens of the corpus")
    group.add_argument("--corpus", metavar="NAME", help="named by the configuration")
    group.add_argument("--write", type=Path, metavar="FILE", help="write the configuration")
    group.add_argument("--steps", type=int, metavar="N", help="optimizer steps of the run")
    group.add_argument("--batch-size", type=int, metavar="N", help="windows per step")
    group.add_argument("--evaluation-tokens", type=int, default=0, metavar="N", help="in total (0)")
    group.add_argument("--warm-up-seconds", type=float, default=0.0, metavar="N", help="(0)")
    group.add_argument("--price", type=float, metavar="N", help="of an hour, in any currency")


def _declare_measure_peak(parser: argparse.ArgumentParser, application: Application) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ..., mps (cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command: what its help says, its options, and what answers."""

    description: str
    epilog: str
    declare: Callable[[argparse.ArgumentParser, Application], None]
    answer: Callable[[argparse.Namespace, Application], str]


COMMANDS = {
    "flops": Command(
        description="Parameters and FLOPs of a Transformer language model, component by component. "
        "FLOPs are\nof matrix products. Conventions: counter counts every score, as torch's "
        "FlopCounterMode\ndoes; model halves causal attention (MFU uses it); hardware adds what is "
        "computed twice.",
        epilog="flops cs336-2026-xl cs336-2026-xl-16k\nflops gpt2-xl --d-ff 4288\n"
        "A shape of your own needs all six sizes, e.g. flops --vocab-size 10000 "
        "--context-length 256\n--d-model 512 --num-layers 4 --num-heads 16 --d-ff 1344",
        declare=_declare_flops,
        answer=answers.answer_flops,
    ),
    "params": Command(
        description="Parameters of a Transformer language model, component by component; exact.",
        epilog="params tinystories\nparams path/to/config.json\nparams model.safetensors",
        declare=partial(options.add_models, default=answers.DEFAULT_MODEL),
        answer=answers.answer_params,
    ),
    "memory": Command(
        description="Memory of a training step in eager mode: weights, gradients, optimizer state, "
        "what is\nkept for the backward pass tensor by tensor, and the peak over the step. Then a "
        "* batch\n+ b and the largest batch that fits, with the activations that CS336 lists in "
        "2025, with\nthose that it lists in 2026, and with all that this project's model keeps. "
        "Dimensions:\nb batch, t position, d width, h query head, g key head, k head width, f "
        "feed-forward\nwidth, v vocabulary.",
        epilog="memory cs336-2026-xl --memory-gb 80\nmemory tinystories --batch-size 128 "
        "--device H200 --dtype bfloat16",
        declare=_declare_memory,
        answer=answers.answer_memory,
    ),
    "inference": Command(
        description="Generating with a cache: its bytes, FLOPs of prefill and decode, and the "
        "tokens/s that\nthe memory's bandwidth allows.",
        epilog="inference gpt2-xl --device H200 --prompt-tokens 512 --new-tokens 128",
        declare=_declare_inference,
        answer=answers.answer_inference,
    ),
    "plan": Command(
        description="Without a model: the best one for the hours and the device, by Chinchilla's "
        "fits. With a\nmodel: how long it trains, what that draws and costs; of a run under way: "
        "what is left.",
        epilog="plan --hours 2 --device H200\n"
        "plan gpt2-xl --steps 400000 --batch-size 1024 --device A100 --dtype float32 --mfu 0.5\n"
        "plan cs336-2026-xl --steps 400000 --batch-size 1024 --peak-tflops 495 --mfu 0.5",
        declare=_declare_plan,
        answer=answers.answer_plan,
    ),
    "measure-peak": Command(
        description="The FLOP/s that matrix products reach on this machine, for --peak-tflops. The "
        "one\ncommand that needs torch: it comes with the extra `measure`.",
        epilog="measure-peak --device cuda --dtype bfloat16",
        declare=_declare_measure_peak,
        answer=answers.answer_measure_peak,
    ),
}

flops, params, memory, inference, plan, measure_peak = (
    partial(run_command, name) for name in COMMANDS
)
"""The scripts; each takes its words, None for those of the process."""
