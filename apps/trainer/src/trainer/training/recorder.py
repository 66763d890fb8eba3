"""Record the progress of training for metrics.jsonl, trackers and watchers.

Stage: training loop -> *rows* -> metrics.jsonl, trackers. Not here: a row's format on disk
(`metrics.py`), the trackers (`tracking/`).
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
"""Receives each row of metrics.jsonl once it is written; returns whether to continue the run."""
OnEvaluation = Callable[[LoopState, float], bool]
"""Receives progress and validation loss, nats per token, at each evaluation except the last."""


class Recorder:
    """Records the rows of one sitting.

    Args:
        run: where metrics.jsonl is.
        config: the run.
        say: reports damage, failures, and where trackers show the run.
        on_row: see `OnRow`; None: the run is always continued.
        on_evaluation: see `OnEvaluation`; likewise.
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
        """Drop the rows after `step`, which will be written again, and open the trackers."""
        damaged = self._metrics.truncate_after(step)
        if damaged:
            self._say(
                f"dropped {plural(damaged, 'line')} of {self._path} that "
                f"{agree(damaged, 'is', 'are')} not metrics"
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
        """Record a step or an evaluation; return whether to continue the run."""
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
        """Close the trackers, with the result of a finished run."""
        self._tracking.close(result)
