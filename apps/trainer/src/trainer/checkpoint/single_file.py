"""Turn any torch model and optimizer into one safetensors file, and back, bit for bit.

Stage: model, optimizer <-> *one file*. Tensors go into safetensors, everything else as JSON into
its metadata; nothing is pickled, so an untrusted file can hold wrong numbers but no code. Equal
state gives equal bytes. Not here: the checkpoints of a run directory (`run_checkpoint.py`).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from trainer.checkpoint.packing import (
    pack_model,
    pack_optimizer,
    reading,
    unpack_model,
    unpack_optimizer,
)
from trainer.storage.durable import write_atomically
from trainer.storage.file_format import require_format

FORMAT = "trainer.single-file-checkpoint"
VERSION = 2

_SEAL = "sha256"
_MODEL, _OPTIMIZER = "model.", "optimizer."
_DTYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.bool: "BOOL"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"},
    **{torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8"},
}


def save_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    out: str | os.PathLike[str] | BinaryIO,
) -> None:
    """Write model, optimizer and iteration as one safetensors file.

    Args:
        model: any module; tensors that share memory are stored once.
        optimizer: any optimizer over the model's parameters.
        iteration: steps taken so far.
        out: a path, which ends up complete or absent, or a writable binary file.

    Raises:
        ValueError: the state holds an object that fits neither safetensors nor JSON.
    """
    model_tensors, model_rest = pack_model(model)
    optimizer_tensors, optimizer_rest = pack_optimizer(optimizer, model)
    tensors = {_MODEL + name: tensor for name, tensor in model_tensors.items()}
    tensors |= {_OPTIMIZER + name: tensor for name, tensor in optimizer_tensors.items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "iteration": str(int(iteration)),
        "model": json.dumps(model_rest, allow_nan=False),
        "optimizer": json.dumps(optimizer_rest, allow_nan=False),
    }
    parts = to_sealed_safetensors(tensors, metadata)
    if isinstance(out, str | os.PathLike):
        write_atomically(Path(out), parts)
    else:
        for part in parts:
            out.write(part)


def load_checkpoint(
    src: str | os.PathLike[str] | BinaryIO, model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Fill model and optimizer from what `save_checkpoint` wrote; nothing changes if that fails.

    Args:
        src: a path or a readable binary file.
        model: of the same architecture as the saved one.
        optimizer: of the same class and over the same parameters as the saved one.

    Returns:
        The iteration that was saved.

    Raises:
        ValueError: the file is not a checkpoint, or one of another model or optimizer.
    """
    is_path = isinstance(src, str | os.PathLike)
    source = str(src) if is_path else "checkpoint"
    data = Path(src).read_bytes() if is_path else src.read()
    tensors, metadata = from_safetensors(data, source)
    require_format(metadata, name=FORMAT, version=VERSION, source=source)
    with reading(source):
        _require_sealed(data, tensors, metadata)
        iteration = int(metadata["iteration"])
        model_state = unpack_model(
            _strip(tensors, _MODEL), json.loads(metadata["model"]), model, source=source
        )
        optimizer_state = unpack_optimizer(
            _strip(tensors, _OPTIMIZER),
            json.loads(metadata["optimizer"]),
            optimizer,
            model,
            source=source,
        )
        optimizer.load_state_dict(optimizer_state)  # first: the model's is known to fit
    model.load_state_dict(model_state)
    return iteration


def to_safetensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    """Return a safetensors file in parts: the header, then the tensors' own memory.

    The library's `save` copies everything twice and orders metadata at random; here equal state
    gives equal bytes. Views of one storage are written separately.
    """
    # The widest first, so that every tensor starts at a multiple of its width.
    own = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in sorted(tensors.items(), key=lambda one: (-one[1].itemsize, one[0]))
    }
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in own.items():
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _dtype_name(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [tensor.flatten().view(torch.uint8).numpy().data for tensor in own.values()]
    return [len(text).to_bytes(8, "little") + text, *parts]


def to_sealed_safetensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    """Return a safetensors file in parts, with a SHA-256 of the rest in its metadata."""
    return to_safetensors(tensors, {**metadata, _SEAL: _seal(tensors, metadata)})


def from_safetensors(data: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, sorted by name, and the metadata of a complete safetensors file."""
    try:
        tensors = dict(sorted(safetensors_torch.load(data).items()))
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__", {})
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:  # or an unknown dtype
        raise ValueError(
            f"{source} is not a complete safetensors file ({error}); save it again"
        ) from error
    return tensors, metadata


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of the file without its seal."""
    digest = hashlib.sha256()
    for part in to_safetensors(tensors, metadata):
        digest.update(part)
    return digest.hexdigest()


def _require_sealed(
    data: bytes, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Insist that every bit is unchanged; a header has only one spelling."""
    header = to_safetensors(tensors, metadata)[0]
    content = {key: value for key, value in metadata.items() if key != _SEAL}
    if data[: len(header)] != header or _seal(tensors, content) != metadata.get(_SEAL):
        raise ValueError("its SHA-256 is not the recorded one")


def _dtype_name(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in _DTYPES:
        raise ValueError(
            f"{name} is {tensor.dtype}, but a checkpoint holds only "
            f"{', '.join(str(dtype).removeprefix('torch.') for dtype in _DTYPES)}; convert it"
        )
    return _DTYPES[tensor.dtype]


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
