"""Divide a corpus into training and held-out text.

Stage: corpus -> *training text, validation text*, two files that `train` reads as they are, every
document followed by <|endoftext|>. Not here: where documents come from (`corpora`).
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from bench.durable import write_atomically
from bench.texts.corpora import Corpus
from bench.texts.vocabulary import END_OF_TEXT

HELD_OUT_FRACTION = 0.05
_SEPARATOR = END_OF_TEXT.encode()
_SHORTEST_DRAWN = 1_000  # bytes; a shorter one depends more on its few words than on the tokenizer
_TELLING_LINE = 40  # bytes; shorter lines may be equal by chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """A corpus divided by documents."""

    name: str
    train: Path
    validation: Path
    num_train_documents: int
    train_bytes: int
    """Bytes of text, without separators, as everywhere here."""
    held_out: list[str]
    """The held-out documents, in the order of the corpus."""
    repeated_share: float
    """Share of the held-out text on lines of 40 bytes or more that also occur in the training
    text: the corpus's repetition."""

    @property
    def held_out_bytes(self) -> int:
        """Size of the held-out text."""
        return sum(len(document.encode()) for document in self.held_out)

    def draw(self, count: int, *, seed: int) -> list[str]:
        """Draw held-out documents of 1,000 bytes or more, without replacement."""
        long = [document for document in self.held_out if len(document.encode()) >= _SHORTEST_DRAWN]
        if len(long) < count:
            raise ValueError(
                f"{self.name} has {len(long)} held-out documents of {_SHORTEST_DRAWN} bytes or "
                f"more, but {count} are to be drawn; take more text"
            )
        return random.Random(seed).sample(long, count)

    def to_json(self) -> dict[str, object]:
        """Return the fields for a report, without text or paths of this machine."""
        return {
            "name": self.name,
            "train_documents": self.num_train_documents,
            "train_bytes": self.train_bytes,
            "train_sha256": hashlib.sha256(self.train.read_bytes()).hexdigest(),
            "held_out_documents": len(self.held_out),
            "held_out_bytes": self.held_out_bytes,
            "held_out_sha256": hashlib.sha256(self.validation.read_bytes()).hexdigest(),
            "repeated_share": self.repeated_share,
        }


def divide(corpus: Corpus, folder: Path, *, seed: int) -> Texts:
    """Hold a twentieth of the documents out, drawn by `seed`; leave blank ones out.

    Writes train.txt and validation.txt, each complete or absent, into `folder`.

    Raises:
        ValueError: there are too few documents to hold one out.
    """
    documents = [text for text in corpus.path.read_bytes().split(_SEPARATOR) if text.strip()]
    num_held = round(HELD_OUT_FRACTION * len(documents))
    if not num_held:
        raise ValueError(
            f"{corpus.name} has {len(documents)} documents, too few to hold out a twentieth; take "
            "more text"
        )
    is_held = set(random.Random(seed).sample(range(len(documents)), num_held))
    train = [text for index, text in enumerate(documents) if index not in is_held]
    held = [text for index, text in enumerate(documents) if index in is_held]
    paths = [folder / name for name in ("train.txt", "validation.txt")]
    for path, part in zip(paths, (train, held), strict=True):
        write_atomically(path, b"".join(text + _SEPARATOR for text in part))
    return Texts(
        name=corpus.name,
        train=paths[0],
        validation=paths[1],
        num_train_documents=len(train),
        train_bytes=sum(map(len, train)),
        held_out=[text.decode() for text in held],
        repeated_share=_repeated_share(held, train),
    )


def _repeated_share(held: list[bytes], train: list[bytes]) -> float:
    r"""Return the share of bytes, over long lines, whose line the training text has too.

    >>> line, other = b"a line that is long enough to tell something", b"b" * 44
    >>> _repeated_share([line + b"\n" + other], [b"  " + line])
    0.5
    """
    known = {hash(line) for text in train for line in _telling_lines(text)}
    lines = [line for text in held for line in _telling_lines(text)]
    repeated = sum(len(line) for line in lines if hash(line) in known)
    return repeated / max(1, sum(map(len, lines)))


def _telling_lines(text: bytes) -> list[bytes]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if len(line) >= _TELLING_LINE]
