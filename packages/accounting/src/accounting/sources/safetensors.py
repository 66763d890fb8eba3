"""Read the header of a safetensors file: names, types and dimensions.

Stage: file -> *stored tensors*. The header is eight bytes of length, then JSON with the place of
each tensor in the rest; a file of another length is refused. Not here: the meaning of names.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LONGEST_HEADER = 100_000_000
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 8),
    **dict.fromkeys(("I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return -(-_BITS[self.dtype] * self.count // 8)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Read the header of a safetensors file; no tensor is read.

    Raises:
        ValueError: it is not a safetensors file, or its length contradicts its header.
    """
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise ValueError(
                f"{path} is not a safetensors file: its header would take {length} bytes"
            )
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=without_repeats)
        header.pop("__metadata__", None)
        placed = {name: _read_entry(name, entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a safetensors file: bad header, {error!r:.300}") from None
    _require_whole(path, placed, num_bytes=size - 8 - length)
    return {name: tensor for name, (tensor, _) in placed.items()}


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object whose keys are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is repeated")
    return found


def _read_entry(name: str, entry: Mapping[str, Any]) -> tuple[StoredTensor, list[int]]:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _BITS:
        raise ValueError(f"{name} has the unknown type {dtype!r}")
    if not all(type(number) is int and number >= 0 for number in (*shape, *offsets)):
        raise ValueError(f"a dimension or an offset of {name} is not a number")
    if len(offsets) != 2:
        raise ValueError(f"{name} has {len(offsets)} offsets, not 2")
    return StoredTensor(dtype, tuple(shape)), offsets


def _require_whole(
    path: Path, placed: Mapping[str, tuple[StoredTensor, list[int]]], *, num_bytes: int
) -> None:
    """Require tensors without gaps, from the first byte to the last."""
    end = 0
    for name, (tensor, (start, stop)) in sorted(placed.items(), key=lambda one: one[1][1]):
        if start != end or stop - start != tensor.num_bytes:
            raise ValueError(
                f"{path} is not a whole safetensors file: {name} is at bytes {start:,} to "
                f"{stop:,}, but needs {tensor.num_bytes:,} from {end:,}; download or save it again"
            )
        end = stop
    if end != num_bytes:
        raise ValueError(
            f"{path} is not a whole safetensors file: its tensors take {end:,} bytes, but its "
            f"header is followed by {num_bytes:,}; download or save it again"
        )
