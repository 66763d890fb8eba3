"""What does a run leave on the disk and elsewhere while it goes on?

Stage: sections of a run's configuration. Not here: the other sections (`config.py`).
"""

import math
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.config.field_checks import require_kinds, require_positive

_TRACKERS = Path(__file__).parents[1] / "tracking" / "libraries"
if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Literal[tuple(module.name for module in pkgutil.iter_modules([str(_TRACKERS)]))]
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Validation loss and samples along the way."""

    every_steps: int
    """Steps between evaluations; the last step is always evaluated."""
    num_windows: int
    """Fixed validation windows scored each time."""
    batch_size: int = 32
    """Windows scored at once; changes memory, not the result."""
    final_tokens: int | None = None
    """Validation tokens scored, once each, at the end of the run; None: all of them."""
    target_loss: float | None = None
    """Aim for the validation loss, nats a token; the report says whether it was reached."""
    sample_prompt: str = ""
    """What samples continue; empty: start from end-of-text."""
    sample_tokens: int = 128
    """Length of each periodic sample, tokens; 0: none."""
    sample_temperature: float = 0.8
    """Sharpness of sampling; 0: greedy."""
    sample_top_p: float = 0.95
    """Smallest probability mass that sampling draws from, in (0, 1]."""
    baselines: bool = True
    """Compare the final model with xz -9, a unigram and a smoothed bigram."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        require_kinds("evaluation", self)
        require_positive("evaluation", self, "every_steps", "num_windows", "batch_size")
        if self.final_tokens is not None:
            require_positive("evaluation", self, "final_tokens")
        if self.sample_tokens < 0:
            raise ValueError(f"evaluation.sample-tokens is {self.sample_tokens}, but must be >= 0")
        if not 0 <= self.sample_temperature < math.inf:
            raise ValueError(
                f"evaluation.sample-temperature is {self.sample_temperature}, but must be >= 0 "
                "and finite; 0 is greedy"
            )
        if self.target_loss is not None:
            require_positive("evaluation", self, "target_loss")
        if not 0 < self.sample_top_p <= 1:
            raise ValueError(
                f"evaluation.sample-top-p is {self.sample_top_p}, but must be in (0, 1]"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """What survives the process."""

    every_steps: int
    """Steps between checkpoints; the last step is always saved."""
    keep: int | None = 3
    """Newest checkpoints kept; None: all."""
    on_failure: Literal["stop", "continue"] = "stop"
    """When a checkpoint can't be saved: end the run, or say so and try again at the next one."""

    def __post_init__(self) -> None:
        """Refuse a run that keeps nothing."""
        require_kinds("checkpoint", self)
        require_positive("checkpoint", self, "every_steps")
        if self.keep is not None:
            require_positive("checkpoint", self, "keep")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggingConfig:
    """What the run says while it goes on."""

    every_steps: int = 10
    """Steps between rows of metrics.jsonl and updates of the progress display."""
    track: tuple[TrackerName, ...] = ()
    """Where the rows of metrics.jsonl are shown too; each is an extra of the trainer. Nothing
    leaves the machine unless WANDB_MODE=online, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say so."""
    track_project: str | None = None
    """Project of the run in wandb and trackio; None: the preset's name."""

    def __post_init__(self) -> None:
        """Refuse a non-positive interval, a tracker twice and names that trackers refuse."""
        require_kinds("logging", self)
        require_positive("logging", self, "every_steps")
        if len(set(self.track)) < len(self.track):
            raise ValueError(f"logging.track names {self.track}; name each tracker once")
        if self.track_project is not None and not _PROJECT.fullmatch(self.track_project):
            raise ValueError(
                f"logging.track-project is {self.track_project!r}, but must be letters, digits, "
                "and -._ between them, 64 at most"
            )
