"""Read the shape out of a safetensors header, which has names and dimensions but no numbers.

The header is JSON behind eight bytes of length. Names are this project's or those that Llama,
Mistral and Qwen are published with. What it cannot say is how wide a head is (unless queries and
keys have norms) and how long the context.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accounting.shape import ModelShape

_LONGEST_HEADER = 100_000_000
_LAYER = re.compile(r"layers\.(\d+)\.")
_SPELLINGS = {
    "embedding": ("token_embeddings", "embed_tokens"),
    "head": ("lm_head",),
    "q": ("attn.q_proj",),
    "k": ("attn.k_proj",),
    "qkv": ("attn.qkv_proj",),
    "o": ("attn.output_proj", "attn.o_proj"),
    "q_norm": ("attn.q_norm",),
    "w1": ("ffn.w1", "mlp.gate_proj"),
    "w13": ("ffn.w13",),
    "w3": ("ffn.w3", "mlp.up_proj"),
    "w2": ("ffn.w2", "mlp.down_proj"),
    "ln1": ("ln1", "input_layernorm"),
    "ln_final": ("ln_final", "model.norm"),
}


def shape_from_header(
    path: Path, *, num_heads: int | None = None
) -> tuple[ModelShape, tuple[str, ...]]:
    """Return the shape, and the names of those of its fields that the header does not say.

    Args:
        path: a .safetensors file.
        num_heads: where it is known from elsewhere.

    Raises:
        ValueError: no safetensors file, or not that of a language model whose names are known.
    """
    header = read_header(path)
    sizes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    found = {part: _find(sizes, names) for part, names in _SPELLINGS.items()}
    if found["embedding"] is None or found["o"] is None or found["w2"] is None:
        raise ValueError(
            f"{path} holds no language model with known names; known are those of this "
            "project, and of llama, mistral, qwen2 and qwen3"
        )
    vocab_size, d_model = found["embedding"]
    d_q = found["o"][1]
    d_kv = found["k"][0] if found["k"] else (found["qkv"][0] - d_q) // 2
    d_head, unknown = _head_width(found, d_q, d_kv, num_heads)
    shape = ModelShape(
        vocab_size=vocab_size,
        context_length=1,
        d_model=d_model,
        num_layers=1 + max(_layers(sizes)),
        num_heads=d_q // d_head,
        num_kv_heads=d_kv // d_head,
        head_width=None if d_q == d_model else d_head,
        d_ff=found["w2"][1],
        feed_forward="swiglu" if found["w3"] or found["w13"] else "silu",
        norm=_norm(found),
        position="none" if d_head % 2 else "rope",
        qk_norm=found["q_norm"] is not None,
        tie_embeddings=found["head"] is None,
        attention_bias=_attention_bias(sizes),
    )
    return shape, ("context_length", *unknown)


def read_header(path: Path) -> dict[str, Any]:
    """Read the header of a safetensors file; no tensor is read.

    Raises:
        ValueError: it is no safetensors file, or shorter than its header says.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - 8):
            raise ValueError(f"{path} is no safetensors file: its header would be {length} bytes")
        text = file.read(length)
    try:
        header = json.loads(text)
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        whole = all(
            isinstance(size, int) and size >= 0 for entry in entries for size in entry["shape"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file: its header is {error!r}") from None
    if not whole:
        raise ValueError(f"{path} is no safetensors file: a dimension is no number")
    return header


def count_header_parameters(path: Path) -> int:
    """Count every number that a file holds, whatever the names.

    Raises:
        ValueError: as `read_header`.
    """
    header = read_header(path)
    return sum(math.prod(e["shape"]) for name, e in header.items() if name != "__metadata__")


def _find(sizes: dict[str, list[int]], names: tuple[str, ...]) -> list[int] | None:
    endings = tuple(f"{name}.weight" for name in names)
    return next((size for name, size in sizes.items() if name.endswith(endings)), None)


def _layers(sizes: dict[str, list[int]]) -> Iterator[int]:
    return (int(match[1]) for name in sizes if (match := _LAYER.search(name)))


def _head_width(
    found: dict[str, list[int] | None], d_q: int, d_kv: int, num_heads: int | None
) -> tuple[int, tuple[str, ...]]:
    if found["q_norm"] is not None:
        return found["q_norm"][0], ()
    if num_heads is not None:
        return d_q // num_heads, ()
    return math.gcd(d_q, d_kv), ("num_heads",)  # the widths are right, if not the heads


def _norm(found: dict[str, list[int] | None]) -> str:
    if found["ln_final"] is not None:
        return "pre"
    return "none" if found["ln1"] is None else "post"


def _attention_bias(sizes: dict[str, list[int]]) -> str:
    biased = [name for name in sizes if name.endswith("_proj.bias")]
    if not biased:
        return "none"
    return "all" if any("o_proj" in name for name in biased) else "qkv"
