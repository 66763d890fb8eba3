"""Hold what training produces, and save it to files.

Stage: merges -> *vocabulary* -> ids. A vocabulary holds everything that decides how text becomes
ids: tokens, merges in order, special tokens and the split pattern. Not here: encoding (the
`tokenizer` package) and the format of the files (`formats`).
"""

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bpe.formats.evidence import check_merges
from bpe.formats.files import Staging, make_directory, require_inside
from bpe.formats.gpt2 import (
    format_merges,
    format_vocab,
    parse_merges,
    parse_vocab,
    read_json_object,
)
from bpe.formats.huggingface import tokenizer_json
from bpe.formats.statement import AlteredVocabularyError, Statement, check_statement
from bpe.messages.arguments import as_path, require, require_all, wrong_kind
from bpe.messages.excerpts import excerpt
from bpe.messages.plural import plural
from bpe.patterns import GPT2, resolve_pattern
from bpe.special_tokens import append_missing, check_special_tokens
from bpe.unicode_classes import UNICODE_VERSION

FORMAT, FORMAT_VERSION = "bpe-vocabulary", 2
_UNSTATED = 1  # version without a statement of what the other files hold


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, the merges that build them, the special tokens and the split pattern.

    Attributes:
        tokens: id to bytes; special tokens are included as their UTF-8 bytes.
        merges: pairs of tokens, in the order in which they were learned.
        special_tokens: strings that are one token each and never merge with anything.
        pattern: regex source; a known name is accepted and resolved.

    Raises:
        ValueError: no tokens, ids that are not whole numbers below 2^32, two ids with the same
            bytes, a special token without an id, or a merge of or into something that is no token.

    >>> v = Vocabulary({0: b"a", 1: b"b", 2: b"ab"}, [(b"a", b"b")])
    >>> len(v), v.ids[b"ab"]
    (3, 2)
    """

    tokens: dict[int, bytes]
    merges: list[tuple[bytes, bytes]]
    special_tokens: tuple[str, ...] = ()
    pattern: str = GPT2

    def __post_init__(self) -> None:
        object.__setattr__(self, "special_tokens", check_special_tokens(self.special_tokens))
        object.__setattr__(self, "pattern", resolve_pattern(self.pattern))
        self._check_kinds()
        self._check_tokens()
        self._check_merges()

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """The id of each token: `tokens`, inverted."""
        return {token: token_id for token_id, token in self.tokens.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides the ids of a text; dict order does not matter."""
        content = {
            "merges": [[left.hex(), right.hex()] for left, right in self.merges],
            "pattern": self.pattern,
            "special_tokens": sorted(self.special_tokens),
            "tokens": [[token_id, token.hex()] for token_id, token in sorted(self.tokens.items())],
            "unicode_version": UNICODE_VERSION,
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def statement(self) -> Statement:
        """What saved files state about the vocabulary, as JSON values."""
        return {
            "num_tokens": len(self.tokens),
            "num_merges": len(self.merges),
            "fingerprint": self.fingerprint,
        }

    def tokenizer_json(self) -> str:
        """Return the text of a tokenizer.json for HF tokenizers."""
        return tokenizer_json(
            self.tokens,
            self.merges,
            special_tokens=self.special_tokens,
            pattern=self.pattern,
            statement=self.statement,
        )

    def save(self, directory: str | Path) -> None:
        """Write vocab.json, merges.txt, tokenizer.json and bpe.json into a directory.

        If writing fails, the old files stay. An older bpe.json is removed first and the new one
        comes last: a directory that `load` accepts holds the files of one vocabulary.

        `tokenizer.json` is for HF tokenizers; a custom pattern is copied into it unchanged, and
        HF's regex engine may interpret it differently.

        Raises:
            ValueError: a special token spelled like another token; JSON can hold only one of them.
        """
        directory = as_path(directory, name="directory")
        files = {
            "vocab.json": format_vocab(self.tokens, self.special_tokens),
            "merges.txt": format_merges(self.merges),
            "tokenizer.json": self.tokenizer_json(),
            "bpe.json": self._header(),
        }
        make_directory(directory)
        with Staging() as staging:
            for name, text in files.items():
                staging.open(directory / name).write(text.encode())
            staging.commit()

    @classmethod
    def load(cls, directory: str | Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            AlteredVocabularyError: the files are well-formed, but not those that were saved.
            ValueError: malformed content (names file and line), or another format or version.
        """
        directory = as_path(directory, name="directory")
        path = directory / "bpe.json"
        if directory.is_dir() and not path.exists():
            raise FileNotFoundError(
                errno.ENOENT,
                "no such file, so no complete vocabulary; name the folder that train-bpe or save "
                "wrote, or read vocab.json and merges.txt with Vocabulary.from_files",
                str(path),
            )
        vocab_path, merges_path = directory / "vocab.json", directory / "merges.txt"
        for file in (path, vocab_path, merges_path):
            require_inside(file, directory)
        header = read_json_object(path)
        special_tokens, pattern = _check_header(header, path)
        if header["version"] == _UNSTATED:
            return cls.from_files(vocab_path, merges_path, special_tokens, pattern)
        vocabulary = cls._read(vocab_path, merges_path, special_tokens, pattern)
        try:
            check_statement(header, vocabulary.statement)
        except AlteredVocabularyError as error:
            raise AlteredVocabularyError(f"{path}: {error}") from error
        return vocabulary

    @classmethod
    def from_files(
        cls,
        vocab_path: str | Path,
        merges_path: str | Path,
        special_tokens: tuple[str, ...] | list[str] = (),
        pattern: str = GPT2,
    ) -> "Vocabulary":
        """Read GPT-2-style vocab.json and merges.txt, with the ids of the file.

        Special tokens that the file lacks are appended after the highest id, in the given order.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: malformed content (names file and line), or merges that were evidently
                truncated, reordered or made for another vocabulary.
        """
        vocab_path = as_path(vocab_path, name="vocab_path")
        merges_path = as_path(merges_path, name="merges_path")
        special_tokens = check_special_tokens(special_tokens)
        vocabulary = cls._read(vocab_path, merges_path, special_tokens, pattern)
        try:
            check_merges(vocabulary.tokens, vocabulary.merges, vocabulary.special_tokens)
        except ValueError as error:
            raise ValueError(f"{merges_path}, with {vocab_path}: {error}") from error
        return vocabulary

    @classmethod
    def _read(
        cls, vocab_path: Path, merges_path: Path, special_tokens: tuple[str, ...], pattern: str
    ) -> "Vocabulary":
        tokens, by_spelling = parse_vocab(vocab_path, special_tokens=special_tokens)
        tokens = append_missing(tokens, special_tokens)
        merges = parse_merges(merges_path, by_spelling=by_spelling)
        try:
            return cls(tokens, merges, special_tokens, pattern)
        except ValueError as error:
            raise ValueError(f"{vocab_path}: {error}") from error

    def _header(self) -> str:
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "pattern": self.pattern,
            "special_tokens": list(self.special_tokens),
            "unicode_version": UNICODE_VERSION,
            **self.statement,
        }
        return json.dumps(header, indent=2, ensure_ascii=False) + "\n"

    def _check_kinds(self) -> None:
        require(self.tokens, Mapping, name="tokens", needed="a dict from ids to bytes")
        require_all(self.tokens.values(), bytes, name="a token", needed="bytes")
        try:
            parts = [part for left, right in self.merges for part in (left, right)]
        except (TypeError, ValueError):
            needed = "a list of pairs of bytes"
            raise wrong_kind(self.merges, name="merges", needed=needed) from None
        require_all(parts, bytes, name="a part of a merge", needed="bytes")

    def _check_tokens(self) -> None:
        if not self.tokens:
            raise ValueError("the vocabulary is empty; pass at least one token")
        for token_id in self.tokens:
            if type(token_id) is not int or not 0 <= token_id < 1 << 32:
                raise ValueError(
                    f"{token_id!r} is not a token id; ids are whole numbers from 0 to 2**32 - 1"
                )
        if len(self.ids) < len(self.tokens):
            first_id: dict[bytes, int] = {}
            for token_id, token in self.tokens.items():
                if first_id.setdefault(token, token_id) != token_id:
                    raise ValueError(
                        f"ids {first_id[token]} and {token_id} both stand for {excerpt(token)}; "
                        "give each id its own bytes"
                    )
        for special in self.special_tokens:
            if special.encode() not in self.ids:
                raise ValueError(
                    f"special token {excerpt(special)} has no id among the "
                    f"{plural(len(self), 'token')}; add one"
                )

    def _check_merges(self) -> None:
        ids = self.ids
        if all(a in ids and b in ids and a + b in ids for a, b in self.merges):
            return
        for rank, (left, right) in enumerate(self.merges):
            for token in (left, right, left + right):
                if token not in ids:
                    raise ValueError(
                        f"merge {rank} is {excerpt(left)} + {excerpt(right)}, but "
                        f"{excerpt(token)} is not among the {plural(len(self), 'token')}; pass "
                        "the merges that were learned with these tokens"
                    )


def _check_header(header: dict[str, object], path: Path) -> tuple[tuple[str, ...], str]:
    readable = {
        "format": (FORMAT,),
        "version": (FORMAT_VERSION, _UNSTATED),
        "unicode_version": (UNICODE_VERSION,),
    }
    for key, needed in readable.items():
        if header.get(key) not in needed:
            raise ValueError(
                f"{path}: {key} is {header.get(key)!r}, but this version of bpe reads "
                f"{' and '.join(map(repr, needed))}; use the version of bpe that wrote it"
            )
    special_tokens, pattern = header.get("special_tokens"), header.get("pattern")
    if not isinstance(special_tokens, list) or not isinstance(pattern, str):
        raise ValueError(
            f"{path}: special_tokens is {special_tokens!r} and pattern is {pattern!r}; a list and "
            "a string are needed, so copy the file again"
        )
    if not all(isinstance(special, str) for special in special_tokens):
        raise ValueError(f"{path}: special_tokens must all be strings, not {special_tokens!r}")
    try:
        return check_special_tokens(special_tokens), resolve_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
