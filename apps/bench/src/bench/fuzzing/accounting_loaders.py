"""Try damaged files on the readers of models in `accounting`.

Stage: valid files -> damaged files -> *read, watched* -> findings. Needs `accounting`, but no
torch. Not here: the other loaders (`loaders`).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from accounting.sources.inputs import read_model
from bench.fuzzing.loaders import BINARY_BYTES_A_BYTE, Loader
from bench.fuzzing.mutations import Mutate, mutate_json, mutate_safetensors

_LLAMA = {
    "model_type": "llama",
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "tie_word_embeddings": True,
}
_LAYER = {
    **{f"attn.{name}_proj": (8, 8) for name in ("q", "k", "v", "output")},
    **{"ln1": (8,), "ln2": (8,), "ffn.w1": (16, 8), "ffn.w2": (8, 16), "ffn.w3": (16, 8)},
}
_WEIGHTS = {
    **{"token_embeddings": (100, 8), "ln_final": (8,), "lm_head": (100, 8)},
    **{f"layers.0.{name}": shape for name, shape in _LAYER.items()},
}


def hf_config(folder: Path) -> Loader:
    """Return the target for Hugging Face's config.json."""
    (folder / "config.json").write_text(json.dumps(_LLAMA), "utf-8")
    return Loader(folder, {"config.json": mutate_json}, _reader("config.json"))


def weights_header(folder: Path) -> Loader:
    """Return the target for the header of a safetensors file."""
    name = "a.safetensors"
    _write_weights(folder / name, _WEIGHTS)
    kinds = {name: mutate_safetensors}
    return Loader(folder, kinds, _reader(name), bytes_a_byte=BINARY_BYTES_A_BYTE)


def weights_index(folder: Path) -> Loader:
    """Return the target for shards, their index, and a configuration beside them."""
    shards = ("a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors")
    names = list(_WEIGHTS)
    placed = dict(zip(shards, (names[::2], names[1::2]), strict=True))
    for shard, held in placed.items():
        _write_weights(folder / shard, {name: _WEIGHTS[name] for name in held})
    places = {f"{name}.weight": shard for shard, held in placed.items() for name in held}
    kinds: dict[str, Mutate] = dict.fromkeys(shards, mutate_safetensors)
    documents = {"a.safetensors.index.json": {"weight_map": places}, "config.json": _LLAMA}
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
        kinds[name] = mutate_json
    return Loader(folder, kinds, _reader(shards[0]))


def _reader(name: str) -> Callable[[Path], object]:
    return lambda folder: read_model(str(folder / name))


def _write_weights(path: Path, weights: Mapping[str, tuple[int, ...]]) -> None:
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in weights.items():
        begin, end = end, end + 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[f"{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
