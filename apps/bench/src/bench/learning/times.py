"""Measure how long a step takes with each optimizer and batch size of the comparison.

Stage: contenders -> *short trainings in turns* -> seconds per step -> seconds of a whole training.
Trainings of the comparison may share the machine, so their own clocks mean little. The duration of
a training is computed from steps that were measured alone.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.durable import write_json
from bench.learning.trials import (
    BATCH_SIZE,
    CONTEXT_LENGTH,
    TOKENS_A_STEP,
    Contender,
    Experiment,
    Trial,
    train,
)
from bpe.messages.plural import plural

FORMAT, VERSION = "bench-learning-times", 1

_ROUNDS, _STEPS, _WARM_STEPS = 3, 12, 3


class StepTimes:
    """Seconds per step by optimizer and windows, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, list[float]] = {}
        if path.exists():
            document = json.loads(path.read_text(encoding="utf-8"))
            found = document.get("format"), document.get("version")
            if found != (FORMAT, VERSION):
                raise ValueError(f"{path} has format {found}, not {(FORMAT, VERSION)}; remove it")
            self._seconds = document["seconds"]

    def measure(self, contenders: Sequence[Contender], experiment: Experiment) -> None:
        """Measure every kind of step in turns, for three rounds, and keep the times."""
        kinds = dict.fromkeys(
            (contender.options, windows)
            for contender in contenders
            for windows in (BATCH_SIZE, *(windows for _, windows in contender.ramp))
        )
        found: dict[str, list[float]] = {}
        for _ in range(_ROUNDS):
            for options, windows in kinds:
                found.setdefault(_key(options, windows), []).extend(
                    _time_steps(options, windows, experiment)
                )
        self._seconds |= found
        document = {"format": FORMAT, "version": VERSION, "seconds": self._seconds}
        write_json(self._path, document)

    def of_training(
        self, contender: Contender, share: float, experiment: Experiment
    ) -> float | None:
        """Return the seconds of all steps of a training; None if some were not measured."""
        batches, done, total = experiment.whole_batches(share), 0, 0.0
        for until, windows in (*contender.ramp, (1.0, BATCH_SIZE)):
            seconds = self._seconds.get(_key(contender.options, windows))
            if not seconds:
                return None
            end = round(until * batches)
            total += (end - done) * BATCH_SIZE // windows * statistics.median(seconds)
            done = end
        return total


def _time_steps(options: tuple[str, ...], windows: int, experiment: Experiment) -> list[float]:
    """Return the seconds of each step of a short training, without the first ones."""
    plain = Contender(name="time", options=options, rate_option="--logging.every-steps", rates=(1,))
    trial = Trial("time", 1, _STEPS * TOKENS_A_STEP / experiment.tokens, seed=0)
    once = ("--evaluation.every-steps", "1000000", "--evaluation.final-tokens", "1000")
    short = ("--training.batch-size", str(windows), *once)
    _, rows = train([*experiment.options(trial, plain), *short])
    train_rows = [row for row in rows if row["kind"] == "train"][_WARM_STEPS:]
    return [windows * CONTEXT_LENGTH / row["tokens_per_second"] for row in train_rows]


def _key(options: tuple[str, ...], windows: int) -> str:
    return f"{options[options.index('--optimizer.name') + 1]}, {plural(windows, 'window')}"
