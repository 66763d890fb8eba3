"""Speak to TensorBoard, Weights & Biases and trackio, each by its own library, an extra each.

Stage: rows of metrics.jsonl -> *one library's calls*. Values arrive as Python numbers at the
logging points of the loop; every library queues them for a thread or process of its own. Nothing
leaves the machine unless the environment asks for it: WANDB_MODE=online, TRACKIO_SPACE_ID,
TRACKIO_SERVER_URL. Not here: which rows, and what happens when a library fails (`fan_out.py`).
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

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


class Tracker(Protocol):
    """Where a run is shown; any method may raise what its library does."""

    where: str
    """How to look at it, for people."""

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Take values of a step; steps never fall, and one may come twice with other names."""

    def close(self) -> None:
        """Hand over what waits, and end the sitting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """One kind of tracker."""

    package: str
    """Its library."""
    open: Callable[..., Tracker]
    can_forget: bool
    """Whether it takes steps again that it has seen."""


TRACKERS: dict[str, _Kind] = {}
"""By the name that `logging.track` has; each registers itself."""


def require_trackers(names: Sequence[str]) -> None:
    """Insist that the libraries are there, before any work is put into a run.

    Raises:
        ValueError: one is not; names the extra that brings it.
    """
    for name in names:
        if find_spec(TRACKERS[name].package) is None:
            raise ValueError(
                f'logging.track names {name}, which needs the extra "{name}": '
                f"{install_extra(name)}, or leave it out"
            )


def open_tracker(name: str, run: TrackedRun, *, after_step: int) -> Tracker:
    """Begin to show a run, or go on with it.

    Args:
        name: one of `TRACKERS`.
        run: what to show.
        after_step: only later steps will come; TensorBoard forgets those it has of them.
    """
    return TRACKERS[name].open(run, after_step=after_step)


def can_forget(name: str) -> bool:
    """Whether a tracker can take steps again that it has seen.

    One that can is given all again that a killed process may not have handed over.
    """
    return TRACKERS[name].can_forget


def _tracker(
    name: str, *, package: str, can_forget: bool = False
) -> Callable[[type[Tracker]], type[Tracker]]:
    """Register a class that is built from (run, *, after_step)."""

    def register(kind: type[Tracker]) -> type[Tracker]:
        TRACKERS[name] = _Kind(package=package, open=kind, can_forget=can_forget)
        return kind

    return register


@_tracker("tensorboard", package="tensorboardX", can_forget=True)
class _TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, run: TrackedRun, *, after_step: int) -> None:
        from tensorboardX import SummaryWriter

        folder = run.folder / "tensorboard"
        is_new = not folder.exists()
        self._writer = SummaryWriter(
            str(folder),
            # Makes readers drop the steps from there on that earlier files hold.
            purge_step=None if is_new else after_step + 1,
            flush_secs=10,
            # Files are told apart by seconds, which are the same where a run goes on at once.
            filename_suffix=f".{len(list(folder.glob('*')))}",
        )
        self.where = f"tensorboard --logdir {folder}"
        if is_new:
            lines = "\n".join(f"    {key} = {value}" for key, value in run.settings.items())
            self._writer.add_text("settings", lines, 0)

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


@_tracker("wandb", package="wandb")
class _Wandb:
    """A run of Weights & Biases, offline in RUN/wandb unless WANDB_MODE says otherwise."""

    def __init__(self, run: TrackedRun, *, after_step: int) -> None:
        mode = os.environ.setdefault("WANDB_MODE", "offline")
        if mode != "online":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would use the network
        import wandb

        self._run = wandb.init(
            project=run.project,
            id=run.id,
            name=run.name,
            dir=run.folder,
            resume="allow",
            config=dict(run.settings),
            # Its own lines would break the progress display, and stdout is for results.
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        offline = f"wandb sync {run.folder / 'wandb'}/offline-run-*-{run.id}"
        url = None if mode == "offline" else self._run.url
        self.where = url or offline

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


@_tracker("trackio", package="trackio")
class _Trackio:
    """A run in trackio's own folder of this machine, where all its dashboards look."""

    def __init__(self, run: TrackedRun, *, after_step: int) -> None:
        if not {"TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"} & set(os.environ):
            os.environ.setdefault("HF_HUB_OFFLINE", "1")  # it would ask the hub for the user's name
        with redirect_stdout(io.StringIO()):  # stdout is for results
            import trackio

            self._run = trackio.init(
                project=run.project,
                name=f"{run.name}-{run.id[:8]}",  # trackio knows a run again by its name
                resume="allow",
                config=dict(run.settings),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        self.where = f"trackio show --project {run.project}"

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(io.StringIO()):
            import trackio

            trackio.finish()
