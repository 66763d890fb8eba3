"""State what a saved vocabulary holds, and check it.

Stage: vocabulary <-> *files*. Counts name what is missing, the fingerprint covers all the rest.
Written by every format of ours that has room for it. Not here: files of other projects, which
state nothing (`evidence`).
"""

from collections.abc import Mapping

Statement = dict[str, int | str]


class AlteredVocabularyError(ValueError):
    """A saved vocabulary is well-formed, but not the one that was saved."""


_COUNTED = {"num_tokens": "tokens", "num_merges": "merges"}


def check_statement(stated: object, found: Statement) -> None:
    """Insist that a vocabulary is the one that was saved.

    Args:
        stated: what stands where the statement was written; any JSON value.
        found: the statement of the vocabulary that was read.

    Raises:
        AlteredVocabularyError: it is another one.
        ValueError: nothing is stated.
    """
    if not isinstance(stated, Mapping):
        raise ValueError(f"it states {stated!r} where counts and a fingerprint are needed")
    remedy = "part of it was cut off or comes from another vocabulary; copy all of it again"
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
