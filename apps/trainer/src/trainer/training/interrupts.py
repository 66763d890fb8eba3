"""Turn Ctrl-C, SIGTERM and a closed terminal into a request to stop after the current step.

Stage: signal, or deadline -> *request* -> the loop saves and ends. A second signal stops at once,
as usual.
"""

import signal
import threading
import time
from types import FrameType

_CAUGHT = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopRequest:
    """While entered, keeps the first of SIGINT, SIGTERM and SIGHUP instead of dying of it.

    Args:
        deadline: when to stop without a signal, seconds of `time.monotonic`; None: never.
    """

    def __init__(self, *, deadline: float | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._deadline = deadline
        self._previous: dict[signal.Signals, object] = {}

    def __bool__(self) -> bool:
        return self.signal is not None or self.is_late

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self  # Python delivers signals to the main thread only
        for number in _CAUGHT:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # ignored on purpose: nohup, or a shell's background job
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()
