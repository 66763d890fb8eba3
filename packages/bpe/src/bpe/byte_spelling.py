"""Spell arbitrary bytes as text for vocab.json and merges.txt.

Stage: merges -> *vocabulary files*. GPT-2 spells each byte as one visible character, so a token
is a JSON string without spaces or control characters. Not here: the files themselves.
Source: the format of OpenAI's GPT-2 vocabulary files.
"""

from functools import cache


@cache
def byte_to_unicode() -> dict[int, str]:
    """Return the spelling of each byte: itself if Latin-1 prints it, else from U+0100 upwards.

    >>> byte_to_unicode()[ord("A")], byte_to_unicode()[ord(" ")]
    ('A', '\u0120')
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    spelling = {byte: chr(byte) for byte in printable}
    return spelling | {byte: chr(0x100 + index) for index, byte in enumerate(rest)}


@cache
def _latin_1_by_spelling() -> dict[int, int]:
    """Map each spelling to its Latin-1 character, for `str.translate`; other Latin-1 to none."""
    no_byte = dict.fromkeys(range(256), 0xFFFF)
    return no_byte | {ord(character): byte for byte, character in byte_to_unicode().items()}


def spell(token: bytes) -> str:
    r"""Return the GPT-2 spelling of a token.

    >>> spell(b" the\n")
    '\u0120the\u010a'
    """
    return token.decode("latin-1").translate(byte_to_unicode())  # Latin-1 keeps byte values


def unspell(spelled: str) -> bytes:
    """Return the bytes that a GPT-2 spelling stands for; the inverse of `spell`.

    Raises:
        ValueError: a character that does not spell a byte.
    """
    try:
        return spelled.translate(_latin_1_by_spelling()).encode("latin-1")
    except UnicodeEncodeError as error:
        character = spelled[error.start]
        raise ValueError(
            f"token {spelled!r} contains {character!r} (U+{ord(character):04X}), which is not in "
            "GPT-2's byte alphabet; list it as a special token if it is one"
        ) from None
