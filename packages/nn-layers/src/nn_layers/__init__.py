"""The Transformer language model, layer by layer, and every ablation of it.

Names are imported when they are first used: a configuration and the names of options need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nn_layers.activations import silu, softmax
    from nn_layers.attention import MultiHeadSelfAttention, scaled_dot_product_attention
    from nn_layers.backends.cpu.build import NativeError
    from nn_layers.backends.cpu.decoder import NativeDecoder
    from nn_layers.backends.loss.chunked import linear_cross_entropy
    from nn_layers.backends.loss.in_place import fused_cross_entropy
    from nn_layers.backends.loss.triton import head_loss
    from nn_layers.backends.rotary_attention import rotary_attention, why_no_rotary_attention
    from nn_layers.backends.triton.availability import why_no_kernels
    from nn_layers.block import TransformerBlock
    from nn_layers.config import ModelConfig
    from nn_layers.embedding import Embedding
    from nn_layers.feed_forward import SiLUFeedForward, SwiGLU
    from nn_layers.kv_cache import KVCache
    from nn_layers.linear import Linear
    from nn_layers.loss import cross_entropy, perplexity
    from nn_layers.positions import RotaryPositionalEmbedding
    from nn_layers.precision import round_weights
    from nn_layers.rms_norm import RMSNorm
    from nn_layers.transformer_lm import TransformerLM

__all__ = [
    "Embedding",
    "KVCache",
    "Linear",
    "ModelConfig",
    "MultiHeadSelfAttention",
    "NativeDecoder",
    "NativeError",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SiLUFeedForward",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "cross_entropy",
    "fused_cross_entropy",
    "head_loss",
    "linear_cross_entropy",
    "perplexity",
    "rotary_attention",
    "round_weights",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
    "why_no_kernels",
    "why_no_rotary_attention",
]

_HOMES = {
    "activations": "silu softmax",
    "attention": "MultiHeadSelfAttention scaled_dot_product_attention",
    "backends.cpu.build": "NativeError",
    "backends.cpu.decoder": "NativeDecoder",
    "backends.loss.chunked": "linear_cross_entropy",
    "backends.loss.in_place": "fused_cross_entropy",
    "backends.loss.triton": "head_loss",
    "backends.rotary_attention": "rotary_attention why_no_rotary_attention",
    "backends.triton.availability": "why_no_kernels",
    "block": "TransformerBlock",
    "config": "ModelConfig",
    "embedding": "Embedding",
    "feed_forward": "SiLUFeedForward SwiGLU",
    "kv_cache": "KVCache",
    "linear": "Linear",
    "loss": "cross_entropy perplexity",
    "positions": "RotaryPositionalEmbedding",
    "precision": "round_weights",
    "rms_norm": "RMSNorm",
    "transformer_lm": "TransformerLM",
}


def __getattr__(name: str) -> object:
    """Import a public name from the module that has it."""
    for module, held in _HOMES.items():
        if name in held.split():
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
