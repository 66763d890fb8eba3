"""State what a saved vocabulary holds, and check it.

Stage: vocabulary <-> *files*. The counts show what is missing; the fingerprint covers everything
else. Each of our formats that has room for a statement includes it. Not here: files of other
projects, which state nothing (`evidence`).
"""

from collections.abc import Mapping

Statement = dict[str, int | str]


class AlteredVocabularyError(ValueError):
    """A saved vocabulary is well-formed, but not the one that was saved."""


_COUNTED = {"num_tokens": "tokens", "num_merges": "merges"}


def check_statement(stated: object, found: Statement) -> None:
    """Require that a vocabulary is the one that was saved.

    Raises:
        AlteredVocabularyError: it is a different one.
        ValueError: nothing is stated.
    """
    if not isinstance(stated, Mapping):
        raise ValueError(f"it states {stated!r} where counts and a fingerprint are needed")
    remedy = "part of it is missing or comes from another vocabulary; copy all of it again"
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
