"""Find the weights that belong to a file or a folder, and read them whole: shards by their index.

Stage: path -> *names, types and dimensions of all parameters* -> shape, or a check of one. Only
headers are read. Not here: what a name stands for (`tensor_names.py`).
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
    """Every parameter of a model, as files hold it."""

    path: Path
    """The file, or the index of several."""
    num_files: int
    parameters: Mapping[str, StoredTensor]
    """By this project's names; a tied matrix once, buffers and optimizer state left out."""

    @property
    def num_parameters(self) -> int:
        """Numbers in them."""
        return sum(tensor.count for tensor in self.parameters.values())

    @property
    def num_bytes(self) -> int:
        """Bytes that they take as they are stored."""
        return sum(tensor.num_bytes for tensor in self.parameters.values())

    @property
    def dtypes(self) -> list[str]:
        """Types that they are stored in, that of the most numbers first."""
        counts: Counter[str] = Counter()
        for tensor in self.parameters.values():
            counts[tensor.dtype] += tensor.count
        return [dtype for dtype, _ in counts.most_common()]


def read_weights(path: Path) -> Weights:
    """Read the weights that a file belongs to; one shard stands for its whole set.

    Args:
        path: a .safetensors file, or the index of several.

    Raises:
        ValueError: damaged, incomplete, contradictory, or no language model with known names.
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
    """Return the file or index with a folder's weights; None: it holds none.

    Raises:
        ValueError: there are several, and nothing says which is the model.
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
    """Return the index that lists a file; None: the file is a model by itself."""
    for index in sorted(path.parent.glob(f"*{INDEX_SUFFIX}")):
        if path.name in _read_index(index)[0].values():
            return index
    shard = _SHARD.search(path.name)
    if shard and int(shard[2]) > 1:
        raise ValueError(
            f"{path} is one of {int(shard[2])} shards, but no index beside it ({path.parent}/"
            f"*{INDEX_SUFFIX}) lists it; fetch the index and all shards"
        )
    return None


def _read_index(index: Path) -> tuple[dict[str, str], Any]:
    """Return the name of each tensor's shard, and the bytes of all tensors, if it says them."""
    try:
        document = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=without_repeats)
        places, metadata = document["weight_map"], document.get("metadata") or {}
        total = metadata.get("total_size")
        shards = set(places.values())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is no index of shards: {error!r:.300}") from None
    for name in shards or {""}:
        is_plain = isinstance(name, str) and name.endswith(".safetensors")
        if not is_plain or Path(name).name != name or "\\" in name:
            raise ValueError(
                f"{index} places a tensor in {name!r}, but it must be a .safetensors file beside it"
            )
    return places, total


def _read_set(index: Path) -> tuple[dict[str, StoredTensor], int]:
    """Read every shard that an index lists; each tensor must be where it says, and nowhere else."""
    places, total = _read_index(index)
    shards = sorted(set(places.values()))
    _require_all(index, shards)
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        for name, tensor in read_header(index.parent / shard).items():
            if places.get(name) != shard:
                place = places.get(name, "no shard at all")
                raise ValueError(f"{index.parent / shard} holds {name}, but {index} says {place}")
            tensors[name] = tensor
    for name in places:
        if name not in tensors:
            raise ValueError(f"{index.parent / places[name]} lacks {name}, which {index} says")
    num_bytes = sum(tensor.num_bytes for tensor in tensors.values())
    if total is not None and total != num_bytes:
        raise ValueError(
            f"{index} says a total_size of {total!r} bytes, but its {len(shards)} shards hold "
            f"{num_bytes:,}; fetch them and it again"
        )
    return tensors, len(shards)


def _require_all(index: Path, shards: list[str]) -> None:
    """Insist on the files themselves, and on all of those that their numbers count."""
    numbers = [(int(one[1]), int(one[2])) for name in shards if (one := _SHARD.search(name))]
    expected = max((total for _, total in numbers), default=0)
    absent = [name for name in shards if not (index.parent / name).is_file()]
    if absent:
        raise ValueError(f"{index} lists {', '.join(absent[:3])}, not there; fetch all its shards")
    if numbers and [number for number, _ in numbers] != list(range(1, expected + 1)):
        raise ValueError(
            f"{index} lists {len(numbers)} shards of a set of {expected}; fetch the index again"
        )
