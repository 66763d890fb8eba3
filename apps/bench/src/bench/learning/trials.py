"""Define and run one training of the comparison.

Stage: contender, rate, share of the tokens, seed -> *a run of `train`* -> its final loss. All runs
train the quickstart's model, with fewer layers, on the quickstart corpus, each in its own process.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_SIZE, CONTEXT_LENGTH = 64, 128
TOKENS_A_STEP = BATCH_SIZE * CONTEXT_LENGTH
"""Tokens per step of CS336's reference configuration."""
_WARMUP_SHARE = 0.1
_NUM_EVALUATIONS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A training method."""

    name: str
    options: tuple[str, ...]
    """Options for `train`."""
    rates: tuple[float, ...]
    """Learning rates to try, with one seed."""
    rate_option: str = "--optimizer.learning-rate"
    """The tuned option."""
    tuned_at: float = 1.0
    """Share of the baseline's tokens with which they are tried."""
    shares: tuple[float, ...] = (1.0,)
    """Shares of the baseline's tokens for the best rate, with all seeds."""
    ramp: tuple[tuple[float, int], ...] = ()
    """Pairs: share of its own tokens until which a step has so many windows."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training."""

    contender: str
    rate: float
    share: float
    """Share of the baseline's tokens."""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Settings that all trainings share."""

    folder: Path
    tokens: int
    """Training tokens of the baseline."""
    num_layers: int

    def whole_batches(self, share: float) -> int:
        """Return the number of steps for a share of the tokens, if all batches are whole."""
        return round(self.tokens * share / TOKENS_A_STEP)

    def settings(self) -> dict[str, Any]:
        """Return the settings that comparable results share."""
        return {"tokens": self.tokens, "options": self.model_options()}

    def model_options(self) -> list[str]:
        """Return the options of `train` for the model, the schedule's shape and scoring."""
        return [
            *("--model.num-layers", str(self.num_layers), "--model.num-heads", "3"),
            *("--training.batch-size", str(BATCH_SIZE), "--dtype", "bfloat16"),
            *("--schedule.final-fraction", "0", "--evaluation.num-windows", "64"),
            *("--evaluation.sample-tokens", "0", "--evaluation.baselines", "False"),
        ]

    def options(self, trial: Trial, contender: Contender) -> list[str]:
        """Return the command line of `train` for one training."""
        batches = self.whole_batches(trial.share)
        ramp = ",".join(
            f"{round(share * batches * TOKENS_A_STEP)}:{windows}"
            for share, windows in contender.ramp
        )
        return [
            *("quickstart", *self.model_options(), "--seed", str(trial.seed)),
            *("--corpus.cache-dir", str(self.folder / "data")),
            *("--training.max-steps", str(batches)),
            *("--schedule.warmup-steps", str(round(batches * _WARMUP_SHARE))),
            *("--evaluation.every-steps", str(max(1, batches // _NUM_EVALUATIONS))),
            *("--checkpoint.every-steps", "1000000"),  # only the last
            *contender.options,
            *(contender.rate_option, str(trial.rate)),
            *(("--training.batch-ramp", ramp) if ramp else ()),
        ]


_ADAMW = ("--optimizer.name", "adamw")
_MUON = ("--optimizer.name", "muon")
_RAMP = ((0.3, 8), (0.7, 16))
_ADAMW_RATES = (5.7e-3, 4e-3, 8e-3, 1.13e-2, 2.8e-3, 1.6e-2)
_RATES = (8e-3, 5.7e-3, 1.13e-2, 1.6e-2)
_RAMPED = {"rates": _RATES, "ramp": _RAMP, "tuned_at": 0.6, "shares": (0.75, 0.6)}

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(name="adamw", options=_ADAMW, rates=_ADAMW_RATES),
        Contender(name="ramp", options=_ADAMW, **_RAMPED),
        Contender(name="muon", options=_MUON, rates=_RATES, tuned_at=0.75, shares=(0.9, 0.75)),
        Contender(name="muon-ramp", options=_MUON, **_RAMPED),
    )
}
"""By name; the baseline first."""


def run_trial(trial: Trial, contender: Contender, experiment: Experiment) -> dict[str, Any]:
    """Train; return the final validation loss and the curve against tokens."""
    summary, rows = train(experiment.options(trial, contender))
    return {
        "loss": summary["validation_loss"],
        "tokens": summary["training_tokens"],
        "steps": summary["step"],
        "seconds": summary["training_seconds"],
        "curve": [[row["tokens"], row["loss"]] for row in rows if row["kind"] == "evaluation"],
    }


def train(
    options: list[str], *, environment: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run `train` in a process of its own; return its summary and the rows of its metrics.

    Raises:
        ValueError: it failed; the message holds its output.
    """
    print(f"train {' '.join(options)}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch) / "run"
        code = "from trainer.cli.commands import train; train()"
        command = [sys.executable, "-c", code, *options, "--run-dir", str(run_dir)]
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise ValueError(f"train {' '.join(options)} failed: {done.stderr[-2000:].strip()}")
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return summary, [json.loads(line) for line in lines]
