"""Find the learning rates that training tolerates by raising the rate until it diverges.

Stage: preset -> *one run of rising rate per seed* -> study -> findings. Divergence is the expected
end of such a run. Not here: the schedule (`plan/learning_rate.py`), the picture
(`report/plots/ranges.py`).

Source: Smith 2017, arXiv:1506.01186, section 3.3. Departure: the rate grows exponentially, since
the rates of interest span orders of magnitude.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accounting.plural import plural
from trainer.config.presets import with_values
from trainer.config.run_config import RunConfig
from trainer.evaluation.curve import smooth
from trainer.evaluation.loss_rise import find_rise
from trainer.experiments.results import points, ranked
from trainer.experiments.study import Study, Trial, load_study
from trainer.monitoring.metrics import MetricsRow, read_readable_metrics
from trainer.storage.file_format import require_format
from trainer.storage.run_directory import RunDirectory, read_json, write_json_atomically

DIVERGED_FACTOR = 1.5
"""The run ends when its smoothed loss exceeds its minimum by this factor, above the noise of its
losses, or is not finite."""
EDGE_FACTOR = 1.1
"""Beyond the edge of stability the smoothed loss stays above its minimum by this factor, in a run
that ends above the noise of its losses."""
SAFETY = 10.0
"""Factor between the rate of the lowest loss and the suggested rate: fastai's rule of thumb."""
_DECAY = 0.8  # of the mean that ends the run: about five steps wide
_RATE = "optimizer.learning-rate"
_FORMAT, _VERSION = "trainer.lr-range", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeFindings:
    """What one run of rising rate shows; rates are learning rates of the optimizer."""

    rates: list[float]
    """One per step, ascending."""
    losses: list[float]
    """Training loss before the update at each rate, nats per token."""
    smoothed: list[float]
    """Moving mean of the losses, as far as they are finite."""
    diverged: float | None
    """The rate at which training diverged; None: it did not."""
    edge: float | None
    """First rate from which the smoothed loss stayed above `EDGE_FACTOR` times its minimum; None:
    it came back, or never rose so far."""
    steepest: float
    """Where the smoothed loss fell fastest (or rose slowest) per factor of the rate."""
    lowest: float
    """Where the smoothed loss was lowest."""

    @property
    def has_fallen(self) -> bool:
        """Whether the smoothed loss was ever below its first value."""
        return min(self.smoothed) < self.smoothed[0]

    @property
    def suggested(self) -> float:
        """A rate to start a sweep around."""
        return self.lowest / SAFETY


def range_base(base: RunConfig, *, low: float, high: float, num_steps: int) -> RunConfig:
    """Return a configuration whose rate grows from `low` to `high`, with minimal evaluation.

    Raises:
        ValueError: not 0 < low < high, or fewer than ten steps.
    """
    if not 0 < low < high < math.inf or num_steps < 10:
        raise ValueError(
            f"a range test from {low:g} to {high:g} in {plural(num_steps, 'step')} needs 0 < LOW < "
            "HIGH and at least 10 steps"
        )
    optimizer = base.optimizer
    changes: dict[str, object] = {
        _RATE: high,
        "schedule.name": "range",
        "schedule.range-from": low,
        "schedule.warmup-steps": 0,
        "schedule.total-steps": "none",
        "training.max-steps": num_steps,
        "training.batch-ramp": "none",
        "training.max-hours": "none",
        "logging.every-steps": 1,
        "evaluation.every-steps": num_steps,
        "evaluation.sample-tokens": 0,
        "evaluation.baselines": False,
        "evaluation.final-tokens": base.evaluation.num_windows * base.model.context_length,
        "checkpoint.every-steps": max(1, num_steps // 4),
        "checkpoint.keep": 1,
    }
    own = getattr(optimizer.section, "learning_rate", None)
    if own is not None:  # keep the ratio of the two
        changes[f"optimizer.{optimizer.name}.learning-rate"] = high * (
            own / optimizer.learning_rate
        )
    return with_values(base, changes, origin="lr-range")


def range_trials(base: RunConfig, *, num_seeds: int) -> list[Trial]:
    """Return one trial per seed: base.seed, base.seed + 1, ..."""
    return [
        Trial(name=f"range,seed={seed}", changes={"seed": seed})
        for seed in range(base.seed, base.seed + num_seeds)
    ]


class RangeWatch:
    """Stop a run once its loss has diverged; called with each row of its metrics.

    Args:
        metrics: the run's metrics.jsonl, for the rows from before it was resumed.
    """

    def __init__(self, metrics: Path) -> None:
        self._metrics = metrics
        self._losses: list[float] | None = None

    def __call__(self, row: MetricsRow) -> bool:
        """Take a row, and return whether to continue."""
        if row["kind"] != "train":
            return True
        if self._losses is None:
            rows, _ = read_readable_metrics(self._metrics)
            self._losses = [loss for step, _, loss in _measured(rows) if step < row["step"]]
        self._losses.append(row["loss"])
        return not has_diverged(self._losses)


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the loss is not finite, or has risen for good above `DIVERGED_FACTOR` its minimum.

    The factor applies to a moving mean. The rise must exceed the noise, which may reach the factor
    if the loss is small.

    >>> has_diverged([4.0, 3.0, 2.0]), has_diverged([4.0, 3.0, 2.0, float("nan")])
    (False, True)
    >>> has_diverged([4.0, 3.0, 2.0, 5.0, 6.0, 7.0, 9.0])
    True
    """
    *before, last = _running_means(losses)
    if not math.isfinite(last):
        return True
    is_high = last > DIVERGED_FACTOR * min(before, default=math.inf)
    return is_high and find_rise(losses) is not None


def read_range(study: Study, trial: Trial) -> RangeFindings | None:
    """Return the findings of a trial so far; None: fewer than three finite losses."""
    rows, _ = read_readable_metrics(RunDirectory(study.run_path(trial)).metrics)
    measured = _measured(rows)
    return find_range([rate for _, rate, _ in measured], [loss for _, _, loss in measured])


def find_range(rates: Sequence[float], losses: Sequence[float]) -> RangeFindings | None:
    """Read a curve of loss against rate; None: fewer than three finite losses."""
    is_over = bool(losses) and has_diverged(losses)
    num_finite = next((i for i, x in enumerate(losses) if not math.isfinite(x)), len(losses))
    if num_finite < 3:
        return None
    smoothed = [value for _, value in smooth(list(enumerate(losses[:num_finite])))]
    lowest = smoothed.index(min(smoothed))
    limit = EDGE_FACTOR * smoothed[lowest]
    edge = next(i for i in range(num_finite, 0, -1) if smoothed[i - 1] <= limit)
    if num_finite == len(losses) and find_rise(losses, undone_share=0) is None:
        edge = len(rates)  # noise may explain the rise at the end
    # Slopes span a twelfth of the steps to each side, as neighbours differ by batch noise.
    reach = max(1, num_finite // 12)
    centres = range(reach, max(reach + 1, min(lowest, num_finite - reach)))
    slopes = [
        (smoothed[i + reach] - smoothed[i - reach]) / math.log(rates[i + reach] / rates[i - reach])
        for i in centres
    ]
    return RangeFindings(
        rates=list(rates),
        losses=list(losses),
        smoothed=smoothed,
        diverged=rates[-1] if is_over else None,
        edge=rates[edge] if edge < len(rates) else None,
        steepest=rates[centres[slopes.index(min(slopes))]],
        lowest=rates[lowest],
    )


def remember_sweep(study: Study, sweep: Path) -> None:
    """Store the sweep that a range test is compared with.

    Raises:
        ValueError: it is not a sweep of the learning rate, or is of another preset.
    """
    best_rate(sweep, preset=study.base.preset)
    write_json_atomically(
        study.path / "against.json",
        {"format": _FORMAT, "version": _VERSION, "sweep": str(sweep.resolve())},
    )


def remembered_sweep(study: Study) -> Path | None:
    """Return the sweep that a range test is compared with; None: there is none."""
    path = study.path / "against.json"
    if not path.exists():
        return None
    document = read_json(path)
    require_format(document, name=_FORMAT, version=_VERSION, source=path)
    return Path(str(document.get("sweep")))


def best_rate(sweep: Path, *, preset: str) -> float | None:
    """Return the best learning rate of a sweep; None: no trial has finished yet.

    Raises:
        ValueError: it is not a sweep of the learning rate, or is of another preset.
    """
    study = load_study(sweep)
    listed = points(study)
    if study.kind != "sweep" or not all(_RATE in point.changes for point in listed):
        raise ValueError(f"--against {sweep} is not a sweep over {_RATE}; name one that is")
    if study.base.preset != preset:
        raise ValueError(
            f"--against {sweep} is a sweep of {study.base.preset}, but the range test is of "
            f"{preset}; name one of the same preset"
        )
    return next((float(str(point.changes[_RATE])) for _, point in ranked(listed)), None)


def _running_means(losses: Sequence[float]) -> list[float]:
    """Return the exponentially weighted mean up to each loss."""
    total, weight, means = 0.0, 0.0, []
    for loss in losses:
        total, weight = _DECAY * total + loss, _DECAY * weight + 1
        means.append(total / weight)
    return means


def _measured(rows: Sequence[MetricsRow]) -> list[tuple[int, float, float]]:
    """Return (step, rate, loss) of each step, including losses that are not finite."""
    return [
        (row["step"], rate, row["loss"])
        for row in rows
        if row["kind"] == "train"
        and (rate := row.get("learning_rate")) is not None
        and row.get("loss") is not None
    ]
