"""Count, to the byte, the files that a run writes: weights, optimizer state, token files.

Stage: shape, sizes -> *bytes on disk*. A safetensors file is eight bytes, a JSON header padded to a
multiple of eight, and the numbers; an .npy is a header of 128 bytes and the numbers. What is text
alone (configuration, progress, manifest: a few kilobytes) is not counted.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounting.optimizer import is_hidden_matrix
from accounting.parameters import Weight, list_weights
from accounting.shape import ModelShape
from accounting.step import Optimizer, find_optimizer

_FLOAT32, _NPY_HEADER, _WIDEST_UINT16 = 4, 128, 1 << 16


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that an optimizer treats alike, with its settings as torch saves them."""

    weights: Sequence[Weight]
    settings: Mapping[str, Any]


def model_file_bytes(shape: ModelShape) -> int:
    """Return the size of `model.safetensors`.

    >>> from accounting import PRESETS
    >>> model_file_bytes(PRESETS["tinystories"])
    90789568
    """
    tensors = {f"{weight.name}.weight": weight.shape for weight in list_weights(shape)}
    metadata = {"format": "pt", "model": json.dumps({"tied": {}, "extra": {}})}
    return safetensors_bytes(tensors, metadata)


def optimizer_file_bytes(groups: Sequence[Group], optimizer: Optimizer | str) -> int:
    """Return the size of `optimizer.safetensors` once every parameter has been updated.

    Args:
        groups: as `parameter_groups` makes them, with every setting that torch saves, in order;
            learning rates have as many digits as they have at that step.
        optimizer: whose state it is.
    """
    known = find_optimizer(optimizer)
    tensors: dict[str, tuple[int, ...]] = {}
    states, listed, names, first = [], [], [], 0
    for group in groups:
        for index, weight in enumerate(group.weights, start=first):
            state = _state(weight, known)
            tensors |= {f"state.state.{index}.{key}": dims for key, dims in state.items()}
            pairs = [[key, {"tensor": f"state.state.{index}.{key}"}] for key in state]
            if state:
                states.append([index, {"map": pairs}])
        indices = list(range(first, first + len(group.weights)))
        pairs = [[key, _encoded(value)] for key, value in group.settings.items()]
        listed.append({"map": [*pairs, ["params", indices]]})
        names.append([f"{weight.name}.weight" for weight in group.weights])
        first += len(group.weights)
    state = {"map": [["state", {"map": states}], ["param_groups", listed]]}
    rest = {"class": known.name, "parameters": names, "state": state}
    metadata = {"format": "trainer.optimizer", "version": "1", "optimizer": json.dumps(rest)}
    return safetensors_bytes(tensors, metadata)


def default_groups(
    shape: ModelShape, optimizer: Optimizer | str, *, learning_rate: float
) -> list[Group]:
    """Return the groups that the trainer makes, with its default settings.

    Args:
        shape: the model.
        optimizer: one of `step.OPTIMIZERS`.
        learning_rate: of the last update.
    """
    known = find_optimizer(optimizer)
    is_muon = known.name == "Muon"
    common = {
        "AdamW": {"lr": learning_rate, "betas": (0.9, 0.95), "eps": 1e-8},
        "SGD": {"lr": learning_rate, "decay": False},
        "Muon": {"lr": learning_rate, "momentum": 0.95, "nesterov": True},
    }[known.name]
    if is_muon:
        common |= {"scale": "rms", "betas": (0.9, 0.95), "eps": 1e-8, "peak_ratio": 1.0}
    weights = list(list_weights(shape))
    hidden = [one for one in weights if is_muon and is_hidden_matrix(one)]
    matrices = [one for one in weights if len(one.shape) == 2 and one not in hidden]
    vectors = [one for one in weights if len(one.shape) == 1]
    groups = [(matrices, 0.1, "adamw"), (vectors, 0.0, "adamw"), (hidden, 0.1, "muon")]
    return [
        Group(listed, common | {"weight_decay": decay} | ({"rule": rule} if is_muon else {}))
        for listed, decay, rule in groups
        if listed
    ]


def safetensors_bytes(tensors: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> int:
    """Return the size of a file of float32 tensors, which lie in the order of their names.

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
    """Return the size of a token file's three parts: ids, starts of documents, sidecar.

    Args:
        num_tokens: ids in it.
        vocab_size: up to 65,536 an id takes two bytes, above four.
        num_documents: in it.
        num_bytes: of its source text.
        end_of_text_id: what separates documents.
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


def _state(weight: Weight, optimizer: Optimizer) -> dict[str, tuple[int, ...]]:
    rule = optimizer.rule_of(is_hidden=is_hidden_matrix(weight))
    count: dict[str, tuple[int, ...]] = {"step": ()} if rule.is_counted else {}
    return count | dict.fromkeys(rule.state, weight.shape)


def _encoded(value: Any) -> Any:
    return {"tuple": list(value)} if isinstance(value, tuple) else value
