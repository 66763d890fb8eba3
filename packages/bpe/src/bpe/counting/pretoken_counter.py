"""Count the pretokens of one text at a time.

Stage: text -> *pretoken counts*. Used in this process and in the workers alike. Not here: files
(`corpus`).
"""

from collections import Counter

from bpe.packed_counts import CountSettings
from bpe.pretokens import Pretokenizer
from bpe.special_tokens import compile_special_tokens


class PretokenCounter:
    """Counts the pretokens of texts between special tokens; the longest special token wins."""

    def __init__(self, settings: CountSettings) -> None:
        self._pretokenizer = Pretokenizer(settings.pattern)
        self._special_tokens = compile_special_tokens(settings.special_tokens)
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count one text; special tokens separate its parts and are not counted."""
        parts = self._special_tokens.split(text) if self._special_tokens else [text]
        for part in parts:
            self._counts.update(self._pretokenizer.split(part))

    def by_pretoken(self) -> dict[bytes, int]:
        """Return the counts so far, by the UTF-8 bytes of the pretokens."""
        return {pretoken.encode(): count for pretoken, count in self._counts.items()}
