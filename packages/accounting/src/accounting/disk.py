"""Count, to the byte, what numbers take on disk: weights, token files.

Stage: shape, sizes -> *bytes on disk*. A safetensors file is eight bytes, a JSON header padded to a
multiple of eight, and the numbers; an .npy is a header of 128 bytes and the numbers. Not here: what
programs that train models write beside the weights.
"""

import json
from collections.abc import Iterable, Mapping

from accounting.parameters import Weight, list_weights
from accounting.shape import ModelShape

_FLOAT32, _NPY_HEADER, _WIDEST_UINT16 = 4, 128, 1 << 16


def weights_file_bytes(shape: ModelShape, metadata: Mapping[str, str] | None = None) -> int:
    """Return the size of a safetensors file of all weights in float32.

    Args:
        shape: the model.
        metadata: of the file's header; None: the usual one.

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


def token_file_bytes(
    *,
    num_tokens: int,
    vocab_size: int,
    num_documents: int,
    num_bytes: int,
    end_of_text_id: int | None,
    sources: Iterable[str],
) -> int:
    """Return the size of a token file's three parts: ids, document starts, sidecar.

    Args:
        num_tokens: number of ids.
        vocab_size: up to 65,536 an id takes two bytes, above that four.
        num_documents: number of documents.
        num_bytes: size of the source text.
        end_of_text_id: id that separates documents.
        sources: names of the source files.
    """
    is_narrow = vocab_size <= _WIDEST_UINT16
    ids = _NPY_HEADER + (2 if is_narrow else 4) * num_tokens
    documents = _NPY_HEADER + 8 * num_documents
    sidecar = {
        "format": "token-file",
        "version": 2,
        "dtype": "uint16" if is_narrow else "uint32",
        "num_tokens": num_tokens,
        "vocab_size": vocab_size,
        "tokenizer": "0" * 64,
        "end_of_text_id": end_of_text_id,
        "num_documents": num_documents,
        "num_bytes": num_bytes,
        "sha256": "0" * 64,
        "documents_sha256": "0" * 64,
        "sources": list(sources),
    }
    return ids + documents + len(json.dumps(sidecar, indent=2)) + 1
