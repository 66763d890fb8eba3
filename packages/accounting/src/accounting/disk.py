"""Count, to the byte, the size of weights on disk.

Stage: shape -> *bytes on disk*. A safetensors file is eight bytes, a JSON header padded to a
multiple of eight, and the numbers. Not here: what programs that train models write beside the
weights.
"""

import json
from collections.abc import Mapping

from accounting.parameters import Weight, list_weights
from accounting.shape import ModelShape

_FLOAT32 = 4


def weights_file_bytes(shape: ModelShape, metadata: Mapping[str, str] | None = None) -> int:
    """Return the size of a safetensors file of all weights in float32.

    >>> from accounting import PRESETS
    >>> weights_file_bytes(PRESETS["tinystories"])
    90789528
    """
    tensors = {f"{weight.name}.weight": weight.shape for weight in list_weights(shape)}
    return safetensors_bytes(tensors, metadata or {"format": "pt"})


def safetensors_bytes(tensors: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> int:
    """Return the size of a file of float32 tensors, ordered by name.

    >>> safetensors_bytes({"x": (2, 3)}, {"format": "pt"})
    120
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + _FLOAT32 * Weight(name, tensors[name] or (1,)).count
        dims = list(tensors[name])
        header[name] = {"dtype": "F32", "shape": dims, "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-length // 8) * 8 + end
