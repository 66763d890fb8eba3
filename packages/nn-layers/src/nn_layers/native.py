"""Decode a token at the speed of memory: one compiled C++ function for the whole model.

Stage: model, caches -> *step of a token a sequence* -> logits. It computes what the plain layers
compute, in float32, from weights that may be narrower; the layers remain the reference. CPU only.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nn_layers import native_build
from nn_layers.kv_cache import KVCache
from nn_layers.narrow_weights import Weights, quantize_rows
from nn_layers.transformer_lm import TransformerLM

_SOURCE = Path(__file__).with_name("decode_step.cpp")
_NORMS = {"none": 0, "pre": 1, "post": 2}
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


def is_built() -> bool:
    """Whether the compiled step is there already, so that having it costs nothing."""
    return native_build.is_built(_SOURCE)


def build() -> ctypes.CDLL:
    """Return the compiled step, after compiling it where it is not there yet.

    Raises:
        NativeError: there is no C++ compiler, or it fails.
    """
    return native_build.build(_SOURCE)


class NativeDecoder:
    """A model's weights in one width, and the compiled step over them.

    Args:
        model: on the CPU, in float32; its later changes need not be seen.
        weights: how the matrices are kept: float32, bfloat16 or int8 with a scale a row.

    Raises:
        NativeError: see `build`.
        ValueError: the model is elsewhere or of another type.
    """

    def __init__(self, model: TransformerLM, weights: Weights = "float32") -> None:
        for name, parameter in model.named_parameters():
            if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
                raise ValueError(
                    f"{name} is {parameter.dtype} on {parameter.device}, but the compiled step "
                    "needs float32 on the CPU; use the layers themselves"
                )
        self._step = build().decode_step
        self._config = model.config
        self._weights: Weights = weights
        self._kept: list[object] = []  # what the addresses in the structures belong to
        self._model = self._describe(model)

    def step(self, tokens: Sequence[int], caches: Sequence[KVCache]) -> Float[Tensor, "b v"]:
        """Append one token to each cache, and return the logits of the next ones.

        The result for a sequence depends on none of the others, nor on the number of threads.

        Args:
            tokens: one a sequence, in the vocabulary.
            caches: of one sequence each, float32, filled by the model with at least one token.

        Raises:
            ValueError: a full or empty cache, or a token outside the vocabulary.
        """
        config, batch = self._config, len(tokens)
        for token, cache in zip(tokens, caches, strict=True):
            if not (0 <= token < config.vocab_size and 0 < cache.length < cache.capacity):
                raise ValueError(
                    f"token {token} after {cache.length} positions, but a token below "
                    f"{config.vocab_size} after 1 .. {cache.capacity - 1} positions is needed"
                )
        d, d_kv = config.d_model, config.kv_heads * config.d_head
        shared = torch.empty(batch * (2 * d + 2 * d_kv + config.d_ff))
        own = torch.empty(self._model.num_threads * (2 * batch * d + config.context_length))
        logits = torch.empty(batch, config.vocab_size)
        buffers = [cache.buffers(layer) for cache in caches for layer in range(config.num_layers)]
        call = _Call(
            batch,
            (ctypes.c_int64 * batch)(*tokens),
            (ctypes.c_int64 * batch)(*(cache.length for cache in caches)),
            (ctypes.c_void_p * len(buffers))(*(keys.data_ptr() for keys, _ in buffers)),
            (ctypes.c_void_p * len(buffers))(*(values.data_ptr() for _, values in buffers)),
            *(tensor.data_ptr() for tensor in (shared, own, logits)),
        )
        width = ctypes.c_int64(_BYTES[self._weights])
        if self._step(ctypes.byref(self._model), width, ctypes.byref(call)):
            raise AssertionError(f"weights of {width.value} bytes are unknown to {_SOURCE.name}")
        for cache in caches:
            cache.advance(1)
        return logits

    def _describe(self, model: TransformerLM) -> "_Model":
        config, state = model.config, model.state_dict()
        embedding = self._matrix(state["token_embeddings.weight"])
        head = embedding if config.tie_embeddings else self._matrix(state["lm_head.weight"])
        layers = (_Layer * config.num_layers)(
            *(self._layer(state, f"layers.{index}.") for index in range(config.num_layers))
        )
        self._kept.append(layers)
        rope = model.layers[0].attn.rope
        return _Model(
            embedding=embedding,
            head=head,
            layers=ctypes.cast(layers, ctypes.c_void_p),
            final_norm=self._vector(state.get("ln_final.weight")),
            cos=self._vector(None if rope is None else rope.cos),
            sin=self._vector(None if rope is None else rope.sin),
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.kv_heads,
            d_model=config.d_model,
            d_head=config.d_head,
            d_ff=config.d_ff,
            context=config.context_length,
            vocab=config.vocab_size,
            norm=_NORMS[config.norm],
            has_halves=config.rope_layout == "half",
            num_threads=torch.get_num_threads(),
            eps=1e-5 if model.layers[0].ln1 is None else model.layers[0].ln1.eps,
        )

    def _layer(self, state: dict[str, Tensor], prefix: str) -> "_Layer":
        projections = [f"{prefix}attn.{name}_proj.weight" for name in ("q", "k", "v", "output")]
        is_gated = f"{prefix}ffn.w3.weight" in state
        # SwiGLU is w2(silu(w1 x) * w3 x): w1 is the gate, w3 goes up; without a gate, w1 goes up.
        up, gate = ("w3", "w1") if is_gated else ("w1", None)
        return _Layer(
            *(self._matrix(state[name]) for name in projections),
            self._matrix(state[f"{prefix}ffn.{up}.weight"]),
            self._matrix(state[f"{prefix}ffn.{gate}.weight"]) if gate else _Matrix(),
            self._matrix(state[f"{prefix}ffn.w2.weight"]),
            *(self._vector(state.get(f"{prefix}{name}.weight")) for name in _GAINS),
        )

    def _matrix(self, weight: Tensor) -> "_Matrix":
        scales = None
        if self._weights == "int8":
            weight, scales = quantize_rows(weight)
        elif self._weights == "bfloat16":
            weight = weight.bfloat16()
        weight = weight.contiguous()
        self._kept.append(weight)
        return _Matrix(weight.data_ptr(), self._vector(scales), *weight.shape)

    def _vector(self, vector: Tensor | None) -> int | None:
        if vector is None:
            return None
        vector = vector.detach().float().contiguous()
        self._kept.append(vector)
        return vector.data_ptr()


_GAINS = ("ln1", "ln2", "attn.q_norm", "attn.k_norm")


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


# As decode_step.cpp has them.
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
