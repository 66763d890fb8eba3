"""Compare every calculator's figures with measurements.

Stage: options -> models, cases -> calculators, measurement -> *tables, JSON*. Parameters are
compared with the sum of `numel`, FLOPs with torch's own counter, memory with the log of torch's CPU
allocator. Nothing is timed, so the machine does not matter. Not here: asking a calculator
(`contestants`), measuring memory (`measured`).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bench.console import new_table, print_problems, say, table_console
from bench.contestants.peers import ACCOUNTANTS, fetch_extras, why_missing
from bench.durable import write_json
from bench.measurement.machine import describe_machine

if TYPE_CHECKING:
    from bench.calculators.cases import Changes

HELP = "Compare parameters, FLOPs and memory with accelerate, calflops and measurements."
FORMAT, VERSION = "bench-accounting", 1

_MODELS = ("quickstart", "tinystories")
_BATCH_SIZE = 1
_LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of one calculator about one model."""

    model: str
    figure: str
    calculator: str
    said: float | None
    measured: float
    note: str = ""

    @property
    def error(self) -> float | None:
        """Signed, as a share of the measured value."""
        return None if self.said is None else self.said / self.measured - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--markdown", action="store_true", help="print the docs' memory table")
    parser.add_argument("--quick", action="store_true", help="only the smallest model")


def run(arguments: argparse.Namespace) -> int:
    """Ask, measure and report; 1 if ours is off by more than 5 % of memory or by one FLOP."""
    fetch_extras(ACCOUNTANTS)
    import torch

    from bench.calculators.cases import CASES, NATIVE_CASES
    from nn_layers.backends.cpu.kernels import why_no_native_kernels

    reason = why_no_native_kernels(torch.bfloat16)
    if reason is not None:
        say(f"skipping our own kernels: {reason}")
    everything = [*CASES, *(NATIVE_CASES if reason is None else [])]
    console = table_console(160)
    lines = [line for name in _MODELS[: 1 if arguments.quick else None] for line in _model(name)]
    cases = list(_memory_cases(CASES[:2] if arguments.quick else everything))
    if arguments.json:
        document = {
            "format": FORMAT,
            "version": VERSION,
            "machine": describe_machine(sorted({"torch", *ACCOUNTANTS.values()})),
            "lines": [asdict(line) | {"error": line.error} for line in lines + cases],
        }
        write_json(arguments.json, document)
    console.print(_comparison(lines))
    if arguments.markdown:
        print(_markdown(cases))
    else:
        console.print(_memory_table(cases))
    wrong = [line for line in lines + cases if line.calculator == "ours" and _is_wrong(line)]
    return print_problems(f"{line.model}, {line.figure}: {line.error:+.2%}" for line in wrong)


def _is_wrong(line: Line) -> bool:
    limit = _LIMIT if line.figure.startswith("peak") else 0.0
    return line.error is None or abs(line.error) > limit


def _model(name: str) -> Iterator[Line]:
    """Ask every calculator about one preset, and yield its figures with the measured ones."""
    from torch.utils.flop_counter import FlopCounterMode

    from accounting import StepSettings
    from accounting.sources.inputs import read_model
    from bench.calculators.contestants import CALCULATORS, Answer
    from bench.calculators.measured import RealStep, measure_step
    from trainer.costs import TRAINER

    say(name)
    shape = read_model(name, application=TRAINER).shape
    settings = StepSettings(batch_size=_BATCH_SIZE)
    step = RealStep(shape, settings)
    with FlopCounterMode(display=False) as counter:
        step.forward().backward()
    facts = Answer(
        parameters=step.model.num_parameters,
        training_flops=counter.get_total_flops(),
        peak_bytes=measure_step(shape, settings).peak,
    )
    figures = {
        "parameters": "parameters",
        "training_flops": "FLOPs, forward and backward (counter)",
        "peak_bytes": "peak memory of a step, bytes",
    }
    for calculator, ask in CALCULATORS.items():
        missing = None if calculator == "ours" else why_missing(f"accountants.{calculator}")
        answer = Answer() if missing else ask(shape, settings)
        for key, figure in figures.items():
            said, fact = getattr(answer, key), getattr(facts, key)
            yield Line(name, figure, calculator, said, fact, missing or "")


def _memory_cases(cases: "Sequence[tuple[Changes, Changes]]") -> Iterator[Line]:
    from accounting import memory
    from bench.calculators.cases import case, describe_case
    from bench.calculators.measured import measure_step

    say(f"memory of {len(cases)} configurations")
    for changes in cases:
        shape, settings = case(*changes)
        measured = measure_step(shape, settings).peak
        said = memory(shape, settings)
        yield Line(
            describe_case(*changes), "peak memory", "ours", said.peak, measured, said.peak_phase
        )


def _comparison(lines: list[Line]) -> Table:
    title = f"calculators against measurement, batches of {_BATCH_SIZE} windows"
    columns = ("model", "figure", "calculator", "measured", "predicted", "error")
    table = new_table(title, *columns, left=3)
    for line in lines:
        said = line.note or "no figure" if line.said is None else f"{line.said:,.0f}"
        error = "" if line.error is None else f"{line.error:+.2%}"
        names = (line.model, line.figure, line.calculator)
        table.add_row(*names, f"{line.measured:,.0f}", said, error)
    return table


def _memory_table(cases: list[Line]) -> Table:
    title = "peak memory of a step: torch's CPU allocator, and our prediction"
    table = new_table(title, "configuration", "measured", "predicted", "error", "peak at")
    for line in cases:
        table.add_row(*_cells(line))
    return table


def _markdown(cases: list[Line]) -> str:
    rows = [f"| {' | '.join(_cells(line))} |" for line in cases]
    head = "| configuration | measured, bytes | predicted | error | peak at |"
    return "\n".join([head, "|---|--:|--:|--:|---|", *rows])


def _cells(line: Line) -> tuple[str, ...]:
    error = "" if line.error is None else f"{line.error:+.2%}"
    return (line.model, f"{line.measured:,.0f}", f"{line.said:,.0f}", error, line.note)
