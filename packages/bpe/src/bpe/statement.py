"""What does a saved vocabulary state about itself, and is it true?

Stage: vocabulary <-> *files*. Counts name what is missing, the fingerprint covers all the rest.
Written by every format of ours that has room for it. Not here: files of other projects, which
state nothing (`evidence`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpe.vocabulary import Vocabulary


class AlteredVocabularyError(ValueError):
    """A saved vocabulary is well-formed, but not the one that was saved."""


_COUNTED = {"num_tokens": "tokens", "num_merges": "merges"}


def statement(vocabulary: "Vocabulary") -> dict[str, int | str]:
    """Return what a file states about the vocabulary that it holds, as JSON values."""
    return {
        "num_tokens": len(vocabulary.tokens),
        "num_merges": len(vocabulary.merges),
        "fingerprint": vocabulary.fingerprint,
    }


def check_statement(stated: object, vocabulary: "Vocabulary") -> None:
    """Insist that a vocabulary is the one that was saved.

    Args:
        stated: what stands where `statement` was written; any JSON value.
        vocabulary: as it was read.

    Raises:
        AlteredVocabularyError: it is another one.
        ValueError: nothing is stated.
    """
    if not isinstance(stated, Mapping):
        raise ValueError(f"it states {stated!r} where counts and a fingerprint are needed")
    remedy = "part of it was cut off or comes from another vocabulary; copy all of it again"
    found = statement(vocabulary)
    for key, name in _COUNTED.items():
        if stated.get(key) != found[key]:
            raise AlteredVocabularyError(
                f"it states {key} {stated.get(key)!r}, but {found[key]} {name} were read: {remedy}"
            )
    if stated.get("fingerprint") != found["fingerprint"]:
        raise AlteredVocabularyError(
            f"it states the fingerprint {stated.get('fingerprint')!r}, but what was read has "
            f"{found['fingerprint']}: {remedy}"
        )
