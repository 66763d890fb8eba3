"""Decode one token at the speed of memory: one compiled C++ function for the whole model.

Stage: model, caches -> *one token per sequence* -> logits. It computes what the plain layers
compute, in float32, from weights that may be narrower; the layers remain the reference. CPU only.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers.backends.cpu import build
from nn_layers.backends.cpu.arrays import pointer_to
from nn_layers.block import TransformerBlock
from nn_layers.kv_cache import KVCache
from nn_layers.positions import RotaryPositionalEmbedding
from nn_layers.precision import Weights, quantize_rows
from nn_layers.rms_norm import RMSNorm
from nn_layers.transformer_lm import TransformerLM

_SOURCE = Path(__file__).with_name("decode_step.cpp")
_NORMS = {"none": 0, "pre": 1, "post": 2}
_KEPT = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def is_decoder_built() -> bool:
    """Whether the compiled step exists already, so that using it costs nothing."""
    return build.is_built(_SOURCE)


class NativeDecoder:
    """A model's weights in one width, and the compiled step over them.

    Args:
        model: on the CPU, in float32; later changes to it may go unseen.
        weights: how the matrices are kept: float32, bfloat16 or int8 with one scale per row.

    Raises:
        NativeError: there is no C++ compiler, it fails, or the step does not know the model.
        ValueError: the model is elsewhere or of another type.
    """

    def __init__(self, model: TransformerLM, weights: Weights = "float32") -> None:
        for name, parameter in model.named_parameters():
            if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
                raise ValueError(
                    f"{name} is {parameter.dtype} on {parameter.device}, but the compiled step "
                    "needs float32 on the CPU; use the layers themselves"
                )
        for what, name, known in (
            ("positions", model.positions.name, ("none", "rope")),
            ("feed-forward layers", model.config.feed_forward, ("swiglu", "silu")),
            ("norms", model.config.norm, tuple(_NORMS)),
        ):
            if name not in known:
                raise build.NativeError(
                    f"the compiled step supports the {what} {' and '.join(known)}, not {name}; "
                    "use the layers themselves"
                )
        self._step = build.build(_SOURCE).decode_step
        self._config = model.config
        self._dtype = _KEPT[weights]
        self._state = model.state_dict()
        self._kept: list[object] = []  # owns the memory that the structures point to
        self._model = self._describe(model)

    def step(self, tokens: Sequence[int], caches: Sequence[KVCache]) -> Float[Tensor, "b v"]:
        """Append one token to each cache, and return the logits of the next ones.

        The result for a sequence depends neither on the others nor on the number of threads.

        Args:
            tokens: one per sequence, in the vocabulary.
            caches: of one sequence each, float32, filled by the model with at least one token.

        Raises:
            ValueError: a full or empty cache, one of another model, place or type, the same cache
                twice, or a token outside the vocabulary.
        """
        config, batch = self._config, len(tokens)
        if len({id(cache) for cache in caches}) < len(caches):
            raise ValueError("one cache was given for several tokens; give each sequence its own")
        for token, cache in zip(tokens, caches, strict=True):
            if not (0 <= token < config.vocab_size and 0 < cache.length < cache.capacity):
                raise ValueError(
                    f"token {token} after {cache.length} positions, but a token below "
                    f"{config.vocab_size} after 1 .. {cache.capacity - 1} positions is needed"
                )
        d, d_kv = config.d_model, config.kv_heads * config.d_head
        sizes = (
            (batch * (2 * d + 2 * d_kv + config.d_ff),),
            (self._model.num_threads * (2 * batch * d + config.context_length),),
            (batch, config.vocab_size),
        )
        written = [torch.empty(size, dtype=torch.float32, device="cpu") for size in sizes]
        rooms = [cache.buffers(layer) for cache in caches for layer in range(config.num_layers)]
        call = _Call(
            batch,
            (ctypes.c_int64 * batch)(*tokens),
            (ctypes.c_int64 * batch)(*(cache.length for cache in caches)),
            self._room_pointers("keys", [keys for keys, _ in rooms]),
            self._room_pointers("values", [values for _, values in rooms]),
            *map(_float32_pointer, written, ("scratch", "scratch", "logits"), sizes),
        )
        width = ctypes.c_int64(self._dtype.itemsize)
        if self._step(ctypes.byref(self._model), width, ctypes.byref(call)):
            raise AssertionError(f"weights of {width.value} bytes are unknown to {_SOURCE.name}")
        for cache in caches:
            cache.advance(1)
        return written[-1]

    def _room_pointers(self, name: str, rooms: Sequence[Tensor]) -> ctypes.Array:
        config = self._config
        shape = (1, config.kv_heads, config.context_length, config.d_head)
        pointers = (_float32_pointer(room, name, shape) for room in rooms)
        return (ctypes.c_void_p * len(rooms))(*pointers)

    def _describe(self, model: TransformerLM) -> "_Model":
        config = model.config
        d, vocab, pairs = config.d_model, config.vocab_size, config.d_head // 2
        embedding = self._matrix("token_embeddings", vocab, d)
        layers = (_Layer * config.num_layers)(*map(self._layer, range(config.num_layers)))
        self._kept.append(layers)
        positions, first = model.positions, cast(TransformerBlock, model.layers[0])
        is_rotary = isinstance(positions, RotaryPositionalEmbedding)
        tables = positions.float32_tables() if is_rotary else (None, None)
        cos, sin = (self._vector(one, "rope", config.context_length, pairs) for one in tables)
        return _Model(
            embedding=embedding,
            head=embedding if config.tie_embeddings else self._matrix("lm_head", vocab, d),
            layers=ctypes.cast(layers, ctypes.c_void_p),
            final_norm=self._gain("ln_final", d),
            cos=cos,
            sin=sin,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.kv_heads,
            d_model=d,
            d_head=config.d_head,
            d_ff=config.d_ff,
            context=config.context_length,
            vocab=vocab,
            norm=_NORMS[config.norm],
            has_halves=config.rope_layout == "half",
            num_threads=torch.get_num_threads(),
            eps=first.ln1.eps if isinstance(first.ln1, RMSNorm) else 1e-5,
        )

    def _layer(self, index: int) -> "_Layer":
        config, prefix = self._config, f"layers.{index}"
        d, d_ff, d_kv = config.d_model, config.d_ff, config.kv_heads * config.d_head
        rows = {"q": d, "k": d_kv, "v": d_kv, "output": d}
        # SwiGLU is w2(silu(w1 x) * w3 x): w1 is the gate, w3 goes up; without a gate, w1 goes up.
        up, gate = ("w3", "w1") if config.feed_forward == "swiglu" else ("w1", None)
        widths = {"ln1": d, "ln2": d, "attn.q_norm": config.d_head, "attn.k_norm": config.d_head}
        return _Layer(
            *(self._matrix(f"{prefix}.attn.{one}_proj", rows[one], d) for one in rows),
            self._matrix(f"{prefix}.ffn.{up}", d_ff, d),
            self._matrix(f"{prefix}.ffn.{gate}", d_ff, d) if gate else _Matrix(),
            self._matrix(f"{prefix}.ffn.w2", d, d_ff),
            *(self._gain(f"{prefix}.{name}", width) for name, width in widths.items()),
        )

    def _matrix(self, name: str, rows: int, columns: int) -> "_Matrix":
        weight, scales = self._state[f"{name}.weight"], None
        if self._dtype == torch.int8:
            weight, scales = quantize_rows(weight)
        kept, shape = weight.to(self._dtype).contiguous(), (rows, columns)
        self._kept.append(kept)
        place = pointer_to(kept, f"weights of {name}", dtype=self._dtype, shape=shape)
        return _Matrix(place, self._vector(scales, f"scales of {name}", rows), rows, columns)

    def _gain(self, name: str, width: int) -> ctypes.c_void_p | None:
        return self._vector(self._state.get(f"{name}.weight"), f"gains of {name}", width)

    def _vector(self, vector: Tensor | None, name: str, *shape: int) -> ctypes.c_void_p | None:
        if vector is None:
            return None
        vector = vector.detach().float().contiguous()
        self._kept.append(vector)
        return _float32_pointer(vector, name, shape)


def _float32_pointer(array: Tensor, name: str, shape: tuple[int, ...]) -> ctypes.c_void_p:
    return pointer_to(array, name, dtype=torch.float32, shape=shape)


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


# Laid out as in decode_step.cpp.
class _Matrix(ctypes.Structure):
    _fields_ = (
        *_fields(ctypes.c_void_p, "weights scales"),
        *_fields(ctypes.c_int64, "rows columns"),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        *_fields(_Matrix, "q k v output up gate down"),
        *_fields(ctypes.c_void_p, "norm1 norm2 q_norm k_norm"),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        *_fields(_Matrix, "embedding head"),
        *_fields(ctypes.c_void_p, "layers final_norm cos sin"),
        *_fields(ctypes.c_int64, "num_layers num_heads num_kv_heads d_model d_head d_ff context"),
        *_fields(ctypes.c_int64, "vocab norm has_halves num_threads"),
        ("eps", ctypes.c_float),
    )


class _Call(ctypes.Structure):
    _fields_ = (
        ("batch", ctypes.c_int64),
        *((name, ctypes.POINTER(ctypes.c_int64)) for name in ("tokens", "positions")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("keys", "values")),
        *_fields(ctypes.c_void_p, "shared own logits"),
    )
