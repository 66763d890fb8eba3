"""Log to Weights & Biases, offline unless the environment asks for more."""

import os
from collections.abc import Mapping

from trainer.tracking.trackers import TrackedRun, Tracker


class Library(Tracker):
    """A run of Weights & Biases, offline in RUN/wandb unless WANDB_MODE says otherwise."""

    package = "wandb"

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
        """Take values of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the sitting."""
        self._run.finish()
