"""Write a vocabulary as a tokenizer.json for HF tokenizers.

Stage: vocabulary -> *tokenizer.json*. The file gives the same ids as ours: byte-level BPE with our
split pattern, special tokens as added tokens. Not here: reading such files.
"""

import json
from collections.abc import Sequence

from bpe.byte_spelling import spell
from bpe.formats.gpt2 import spelled_vocab
from bpe.formats.statement import Statement
from bpe.patterns import GPT2

STATEMENT_KEY = "bpe"
"""The key of our statement in `model`; HF tokenizers ignore it and never write it."""


def tokenizer_json(
    tokens: dict[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    *,
    special_tokens: tuple[str, ...],
    pattern: str,
    statement: Statement,
) -> str:
    """Return the text of tokenizer.json."""
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(tokens, special_tokens),
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(pattern),
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": spelled_vocab(tokens, special_tokens),
            "merges": [[spell(left), spell(right)] for left, right in merges],
            STATEMENT_KEY: statement,
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _added_tokens(
    tokens: dict[int, bytes], special_tokens: tuple[str, ...]
) -> list[dict[str, object]]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    ids = {token: token_id for token_id, token in tokens.items()}
    by_id = sorted((ids[special.encode()], special) for special in special_tokens)
    return [
        {"id": token_id, "content": special, **flags, "normalized": False, "special": True}
        for token_id, special in by_id
    ]


def _pre_tokenizer(pattern: str) -> dict[str, object]:
    if pattern == GPT2:
        return _byte_level(use_regex=True)
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _byte_level(*, use_regex: bool) -> dict[str, object]:
    off = dict.fromkeys(("add_prefix_space", "trim_offsets"), False)
    return {"type": "ByteLevel", **off, "use_regex": use_regex}
