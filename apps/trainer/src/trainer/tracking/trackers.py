"""Declare what a tracker is, and find those that there are.

Stage: rows of metrics.jsonl -> *one library's calls*. A module of `libraries` is a tracker, by its
own library, an extra each. Values arrive as Python numbers at the logging points of the loop; every
library queues them for a thread or process of its own. Nothing leaves the machine unless the
environment asks for it: WANDB_MODE=online, TRACKIO_SPACE_ID, TRACKIO_SERVER_URL. Not here: which
rows, and what happens when a library fails (`fan_out.py`).
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
    """What a tracker is told of a run."""

    id: str
    """The same in every sitting, and no other run's."""
    name: str
    project: str
    folder: Path
    """The run directory; what a library keeps beside it goes there."""
    settings: Mapping[str, str]
    """Every field of the configuration with its value."""


class Tracker(ABC):
    """Where a run is shown; any method may raise what its library does.

    Args:
        run: what to show.
        after_step: only later steps will come; TensorBoard forgets those it has of them.
    """

    package: ClassVar[str]
    """Its library."""
    can_forget: ClassVar[bool] = False
    """Whether it takes steps again that it has seen. One that can is given all again that a killed
    process may not have handed over."""
    where: str
    """How to look at it, for people."""

    @abstractmethod
    def __init__(self, run: TrackedRun, *, after_step: int) -> None:
        """Begin to show a run, or resume."""

    @abstractmethod
    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Take values of a step; steps never fall, and one may come twice with other names."""

    @abstractmethod
    def close(self) -> None:
        """Hand over what waits, and end the sitting."""


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
