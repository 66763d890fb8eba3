"""Configure what a run evaluates, saves and logs.

Stage: sections of a run's configuration. Not here: the other sections (`run_config.py`).
"""

import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.config.field_checks import require_kinds, require_positive, require_range

_TRACKERS = Path(__file__).parents[1] / "tracking" / "libraries"
if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Literal[tuple(module.name for module in pkgutil.iter_modules([str(_TRACKERS)]))]
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Validation loss and samples during the run."""

    every_steps: int
    """Steps between evaluations; the last step is always evaluated."""
    num_windows: int
    """Fixed validation windows scored at each evaluation."""
    batch_size: int = 32
    """Windows scored at once; changes memory, not the result."""
    final_tokens: int | None = None
    """Validation tokens scored once each at the end of the run; None: all."""
    target_loss: float | None = None
    """Target validation loss, nats per token; the final report states whether it was reached."""
    sample_prompt: str = ""
    """Prompt of the samples; empty: start from end-of-text."""
    sample_tokens: int = 128
    """Tokens per sample; 0: no samples."""
    sample_temperature: float = 0.8
    """Sampling temperature; 0: greedy."""
    sample_top_p: float = 0.95
    """Probability mass that sampling draws from, in (0, 1]."""
    baselines: bool = True
    """Compare the final model with xz -9, a unigram and a smoothed bigram."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        require_kinds("evaluation", self)
        require_positive("evaluation", self, "every_steps", "num_windows", "batch_size")
        require_positive("evaluation", self, "final_tokens", "target_loss")
        require_range("evaluation", self, "[0, inf)", "sample_tokens", "sample_temperature")
        require_range("evaluation", self, "(0, 1]", "sample_top_p")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """State saved to resume from."""

    every_steps: int
    """Steps between checkpoints; the last step is always saved."""
    keep: int | None = 3
    """Number of newest checkpoints to keep; None: all."""
    on_failure: Literal["stop", "continue"] = "stop"
    """If saving fails: stop the run, or warn and retry at the next checkpoint."""

    def __post_init__(self) -> None:
        """Refuse a run that keeps nothing."""
        require_kinds("checkpoint", self)
        require_positive("checkpoint", self, "every_steps", "keep")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggingConfig:
    """Progress reports."""

    every_steps: int = 10
    """Steps between rows of metrics.jsonl and updates of the progress display."""
    track: tuple[TrackerName, ...] = ()
    """Trackers that also receive the rows; each is an extra of the trainer, and works offline by
    default (to upload: WANDB_MODE=online, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL)."""
    track_project: str | None = None
    """Project name in wandb and trackio; None: the preset's name."""

    def __post_init__(self) -> None:
        """Refuse a tracker named twice and project names that trackers refuse."""
        require_kinds("logging", self)
        require_positive("logging", self, "every_steps")
        if len(set(self.track)) < len(self.track):
            raise ValueError(f"logging.track names {self.track}; name each tracker once")
        if self.track_project is not None and not _PROJECT.fullmatch(self.track_project):
            raise ValueError(
                f"logging.track-project is {self.track_project!r}, but must be at most 64 letters, "
                "digits, and -._ between them"
            )
