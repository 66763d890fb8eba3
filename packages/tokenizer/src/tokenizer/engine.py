"""When are the kernels worth their start?

Stage: text -> ids, on one of two ways with one result. Plain Python begins at once; the kernels
take a third of a second to load, and some seconds to compile where no earlier process has. So the
plain way goes on until what it has encoded would have paid for that. Not here: either way.
"""

import sys
from threading import Lock
from typing import TYPE_CHECKING

from tokenizer._bpe import Vocabulary, can_compile

if TYPE_CHECKING:
    from tokenizer._kernels.encoder import KernelEncoder

PAYS_LOADING_BYTES = 1 << 20
"""Text that takes plain Python as long as loading kernels that were compiled before."""
PAYS_COMPILING_BYTES = 24 << 20
"""Text that takes plain Python as long as compiling them."""

# What the tables of the kernels have room for; real vocabularies are far from it.
_MAX_IDS = 1 << 24
_MAX_MERGES = (1 << 21) - 257


class Engine:
    """Gives a tokenizer its kernels when they pay; usable from several threads.

    Args:
        vocabulary: that of the tokenizer.
    """

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
        """Return the kernels, or None where `num_bytes` more are sooner encoded without."""
        if self._kernels is not None or not self._is_possible:
            return self._kernels
        self._plain_bytes += num_bytes
        if self._plain_bytes < PAYS_LOADING_BYTES + self._tried_bytes:
            return None
        return self._start(must=self._plain_bytes >= PAYS_COMPILING_BYTES)

    def start(self) -> "KernelEncoder | None":
        """Load or compile the kernels now; None where this vocabulary cannot use them."""
        return self._start(must=True) if self._is_possible else None

    def _start(self, *, must: bool) -> "KernelEncoder | None":
        with self._lock:
            if self._kernels is None and not can_compile():
                self._is_possible = False
            elif self._kernels is None:
                from tokenizer._kernels.start import start_kernels

                self._kernels = start_kernels(self._vocabulary, must=must)
                self._tried_bytes = PAYS_COMPILING_BYTES  # look on disk once, then compile
            return self._kernels
