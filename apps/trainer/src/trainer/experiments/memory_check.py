"""Say, before a trial begins, whether it can fit the memory of its device.

Stage: trial -> *predicted peak against the memory there is* -> begun, or `too-large`. The verdict
is about the device, not about the moment, since it is kept: memory that others hold just now counts
as there. What is free when a run begins, the run itself says (`estimate.py`).
"""

from trainer.config.run_config import RunConfig
from trainer.plan.devices import resolve_device
from trainer.plan.estimate import device_bytes, gigabytes, predict_peak_bytes


def why_too_large(config: RunConfig, *, memory_bytes: int | None = None) -> str | None:
    """Return why a run cannot fit, with both figures; None: it can, or nobody knows.

    Args:
        config: the run.
        memory_bytes: what there is; None: as much as the device has in all.

    Raises:
        ValueError: the configuration cannot run here.
    """
    there = device_bytes(resolve_device(config.device)) if memory_bytes is None else memory_bytes
    needed = predict_peak_bytes(config)
    if there is None or needed <= there:
        return None
    return (
        f"{gigabytes(needed)} of memory are predicted at its peak, and there are {gigabytes(there)}"
    )
