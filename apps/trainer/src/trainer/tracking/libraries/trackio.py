"""Log to trackio, on this machine unless the environment asks for more."""

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout

from trainer.tracking.trackers import TrackedRun, Tracker


class Library(Tracker):
    """A run in trackio's own folder of this machine, where all its dashboards look."""

    package = "trackio"

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
        """Take values of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the sitting."""
        with redirect_stdout(io.StringIO()):
            import trackio

            trackio.finish()
