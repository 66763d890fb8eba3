"""Measure how fast training is beside processes that occupy every CPU.

Stage: options -> *trainings in turns, alone and beside others* -> table, JSON. The trainer's own
command trains the quickstart's model, once with the trainer's waiting policy and once with OpenMP's
default. Not here: any peer.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from bench.arguments import cache_folder, positive
from bench.console import new_table
from bench.contestants.models import DISTRIBUTIONS
from bench.contestants.peers import fetch_extras
from bench.durable import write_json
from bench.learning.trials import train
from bench.measurement.machine import describe_machine, num_cpus

HELP = "Train alone and beside processes that occupy every CPU."
FORMAT, VERSION = "bench-busy", 1

WAITS: dict[str, dict[str, str]] = {
    "trainer's": {},
    "OpenMP's own": {"GOMP_SPINCOUNT": "300000"},  # its default; the trainer leaves it unchanged
}
"""Waiting policies of threads, and the variables that select them."""
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WARM_STEPS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    add = parser.add_argument
    add("--steps", type=positive, default=100, metavar="N", help="steps per training (100)")
    add("--rounds", type=positive, default=3, metavar="N", help="rounds (3)")
    add("--others", type=positive, metavar="N", help="busy processes (as many as CPUs)")
    add("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    add("--cache-dir", type=cache_folder, default="", help="folder for the text")


def run(arguments: argparse.Namespace) -> int:
    """Train in turns and report."""
    fetch_extras({"models.ours": DISTRIBUTIONS["models.ours"]})
    num_others = arguments.others or num_cpus()
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in WAITS}
    for _ in range(arguments.rounds):
        for count in (0, num_others):
            for name, variables in WAITS.items():
                # Beside others, OpenMP's default is a hundred times slower, so a few steps suffice.
                is_slow = bool(count and variables)
                steps = max(_WARM_STEPS + 1, arguments.steps // (10 if is_slow else 1))
                with busy_processes(count):
                    speed = _speed(steps, variables, arguments.cache_dir / "busy")
                samples[name].setdefault("beside" if count else "alone", []).append(speed)
    _print(samples, num_others)
    if arguments.json:
        machine = describe_machine(("torch", "trainer"))
        document = {"format": FORMAT, "version": VERSION, "machine": machine, "samples": samples}
        document |= {"steps": arguments.steps, "others": num_others}
        write_json(arguments.json, document)
    return 0


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep other processes computing during the block."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _speed(steps: int, variables: Mapping[str, str], folder: Path) -> float:
    """Return the tokens per second of all steps after the first ones."""
    options = {
        "--training.max-steps": steps,
        "--schedule.warmup-steps": 1,
        "--evaluation.every-steps": steps,
        "--evaluation.sample-tokens": 0,
        "--logging.every-steps": 1,
        "--corpus.cache-dir": folder,
        "--device": "cpu",
    }
    words = ["quickstart", *(str(word) for pair in options.items() for word in pair)]
    given = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    _, rows = train(words, environment={**given, **variables})
    steady = [row for row in rows if row["kind"] == "train"][_WARM_STEPS - 1 :]
    first, last = steady[0], steady[-1]
    return (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])


def _print(samples: Mapping[str, Mapping[str, list[float]]], num_others: int) -> None:
    title = f"tokens per second, beside {num_others} busy processes"
    table = new_table(title, "threads wait", "alone", "beside", "slowdown")
    for name, speeds in samples.items():
        alone, beside = (statistics.median(speeds[place]) for place in ("alone", "beside"))
        table.add_row(name, f"{alone:,.0f}", f"{beside:,.0f}", f"{alone / beside:.1f}")
    Console().print(table)
