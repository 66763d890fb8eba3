"""What does a run leave on the disk and elsewhere while it goes on?

Stage: sections of a run's configuration. Not here: the other sections (`config.py`).
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


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
        require_positive("checkpoint", self, "every_steps")
        if self.keep is not None:
            require_positive("checkpoint", self, "keep")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggingConfig:
    """What the run says while it goes on."""

    every_steps: int = 10
    """Steps between rows of metrics.jsonl and updates of the progress display."""
    track: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where the rows of metrics.jsonl are shown too; each is an extra of the trainer. Nothing
    leaves the machine unless WANDB_MODE=online, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say so."""
    track_project: str | None = None
    """Project of the run in wandb and trackio; None: the preset's name."""

    def __post_init__(self) -> None:
        """Refuse a non-positive interval, a tracker twice and names that trackers refuse."""
        require_positive("logging", self, "every_steps")
        if len(set(self.track)) < len(self.track):
            raise ValueError(f"logging.track names {self.track}; name each tracker once")
        if self.track_project is not None and not _PROJECT.fullmatch(self.track_project):
            raise ValueError(
                f"logging.track-project is {self.track_project!r}, but must be letters, digits, "
                "and -._ between them, 64 at most"
            )


def require_positive(section: str, config: object, *names: str) -> None:
    """Refuse fields of a section that are not positive and finite, by name.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise ValueError(
                f"{section}.{name.replace('_', '-')} is {value}, but must be positive and finite"
            )
