"""Read and write vocabularies in other projects' formats.

Stage: *files* <-> vocabulary. `bpe.Vocabulary` reads GPT-2's pair of files; here are HF's
tokenizer.json and tiktoken's list of ranks. A file that requires something that `Tokenizer` does
not do is refused, never approximated. Not here: SentencePiece and WordPiece.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from bpe.messages.excerpts import excerpt
from tokenizer._bpe import (
    STATEMENT_KEY,
    Staging,
    Vocabulary,
    as_path,
    check_merges,
    check_statement,
    read_json_object,
    require_inside,
    unspell,
    write_atomically,
)

_RANKS_FORMAT, _RANKS_VERSION = "tiktoken-ranks", 1


def load_vocabulary(path: str | Path, *, pattern: str | None = None) -> Vocabulary:
    """Read a tokenizer directory, a tokenizer.json or a .tiktoken file, distinguished by name.

    Args:
        path: what to read.
        pattern: how text is split; required for .tiktoken files, which do not specify it.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: malformed, unsupported, or `pattern` is missing or superfluous.
    """
    path = as_path(path, name="path")
    if path.suffix == ".tiktoken":
        if pattern is None:
            raise ValueError(f"{path} does not specify how to split text; name a split pattern")
        return load_tiktoken(path, pattern=pattern)
    if pattern is not None:
        raise ValueError(f"{path} specifies how to split text; leave out the split pattern")
    return load_tokenizer_json(path) if path.suffix == ".json" else Vocabulary.load(path)


def save_vocabulary(vocabulary: Vocabulary, path: str | Path) -> None:
    """Write a tokenizer.json, a .tiktoken file or, under any other name, a tokenizer directory.

    Raises:
        ValueError: the format cannot represent the vocabulary.
    """
    path = as_path(path, name="path")
    if path.suffix == ".tiktoken":
        save_tiktoken(vocabulary, path)
    elif path.suffix == ".json":
        write_atomically(path, vocabulary.tokenizer_json().encode())
    else:
        vocabulary.save(path)


def load_tiktoken(
    path: str | Path, *, pattern: str, special_tokens: Mapping[str, int] | None = None
) -> Vocabulary:
    """Read tiktoken's ranks: each line is a token in base64, a space and its id.

    The file contains no merges. The merge of each token is found by encoding its bytes with the
    tokens before it, which leaves two.

    Args:
        path: the file.
        pattern: how text is split: a name in `bpe.PATTERNS`, or regex source.
        special_tokens: ids by special token; the file contains none.

    Raises:
        ValueError: malformed, or a token that no merge makes.
    """
    path = Path(path)
    content = path.read_bytes()
    ranks = _parse_ranks(content, path)
    _check_ranks(content, len(ranks), path)
    specials = dict(special_tokens or {})
    by_rank = sorted(ranks, key=ranks.__getitem__)
    merges = [_split_in_two(token, ranks, path) for token in by_rank if len(token) > 1]
    tokens = {ranks[token]: token for token in by_rank}
    taken = {token: i for token, i in specials.items() if i in tokens}
    if taken or len(tokens) < len(ranks):
        raise ValueError(f"{path}: an id stands for two tokens {taken or ''}; give each its own")
    if lacking := _lacking_bytes(ranks):
        raise ValueError(
            f"{path} has no token for {len(lacking)} of the 256 bytes (the first is "
            f"0x{lacking[0]:02x}), so it was cut off; get it again"
        )
    tokens |= {token_id: token.encode() for token, token_id in specials.items()}
    try:
        return Vocabulary(tokens, merges, tuple(specials), pattern)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def save_tiktoken(vocabulary: Vocabulary, path: str | Path) -> None:
    """Write tiktoken's ranks; the file has no room for special tokens and pattern.

    The number of tokens and their hash go into a JSON file beside it: tiktoken accepts nothing else
    in its own, and a file truncated at the end of a line looks valid.

    Raises:
        ValueError: ids that do not ascend with the merges, or a byte without a token: tiktoken
            would give other ids. Or the file beside it would replace another one.
    """
    path = Path(path)
    specials = {token.encode() for token in vocabulary.special_tokens}
    merged_ids = [vocabulary.ids[left + right] for left, right in vocabulary.merges]
    if merged_ids != sorted(set(merged_ids)):
        raise ValueError(
            "the ids of this vocabulary do not ascend in the order of its merges, but tiktoken "
            "uses ids as ranks; train a new vocabulary, or save a tokenizer.json"
        )
    if lacking := _lacking_bytes(vocabulary.ids):
        raise ValueError(
            f"this vocabulary has no token for {len(lacking)} of the 256 bytes (the first is "
            f"0x{lacking[0]:02x}), but tiktoken needs all of them; save a tokenizer.json"
        )
    lines = [
        b64encode(token) + f" {token_id}\n".encode()
        for token_id, token in sorted(vocabulary.tokens.items())
        if token not in specials
    ]
    content, beside = b"".join(lines), _beside(path)
    if beside.exists() and read_json_object(beside).get("format") != _RANKS_FORMAT:
        raise ValueError(f"{beside} would be replaced; choose another name, or remove it")
    stated = {"format": _RANKS_FORMAT, "version": _RANKS_VERSION, **_state(content, len(lines))}
    with Staging() as staging:
        staging.open(path).write(content)
        staging.open(beside).write((json.dumps(stated, indent=2) + "\n").encode())
        staging.commit()


def load_tokenizer_json(path: str | Path) -> Vocabulary:
    """Read HF's tokenizer.json, if it is byte-level BPE without further steps.

    Raises:
        ValueError: malformed or incomplete, or it asks for something unsupported that changes ids.
    """
    path = Path(path)
    content = read_json_object(path)
    try:
        _require_plain_bpe(content)
        pattern = _pattern_of(content["pre_tokenizer"])
        added = {token["content"]: token["id"] for token in content["added_tokens"]}
        model = content["model"]
        tokens = _tokens_of(model["vocab"], added)
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        merges = [(unspell(left), unspell(right)) for left, right in pairs]
        vocabulary = Vocabulary(tokens, merges, tuple(added), pattern)
        if STATEMENT_KEY in model:
            check_statement(model[STATEMENT_KEY], vocabulary.statement)
        else:
            check_merges(tokens, merges, tuple(added))
        return vocabulary
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}, which a tokenizer.json needs") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def _parse_ranks(content: bytes, path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            spelled, rank = line.split()
            token, token_id = b64decode(spelled, validate=True), int(rank)
        except (ValueError, Base64Error):
            raise ValueError(
                f"{path}, line {number}: {line[:60]!r} is not a token in base64, a space and an id"
            ) from None
        if ranks.setdefault(token, token_id) != token_id:
            raise ValueError(
                f"{path}, line {number}: {token!r} has id {token_id}, but {ranks[token]} earlier"
            )
    return ranks


def _check_ranks(content: bytes, num_tokens: int, path: Path) -> None:
    """Compare ranks with what was stated beside them when they were saved, if that exists."""
    beside = _beside(path)
    if not beside.exists():
        return
    require_inside(beside, path.parent, path.resolve().parent)
    stated = read_json_object(beside)
    header = {"format": _RANKS_FORMAT, "version": _RANKS_VERSION}
    for key, found in (header | _state(content, num_tokens)).items():
        if stated.get(key) != found:
            raise ValueError(
                f"{path}: {key} is {found!r}, but {beside.name} beside it states "
                f"{stated.get(key)!r}: it was truncated or replaced; convert it again, or remove "
                f"{beside.name} if it belongs to another file"
            )


def _lacking_bytes(ids: Mapping[bytes, int]) -> list[int]:
    return [byte for byte in range(256) if bytes([byte]) not in ids]


def _state(content: bytes, num_tokens: int) -> dict[str, int | str]:
    return {"num_tokens": num_tokens, "sha256": hashlib.sha256(content).hexdigest()}


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _tokens_of(vocab: dict[str, int], added: dict[str, int]) -> dict[int, bytes]:
    """Return the tokens by id, after checking that no id stands for two."""
    tokens: dict[int, bytes] = {}
    for spelled, token_id in (vocab | added).items():
        token = spelled.encode() if spelled in added else unspell(spelled)
        if tokens.setdefault(token_id, token) != token:
            raise ValueError(f"id {token_id} stands for {tokens[token_id]!r} and for {token!r}")
    return tokens


def _split_in_two(token: bytes, ranks: Mapping[bytes, int], path: Path) -> tuple[bytes, bytes]:
    """Return the two tokens that the merge of `token` joins."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [left + right for left, right in pairwise(parts)]
        known = [(ranks[t], place) for place, t in enumerate(joined) if t in ranks and t != token]
        rank, place = min(known, default=(ranks[token], 0))
        if rank >= ranks[token]:
            raise ValueError(
                f"{path}: token {excerpt(token)} (id {ranks[token]}) is made by no merge of tokens "
                "with smaller ids, so this is not a list of BPE ranks"
            )
        parts[place : place + 2] = [joined[place]]
    return parts[0], parts[1]


def _require_plain_bpe(content: dict) -> None:
    """Refuse anything that makes HF tokenizers give other ids than byte-level BPE alone."""
    model = content["model"]
    switches = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    used = [f"model.{key}" for key in switches if model.get(key)]
    used += [f"model.{key}" for key in ("byte_fallback", "ignore_merges") if model.get(key)]
    used += [key for key in ("normalizer", "truncation", "padding") if content.get(key)]
    if (content.get("post_processor") or {}).get("type", "ByteLevel") != "ByteLevel":
        used.append(f"post_processor {content['post_processor']['type']}")
    for token in content["added_tokens"]:
        flags = [flag for flag in ("single_word", "lstrip", "rstrip") if token.get(flag)]
        used += [f"{flag} of added token {token['content']!r}" for flag in flags]
    if model.get("type", "BPE") != "BPE":
        used.append(f"model type {model['type']}")
    if used:
        raise ValueError(f"it uses {', '.join(used)}; only plain byte-level BPE is supported")


def _pattern_of(pre_tokenizer: dict) -> str:
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    *splits, last = steps
    if last["type"] == "ByteLevel" and not last.get("add_prefix_space", True):
        if not splits and last.get("use_regex", True):
            return "gpt2"
        if len(splits) == 1 and splits[0]["type"] == "Split" and not last.get("use_regex", True):
            split = splits[0]
            if split["behavior"] == "Isolated" and not split["invert"]:
                return split["pattern"]["Regex"]
    raise ValueError(
        f"its pre_tokenizer is {' + '.join(step['type'] for step in steps)} in an unsupported "
        "form; it must be ByteLevel without prefix space, alone or after one isolating Split"
    )
