"""Measure how well each tokenizer compresses each text.

Stage: documents, tokenizers -> *bytes per token*. Not here: speed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.tokenizers.texts import Texts
from tokenizer import Tokenizer

_WORDS = re.compile(r"[A-Za-z_.]{3,} [\w`(]")
_FORMALITY = re.compile(
    r"[Cc]opyright|[Ll]icen[cs]e|required by|usr/bin|coding|mypy:|^import |^from |Metadata-Version"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """Compression of one text, or of several in sum, by every tokenizer."""

    corpus: str
    what: str
    num_documents: int
    num_bytes: int
    tokens: dict[str, int]
    """By tokenizer."""

    def ratio(self, tokenizer: str) -> float:
        """Return bytes per token; more is better."""
        return self.num_bytes / self.tokens[tokenizer]

    def to_json(self) -> dict[str, object]:
        """Return all fields, with the ratios."""
        return {
            "corpus": self.corpus,
            "what": self.what,
            "documents": self.num_documents,
            "bytes": self.num_bytes,
            "tokens": self.tokens,
            "bytes_per_token": {name: self.ratio(name) for name in self.tokens},
        }


def compress(
    texts: Texts, tokenizers: Mapping[str, Tokenizer], *, num_drawn: int, seed: int
) -> list[Compressed]:
    """Encode the drawn documents one by one, then their sum, then all held-out documents."""
    drawn = texts.draw(num_drawn, seed=seed)
    each = [
        _compress(texts.name, f"{number}. {_title(text)}", [text], tokenizers)
        for number, text in enumerate(drawn, start=1)
    ]
    return [
        *each,
        _compress(texts.name, f"all {num_drawn} drawn", drawn, tokenizers),
        _compress(texts.name, "all held-out documents", texts.held_out, tokenizers),
    ]


def _compress(
    corpus: str, what: str, documents: Sequence[str], tokenizers: Mapping[str, Tokenizer]
) -> Compressed:
    return Compressed(
        corpus=corpus,
        what=what,
        num_documents=len(documents),
        num_bytes=sum(len(text.encode()) for text in documents),
        tokens={
            name: sum(len(tokenizer.encode_array(text)) for text in documents)
            for name, tokenizer in tokenizers.items()
        },
    )


def _title(text: str) -> str:
    r"""Return the first words that identify a document to a reader.

    >>> _title('# Copyright 2026 of somebody\n# Parse addresses and lists of them, slowly.')
    'Parse addresses and lists of them, ..'
    """
    lines = (line.strip(" #\"'=-*/!.`\t") for line in text.splitlines())
    telling = (line for line in lines if _WORDS.match(line) and not _FORMALITY.search(line))
    line = next(telling, "no words")
    return line if len(line) <= 36 else line[:35] + ".."
