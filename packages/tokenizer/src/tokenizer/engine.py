"""Decide when the kernels are worth starting.

Stage: text -> ids, by one of two implementations with one result. Plain Python starts at once; the
kernels take a third of a second to load, and a few seconds to compile if no earlier process has. So
plain Python is used until the text it has encoded would have paid for the kernels. Not here: either
implementation.
"""

import sys
from threading import Lock
from typing import TYPE_CHECKING

from tokenizer._bpe import Vocabulary, can_compile

if TYPE_CHECKING:
    from tokenizer._kernels.encoder import KernelEncoder

PAYS_LOADING_BYTES = 1 << 20
"""Plain Python encodes this much text in the time that loading compiled kernels takes."""
PAYS_COMPILING_BYTES = 24 << 20
"""Plain Python encodes this much text in the time that compiling them takes."""

# Capacity of the kernels' tables; real vocabularies are far smaller.
_MAX_IDS = 1 << 24
_MAX_MERGES = (1 << 21) - 257


class Engine:
    """Gives a tokenizer its kernels once they pay; safe to use from several threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._kernels: KernelEncoder | None = None
        self._is_possible = (
            all(bytes([byte]) in vocabulary.ids for byte in range(256))
            and max(vocabulary.tokens) < _MAX_IDS
            and len(vocabulary.merges) < _MAX_MERGES
            and sys.byteorder == "little"
        )
        self._plain_bytes = 0
        self._tried_bytes = 0
        self._lock = Lock()

    def kernels_for(self, num_bytes: int) -> "KernelEncoder | None":
        """Return the kernels, or None if `num_bytes` more are encoded sooner without them."""
        if self._kernels is not None or not self._is_possible:
            return self._kernels
        self._plain_bytes += num_bytes
        if self._plain_bytes < PAYS_LOADING_BYTES + self._tried_bytes:
            return None
        return self._start(must=self._plain_bytes >= PAYS_COMPILING_BYTES)

    def start(self) -> "KernelEncoder | None":
        """Load or compile the kernels now; None if this vocabulary cannot use them."""
        return self._start(must=True) if self._is_possible else None

    def _start(self, *, must: bool) -> "KernelEncoder | None":
        with self._lock:
            if self._kernels is None and not can_compile():
                self._is_possible = False
            elif self._kernels is None:
                from tokenizer._kernels.start import start_kernels

                self._kernels = start_kernels(self._vocabulary, must=must)
                self._tried_bytes = PAYS_COMPILING_BYTES  # search the disk once, then compile
            return self._kernels
