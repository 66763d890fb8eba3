"""Record how training goes: metrics.jsonl, trackers, whoever watches the rows.

Stage: training loop -> *rows* -> metrics.jsonl, trackers. Not here: what a row looks like on disk
(`metrics.py`), which trackers there are (`tracking/`).
"""

from collections.abc import Callable, Mapping
from typing import Literal

from accounting.plural import agree, plural
from trainer.checkpoint.loop_state import LoopState
from trainer.config.presets import flat_settings
from trainer.config.run_config import RunConfig
from trainer.monitoring.metrics import MetricsLog, MetricsRow, read_metrics
from trainer.monitoring.throughput import Speed
from trainer.storage.run_directory import RunDirectory
from trainer.tracking import Tracking

OnRow = Callable[[MetricsRow], bool]
"""Given each row of metrics.jsonl once it is there; returns whether the run is worth continuing."""
OnEvaluation = Callable[[LoopState, float], bool]
"""Given progress and validation loss, nats per token, at each evaluation but the last; likewise."""


class Recorder:
    """Records the rows of one sitting.

    Args:
        run: where metrics.jsonl is.
        config: the run.
        say: told of damage and failures, and where trackers show the run.
        on_row: see `OnRow`; None: every run is worth continuing.
        on_evaluation: see `OnEvaluation`; None: likewise.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        *,
        say: Callable[[str], None],
        on_row: OnRow | None = None,
        on_evaluation: OnEvaluation | None = None,
    ) -> None:
        self._path, self._config, self._say = run.metrics, config, say
        self._on_row, self._on_evaluation = on_row, on_evaluation
        is_patient = config.checkpoint.on_failure == "continue"
        self._metrics = MetricsLog(run.metrics, is_patient=is_patient, say=say)
        self._tracking = Tracking(
            config.logging.track,
            folder=run.path,
            project=config.logging.track_project or config.preset,
            settings=flat_settings(config),
            say=say,
        )

    def open(self, step: int) -> None:
        """Drop the rows beyond `step`, which will be written again, and open the trackers."""
        damaged = self._metrics.truncate_after(step)
        if damaged:
            self._say(
                f"dropped {plural(damaged, 'line')} of {self._path} that "
                f"{agree(damaged, 'is', 'are')} no metrics"
            )
        self._tracking.open(step)

    def has_evaluation(self, step: int) -> bool:
        """Whether there is a row of the evaluation at `step`."""
        rows = read_metrics(self._path) if self._path.exists() else []
        return any(row["kind"] == "evaluation" and row["step"] == step for row in rows)

    def record(
        self,
        kind: Literal["train", "evaluation"],
        state: LoopState,
        loss: float,
        *,
        learning_rate: float | None = None,
        grad_norm: float | None = None,
        speed: Speed | None = None,
    ) -> bool:
        """Record a step or an evaluation that was just made; return whether to continue the run."""
        row: MetricsRow = {
            "kind": kind,
            "step": state.step,
            "seconds": round(state.seconds, 3),
            "tokens": state.tokens,
            "loss": loss,
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "tokens_per_second": None if speed is None else round(speed.tokens_per_second, 1),
            "mfu": None if speed is None else speed.mfu,
        }
        self._metrics.append(row)
        self._tracking.log(row)
        is_worthwhile = self._on_row is None or self._on_row(row)
        if kind == "train" or self._on_evaluation is None or state.is_finished(self._config):
            return is_worthwhile
        return self._on_evaluation(state, loss) and is_worthwhile

    def close(self, result: Mapping[str, float] | None = None) -> None:
        """Close the trackers, with what the run has reached if it is finished."""
        self._tracking.close(result)
