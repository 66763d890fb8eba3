"""Train a language model from raw text: the application that uses all five packages."""

from trainer.quiet_start import quiet_start

with quiet_start():  # importing torch takes seconds
    from trainer.checkpoint.single_file import load_checkpoint, save_checkpoint
    from trainer.config.presets import load_preset
    from trainer.config.run_config import RunConfig
    from trainer.data.batches import get_batch
    from trainer.inference.generation import generate
    from trainer.inference.trained_run import LoadedRun, load_run
    from trainer.run import RunResult, train

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
