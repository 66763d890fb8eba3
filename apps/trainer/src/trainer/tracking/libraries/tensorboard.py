"""Write event files for TensorBoard."""

from collections.abc import Mapping

from trainer.tracking.trackers import TrackedRun, Tracker


class Library(Tracker):
    """Event files in RUN/tensorboard."""

    package = "tensorboardX"
    can_forget = True

    def __init__(self, run: TrackedRun, *, after_step: int) -> None:
        from tensorboardX import SummaryWriter

        folder = run.folder / "tensorboard"
        is_new = not folder.exists()
        self._writer = SummaryWriter(
            str(folder),
            # Makes readers drop the steps from there on that earlier files hold.
            purge_step=None if is_new else after_step + 1,
            flush_secs=10,
            # File names differ by seconds, which are the same if a run resumes at once.
            filename_suffix=f".{len(list(folder.glob('*')))}",
        )
        self.where = f"tensorboard --logdir {folder}"
        if is_new:
            lines = "\n".join(f"    {key} = {value}" for key, value in run.settings.items())
            self._writer.add_text("settings", lines, 0)

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Take values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """End the sitting."""
        self._writer.close()
