"""From raw text to a trained language model: the application that uses all five packages."""

from trainer.quiet_start import quiet_start

with quiet_start():  # torch takes its time
    from trainer.batches import get_batch
    from trainer.config import RunConfig
    from trainer.generate import generate
    from trainer.load import LoadedRun, load_run
    from trainer.presets import load_preset
    from trainer.run import RunResult, train
    from trainer.serialization import load_checkpoint, save_checkpoint

__all__ = [
    "LoadedRun",
    "RunConfig",
    "RunResult",
    "generate",
    "get_batch",
    "load_checkpoint",
    "load_preset",
    "load_run",
    "save_checkpoint",
    "train",
]
