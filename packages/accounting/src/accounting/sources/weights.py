"""Find the weights of a file or a folder, and list all their parameters.

Stage: path -> *names, types and dimensions of all parameters* -> shape, or a check of one. Only
headers are read. Not here: the meaning of names (`tensor_names.py`).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounting.sources.safetensors import StoredTensor, read_header, without_repeats
from accounting.sources.tensor_names import name_parameters

INDEX_SUFFIX = ".safetensors.index.json"
_MAIN = "model.safetensors"
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Every parameter of a model, as stored."""

    path: Path
    """The file, or the index of several."""
    num_files: int
    parameters: Mapping[str, StoredTensor]
    """By this project's names; a tied matrix once, without buffers and optimizer state."""

    @property
    def num_parameters(self) -> int:
        """Numbers in all parameters."""
        return sum(tensor.count for tensor in self.parameters.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of all parameters, as stored."""
        return sum(tensor.num_bytes for tensor in self.parameters.values())

    @property
    def dtypes(self) -> list[str]:
        """Stored types, that of the most numbers first."""
        counts: Counter[str] = Counter()
        for tensor in self.parameters.values():
            counts[tensor.dtype] += tensor.count
        return [dtype for dtype, _ in counts.most_common()]


def read_weights(path: Path) -> Weights:
    """Read the weights that a file belongs to; from one shard, the whole set.

    Raises:
        ValueError: damaged, incomplete, contradictory, or not a language model with known names.
    """
    index = path if path.name.endswith(INDEX_SUFFIX) else _index_of(path)
    if index is None:
        tensors, num_files = read_header(path), 1
    else:
        tensors, num_files = _read_set(index)
    path = index or path
    parameters = name_parameters(tensors, origin=str(path))
    return Weights(path=path, num_files=num_files, parameters=parameters)


def find_weights(folder: Path) -> Path | None:
    """Return the file or index with a folder's weights; None if it has none.

    Raises:
        ValueError: there are several, and which is the model is unclear.
    """
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    listed = {name for index in indices for name in _read_index(index)[0].values()}
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.name not in listed]
    main = [path for path in files if path.name == _MAIN]
    candidates = [*indices, *(main or ([] if indices else files))]
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise ValueError(f"{folder} holds the weights of more than one model: {names}; name one")
    return candidates[0] if candidates else None


def _index_of(path: Path) -> Path | None:
    """Return the index that lists a file; None if the file is a whole model."""
    for index in sorted(path.parent.glob(f"*{INDEX_SUFFIX}")):
        if path.name in _read_index(index)[0].values():
            return index
    shard = _SHARD.search(path.name)
    if shard and int(shard[2]) > 1:
        raise ValueError(
            f"{path} is one of {int(shard[2])} shards, but no index beside it ({path.parent}/"
            f"*{INDEX_SUFFIX}) lists it; download the index and all shards"
        )
    return None


def _read_index(index: Path) -> tuple[dict[str, str], Any]:
    """Return the shard of each tensor, and the total size in bytes, if stated."""
    try:
        document = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=without_repeats)
        places, metadata = document["weight_map"], document.get("metadata") or {}
        total = metadata.get("total_size")
        shards = set(places.values())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is not an index of shards: {error!r:.300}") from None
    for name in shards or {""}:
        is_plain = isinstance(name, str) and name.endswith(".safetensors")
        if not is_plain or Path(name).name != name or "\\" in name:
            raise ValueError(
                f"{index} places a tensor in {name!r}, but it must be a .safetensors file beside it"
            )
    return places, total


def _read_set(index: Path) -> tuple[dict[str, StoredTensor], int]:
    """Read every shard that an index lists; each tensor must be in its shard and no other."""
    places, total = _read_index(index)
    shards = sorted(set(places.values()))
    _require_all(index, shards)
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        path = index.parent / shard
        for name, tensor in read_header(path).items():
            if places.get(name) != shard:
                place = places.get(name, "no shard")
                raise ValueError(f"{path} holds {name}, but {index} places it in {place}")
            tensors[name] = tensor
    for name in places:
        if name not in tensors:
            raise ValueError(f"{index.parent / places[name]} lacks {name}, which {index} lists")
    num_bytes = sum(tensor.num_bytes for tensor in tensors.values())
    if total is not None and total != num_bytes:
        raise ValueError(
            f"{index} states a total_size of {total!r} bytes, but its {len(shards)} shards hold "
            f"{num_bytes:,}; download them and the index again"
        )
    return tensors, len(shards)


def _require_all(index: Path, shards: list[str]) -> None:
    """Require every listed file, and every shard of the set that their numbers describe."""
    numbers = [(int(one[1]), int(one[2])) for name in shards if (one := _SHARD.search(name))]
    expected = max((total for _, total in numbers), default=0)
    absent = [name for name in shards if not (index.parent / name).is_file()]
    if absent:
        raise ValueError(
            f"{index} lists {', '.join(absent[:3])}, which are missing; download all shards"
        )
    if numbers and [number for number, _ in numbers] != list(range(1, expected + 1)):
        raise ValueError(
            f"{index} lists {len(numbers)} shards of a set of {expected}; download the index again"
        )
