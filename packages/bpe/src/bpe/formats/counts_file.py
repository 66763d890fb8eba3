"""Save pretoken counts to a file and load them.

Stage: pretoken counts <-> *file*. It is a safetensors file, so other programs can read it: 8 bytes
with the length of a JSON header; the header; then the arrays `bytes`, `lengths` and `counts` of
`Packed`, little-endian, in the lexicographic order of the pretokens. The header's `__metadata__`
holds whatever decides the pretokens, as JSON text by key. Not here: the counts themselves.
Source: the safetensors format, version 1 (8-byte length, JSON header, buffer).
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from bpe.formats.files import write_atomically
from bpe.packed_counts import CountSettings, Dropped, Packed

FORMAT, FORMAT_VERSION = "bpe-pretoken-counts", 1
_DTYPES = {"U8": np.dtype("u1"), "I64": np.dtype("<i8")}
_ARRAYS = {"counts": "I64", "lengths": "I64", "bytes": "U8"}  # wide ones first: all are aligned
_SEAL = "metadata_sha256"  # absent from early files
_BLOCK = 1 << 16
_MAX_HEADER_BYTES = 100_000_000  # as in the safetensors library


def save_counts(
    path: Path, packed: Packed, settings: CountSettings | None, *, dropped: Dropped
) -> None:
    """Write counts, in the lexicographic order of their pretokens, to a file, whole or absent."""
    arrays = {"counts": packed.counts, "lengths": packed.lengths, "bytes": packed.content}
    blobs = {
        name: np.ascontiguousarray(array, _DTYPES[_ARRAYS[name]]).tobytes()
        for name, array in arrays.items()
    }
    body = b"".join(blobs.values())
    header: dict[str, object] = {"__metadata__": _metadata(settings, dropped, body)}
    begin = 0
    for name, blob in blobs.items():
        header[name] = {
            "dtype": _ARRAYS[name],
            "shape": [len(arrays[name])],
            "data_offsets": [begin, begin + len(blob)],
        }
        begin += len(blob)
    spelled = json.dumps(header, ensure_ascii=False).encode()
    spelled += b" " * (-len(spelled) % 8)
    write_atomically(path, len(spelled).to_bytes(8, "little") + spelled + body)


def load_counts(path: Path) -> tuple[Packed, CountSettings | None, Dropped]:
    """Read a file that `save_counts` wrote."""
    content = path.read_bytes()
    try:
        header, body = _split(content)
        metadata = {key: json.loads(text) for key, text in header["__metadata__"].items()}
        named = {key: metadata.get(key) for key in ("format", "version")}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not a file of pretoken counts; make one with `count`") from error
    if named != {"format": FORMAT, "version": FORMAT_VERSION}:
        raise ValueError(
            f"{path}: format and version are {named['format']!r} and {named['version']!r}, but "
            f"this version of bpe reads {FORMAT!r} and {FORMAT_VERSION}; count the text again"
        )
    try:
        if metadata.get(_SEAL, sealed := _seal(header["__metadata__"])) != sealed:
            raise ValueError("the checksum of its metadata does not match")
        return _parse(header, metadata, body)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error}); copy it or count again") from error


def is_counts_file(path: Path) -> bool:
    """Whether a file begins as `save_counts` writes it; text files do not."""
    with path.open("rb") as file:
        start = file.read(8 + len(b'{"__metadata__": {"format": '))
    return start[8:] == b'{"__metadata__": {"format": '


def _metadata(settings: CountSettings | None, dropped: Dropped, body: bytes) -> dict[str, str]:
    values = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "pattern": settings and settings.pattern,
        "special_tokens": settings and settings.special_tokens,
        "unicode_version": settings and settings.unicode_version,
        "dropped": dropped,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    metadata = {key: json.dumps(value) for key, value in values.items()}
    return metadata | {_SEAL: json.dumps(_seal(metadata))}


def _seal(metadata: dict[str, str]) -> str:
    """Return the SHA-256 of the metadata without the checksums."""
    sealed = {key: text for key, text in metadata.items() if key not in (_SEAL, "sha256")}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()


def _split(content: bytes) -> tuple[dict, memoryview]:
    header_bytes = int.from_bytes(content[:8], "little")
    if not 2 <= header_bytes <= min(_MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError("the header is cut off")
    header = json.loads(content[8 : 8 + header_bytes])
    return header, memoryview(content)[8 + header_bytes :]


def _parse(
    header: dict, metadata: dict, body: memoryview
) -> tuple[Packed, CountSettings | None, Dropped]:
    if hashlib.sha256(body).hexdigest() != metadata["sha256"]:
        raise ValueError("the checksum does not match")
    arrays = {}
    for name, kind in _ARRAYS.items():
        begin, end = header[name]["data_offsets"]
        if header[name]["dtype"] != kind or not 0 <= begin <= end <= len(body):
            raise ValueError(f"the array {name!r} has the wrong place or type")
        arrays[name] = np.frombuffer(body[begin:end], _DTYPES[kind])
    packed = Packed(arrays["bytes"], arrays["lengths"], arrays["counts"])
    _check(packed)
    settings = None
    if metadata["pattern"] is not None:
        settings = CountSettings(
            metadata["pattern"], tuple(metadata["special_tokens"]), metadata["unicode_version"]
        )
    return packed, settings, Dropped(*metadata["dropped"])


def _check(packed: Packed) -> None:
    content, lengths, counts = packed
    if len(lengths) and (lengths.min() < 1 or counts.min() < 1):
        raise ValueError("a length or a count is below 1")
    is_fitting = len(lengths) == len(counts) and lengths.max(initial=0) <= len(content)
    # The sum of a block cannot overflow, as no length exceeds the length of the file.
    blocks = range(0, len(lengths), _BLOCK)
    if not is_fitting or sum(int(lengths[i : i + _BLOCK].sum()) for i in blocks) != len(content):
        raise ValueError("the arrays do not fit together")
