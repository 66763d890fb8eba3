"""Turn ids back into bytes in compiled code.

Stage: ids -> *bytes*. The bytes of all tokens are stored one after another; each id has an offset
and a length there. Most tokens are short, so 16 bytes are copied whatever the length, and the next
token overwrites the excess. Not here: text (`tokenizer.codec`).
"""

import numpy as np

from bpe.kernel_parts import (
    address_of,
    kernel,
    load8,
    load64,
    shift_right,
    store8,
    store64,
    store128,
)

_LENGTH_BITS = 24
_CHUNK = 16
_BLOCK_IDS = 1 << 16  # decoded together, so they stay in the cache


@kernel
def measure(ids, places):
    """Return the number of bytes of the ids, or -1 - the position of the first unknown id.

    Args:
        ids: (n,) int64.
        places: (v,) int64; see `Decoder`.
    """
    num_bytes = 0
    for position in range(len(ids)):
        token = ids[position]
        if token < 0 or token >= len(places) or places[token] < 0:
            return -1 - position
        num_bytes += places[token] & ((1 << _LENGTH_BITS) - 1)
    return num_bytes


@kernel
def decode(ids, places, content, out):
    """Write the bytes of known ids.

    Args:
        ids: (n,) int64, all of them known.
        places: (v,) int64.
        content: address of the bytes of the tokens.
        out: address of the output; room for 16 bytes more than `measure` returns.
    """
    for position in range(len(ids)):
        place = places[ids[position]]
        source, length = content + shift_right(place, _LENGTH_BITS), place & ((1 << 24) - 1)
        store128(out, load64(source), load64(source + 8))
        if length > _CHUNK:
            done = _CHUNK
            while done + 8 <= length:
                store64(out + done, load64(source + done))
                done += 8
            while done < length:
                store8(out + done, load8(source + done))
                done += 1
        out += length


class Decoder:
    """Decodes arrays of ids."""

    def __init__(self, tokens: dict[int, bytes]) -> None:
        lengths = np.array([len(token) for token in tokens.values()], np.int64)
        content = b"".join(tokens.values())
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
        # start << 24 | length; -1 if there is no token.
        self._places = np.full(max(tokens) + 1, -1, np.int64)
        self._places[list(tokens)] = starts << _LENGTH_BITS | lengths
        self._content = np.frombuffer(content + bytes(_CHUNK), np.uint8)

    def decode(self, ids: np.ndarray) -> bytes | int:
        """Return the bytes of (n,) ids, or the position of the first id that is not a token."""
        parts = []
        for start in range(0, len(ids), _BLOCK_IDS):
            block = ids[start : start + _BLOCK_IDS].astype(np.int64)
            num_bytes = measure(block, self._places)
            if num_bytes < 0:
                return start - 1 - num_bytes
            out = np.empty(num_bytes + _CHUNK, np.uint8)
            decode(block, self._places, address_of(self._content), address_of(out))
            parts.append(out[:num_bytes].tobytes())
        return b"".join(parts)
