"""Declare what a tracker is, and find the trackers by name.

Stage: rows of metrics.jsonl -> *calls of one library*. Each module of `libraries` is a tracker with
an optional library of its own. Values arrive as Python numbers at the logging points of the loop;
every library queues them for a thread or process of its own. Nothing leaves the machine unless the
environment requests it: WANDB_MODE=online, TRACKIO_SPACE_ID, TRACKIO_SERVER_URL. Not here: which
rows are sent, and failures of a library (`fan_out.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from trainer.command_hints import install_extra


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """What a tracker receives of a run."""

    id: str
    """The same in every sitting, and no other run's."""
    name: str
    project: str
    folder: Path
    """The run directory; what a library keeps beside it goes there."""
    settings: Mapping[str, str]
    """Every field of the configuration with its value."""


class Tracker(ABC):
    """A place that shows a run; any method may raise its library's errors.

    Args:
        run: what to show.
        after_step: only later steps will come; TensorBoard forgets those it has of them.
    """

    package: ClassVar[str]
    """Its library."""
    can_forget: ClassVar[bool] = False
    """Whether it accepts steps again that it has seen. If so, it receives again all that a killed
    process may not have sent."""
    where: str
    """How to open it, for people."""

    @abstractmethod
    def __init__(self, run: TrackedRun, *, after_step: int) -> None:
        """Begin to show a run, or resume."""

    @abstractmethod
    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Log values of a step; steps never fall, and one may come twice with other names."""

    @abstractmethod
    def close(self) -> None:
        """Flush, and end the sitting."""


def find_tracker(name: str) -> type[Tracker]:
    """Return the class of a tracker."""
    return import_module(f"trainer.tracking.libraries.{name}").Library


def open_tracker(name: str, run: TrackedRun, *, after_step: int) -> Tracker:
    """Begin to show a run, or resume; see `Tracker`."""
    return find_tracker(name)(run, after_step=after_step)


def require_trackers(names: Sequence[str]) -> None:
    """Insist that the libraries are there, before any work is put into a run.

    Raises:
        ValueError: one is not; names the extra that brings it.
    """
    for name in names:
        if find_spec(find_tracker(name).package) is None:
            raise ValueError(
                f'logging.track names {name}, which needs the extra "{name}": '
                f"{install_extra(name)}, or leave it out"
            )
