"""Read and write vocab.json and merges.txt.

Stage: vocabulary <-> *files*. The two files are GPT-2's: tokens in the byte spelling of
`byte_spelling`, special tokens as their own text. Not here: bpe.json and tokenizer.json.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bpe.byte_spelling import spell, unspell
from bpe.messages.excerpts import excerpt

MERGES_HEADER = "#version: 0.2"


def format_vocab(tokens: dict[int, bytes], special_tokens: tuple[str, ...]) -> str:
    """Return vocab.json: one object from spelling to id, ordered by id."""
    return json.dumps(spelled_vocab(tokens, special_tokens), indent=0, ensure_ascii=False) + "\n"


def spelled_vocab(tokens: dict[int, bytes], special_tokens: tuple[str, ...]) -> dict[str, int]:
    """Return the ids by spelling, ascending.

    Raises:
        ValueError: a special token whose text is also the spelling of another token.
    """
    specials = {special.encode(): special for special in special_tokens}
    spelled: dict[str, int] = {}
    for token_id, token in sorted(tokens.items()):
        key = specials.get(token) or spell(token)
        if key in spelled:
            raise ValueError(
                f"ids {spelled[key]} and {token_id} are both spelled {excerpt(key)} in vocab.json; "
                "choose another special token"
            )
        spelled[key] = token_id
    return spelled


def format_merges(merges: Iterable[tuple[bytes, bytes]]) -> str:
    """Return merges.txt: a header line, then one pair per line in the order of the merges."""
    lines = [MERGES_HEADER, *(f"{spell(left)} {spell(right)}" for left, right in merges)]
    return "\n".join(lines) + "\n"


def parse_vocab(
    path: Path, *, special_tokens: tuple[str, ...]
) -> tuple[dict[int, bytes], dict[str, bytes]]:
    """Read vocab.json; keys among `special_tokens` are taken as plain text.

    Returns:
        Tokens by id, and by their spelling; special tokens only if their text is the spelling.

    Raises:
        ValueError: malformed content; names the line.
    """
    text = read_text(path)
    tokens: dict[int, bytes] = {}
    by_spelling: dict[str, bytes] = {}
    for spelled, token_id in parse_json_object(path, text=text).items():
        try:
            if type(token_id) is not int or token_id < 0:
                raise ValueError(f"{token_id!r} is not a token id; ids are integers from 0")
            if token_id in tokens:
                raise ValueError(f"{spelled!r} has id {token_id}, like an earlier token")
            if spelled not in special_tokens:
                tokens[token_id] = by_spelling[spelled] = unspell(spelled)
                continue
            tokens[token_id] = token = spelled.encode()
            if spell(token) == spelled:  # merges may also make it
                by_spelling[spelled] = token
        except ValueError as error:
            raise ValueError(f"{path}, line {_line_of_key(text, spelled)}: {error}") from error
    return tokens, by_spelling


def parse_merges(path: Path, *, by_spelling: Mapping[str, bytes]) -> list[tuple[bytes, bytes]]:
    """Read merges.txt, with or without its header line.

    Raises:
        ValueError: malformed content; names the line.
    """
    lines = read_text(path).split("\n")  # splitlines() would also split at U+0085 and the like
    lines = [line.removesuffix("\r") for line in lines]
    first = int(lines[0].startswith("#version"))
    end = len(lines) - (not lines[-1])
    with suppress(KeyError, ValueError):  # from a bad line, which is found below
        pairs = [line.split(" ") for line in lines[first:end]]
        merges = [(by_spelling[left], by_spelling[right]) for left, right in pairs]
        if all(left + right in by_spelling for left, right in pairs):
            return merges
    for number in range(first, end):
        try:
            _check_merge(lines[number], by_spelling)
        except ValueError as error:
            raise ValueError(f"{path}, line {number + 1}: {error}") from error
    raise AssertionError("merges were refused, but no line of them is malformed")


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold one object without repeated keys.

    Raises:
        ValueError: malformed content; names the line.
    """
    return parse_json_object(path, text=read_text(path))


def parse_json_object(path: Path, *, text: str) -> dict[str, Any]:
    """Parse the text of a file as `read_json_object` does."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated = next(key for key in found if counts[key] > 1)
            line = _line_of_key(text, repeated)
            raise ValueError(f"{path}, line {line}: key {repeated!r} appears more than once")
        return found

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}, column {error.colno})"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: JSON nested too deeply to read") from error
    except ValueError as error:  # a number with thousands of digits, which Python refuses
        named = str(path) in str(error)
        raise error if named else ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: contains a JSON {type(content).__name__}; an object is needed")
    return content


def read_text(path: Path) -> str:
    """Read a UTF-8 file without translating line ends.

    Raises:
        ValueError: bytes that are not UTF-8; names the line.
    """
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte {error.start} (0x{content[error.start]:02x}) is not UTF-8"
        ) from error


def _check_merge(line: str, by_spelling: Mapping[str, bytes]) -> None:
    parts = line.split(" ")
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"{line!r} is not a merge; two tokens separated by a space are needed")
    for spelled in (*parts, "".join(parts)):
        if spelled not in by_spelling:
            unspell(spelled)  # raises if that is not a spelling at all
            raise ValueError(f"merge {line!r} needs {spelled!r}, which the vocabulary lacks")


def _line_of_key(text: str, key: str) -> int:
    """Return the line of a JSON key, in either of the spellings that `json` writes."""
    spellings = (json.dumps(key), json.dumps(key, ensure_ascii=False))
    found = [place for place in map(text.find, spellings) if place >= 0]
    return text.count("\n", 0, min(found, default=0)) + 1
