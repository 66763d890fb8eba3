"""Have threads that wait for each other soon give up their CPU.

Stage: around the import of torch, which brings OpenMP. Its threads wait for work in a loop of
300,000 pauses, some 15 ms on a newer CPU. Beside other work that takes the CPU from the very thread
that is waited for. OpenMP reads its settings once, when it is loaded: where torch is there before,
they stay as they are. Not here: how many threads there are (`cpu_settings`).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PAUSES = "1000"
"""Some 50 microseconds: longer than the gap between two operations of a step."""
_SETTING = "GOMP_SPINCOUNT"


@contextmanager
def brief_waits(*, is_command: bool) -> Iterator[None]:
    """Bound the waiting of OpenMP's threads, if it is loaded in the block and nobody else does.

    Args:
        is_command: keep the setting for child processes; else the environment is restored.
    """
    if "torch" in sys.modules or not {_SETTING, "OMP_WAIT_POLICY"}.isdisjoint(os.environ):
        yield
        return
    os.environ[_SETTING] = PAUSES
    try:
        yield
    finally:
        if not is_command:
            del os.environ[_SETTING]
