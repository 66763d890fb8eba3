"""Check whether a trial fits in the memory of its device before it starts.

Stage: trial -> *predicted peak against the device's memory* -> started, or `too-large`. The verdict
is stored, so it is about the whole device. Not here: memory that is free now (`plan/estimate.py`).
"""

from trainer.config.run_config import RunConfig
from trainer.plan.devices import resolve_device
from trainer.plan.estimate import device_bytes, gigabytes, predict_peak_bytes


def why_too_large(config: RunConfig, *, memory_bytes: int | None = None) -> str | None:
    """Return why a run cannot fit, with both figures; None: it can, or the memory is unknown.

    Args:
        config: the run.
        memory_bytes: the limit; None: all memory of the device.

    Raises:
        ValueError: the configuration cannot run on this machine.
    """
    limit = device_bytes(resolve_device(config.device)) if memory_bytes is None else memory_bytes
    needed = predict_peak_bytes(config)
    if limit is None or needed <= limit:
        return None
    return f"the predicted peak memory is {gigabytes(needed)}, but {gigabytes(limit)} are available"
