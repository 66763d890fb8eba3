"""Write numbers of things as people say them: 1 document, 2 documents.

Stage: numbers -> *words* -> messages. Not here: which numbers are worth a message.
"""


def plural(number: int | str, noun: str, several: str | None = None) -> str:
    """Write a number with its noun; a string is used as it is, and the plural has an s by default.

    >>> plural(1, "document"), plural(2000, "document"), plural(0, "batch", "batches")
    ('1 document', '2,000 documents', '0 batches')
    """
    shown = number if isinstance(number, str) else f"{number:,}"
    return f"{shown} {agree(number, noun, several or f'{noun}s')}"


def agree(number: int | str, one: str, several: str) -> str:
    """Return the form that agrees with a number.

    >>> f"1 of 3 trials {agree(1, 'has', 'have')} run"
    '1 of 3 trials has run'
    """
    return one if number in (1, "1") else several
