"""Keep the progress of a run; every checkpoint holds it.

Stage: training loop <-> *state.json*. Not here: weights and optimizer state.
"""

from dataclasses import dataclass

from trainer.checkpoint.run_checkpoint import Checkpoint
from trainer.config.run_config import RunConfig


@dataclass(slots=True)
class LoopState:
    """The progress of a run."""

    step: int = 0
    """Updates made."""
    tokens: int = 0
    """Training tokens seen."""
    seconds: float = 0.0
    """Wall clock in the loop, over all sittings."""
    skipped: int = 0
    """Steps without an update, because loss or gradient were not finite."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> "LoopState":
        """Read the progress that was saved with a checkpoint, having checked it."""
        saved = checkpoint.state
        kinds = {"step": int, "tokens": int, "seconds": float, "skipped": int}
        is_whole = isinstance(saved, dict) and {k: type(v) for k, v in saved.items()} == kinds
        # A count that is negative or NaN would show much later if at all.
        is_sane = is_whole and all(0 <= value < float("inf") for value in saved.values())
        if not is_sane or saved["step"] != checkpoint.step:
            raise ValueError(
                f"{checkpoint.path / 'state.json'} holds the state {saved!r}, but step "
                f"{checkpoint.step} with its tokens and seconds is needed; remove "
                f"{checkpoint.path} to resume from the checkpoint before"
            )
        return cls(**saved)

    def is_finished(self, config: RunConfig) -> bool:
        """Whether the steps or the hours are used up."""
        hours = config.training.max_hours
        out_of_time = hours is not None and self.seconds >= 3600 * hours
        return self.step >= config.num_steps or out_of_time
