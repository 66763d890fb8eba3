"""Build a Transformer language model, layer by layer, with every ablation of it.

Names are imported when they are first used: a configuration and the names of options need no torch.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
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

__all__ = ["Embedding", "KVCache", "Linear", "ModelConfig", "MultiHeadSelfAttention"]
__all__ += ["NativeDecoder", "NativeError", "RMSNorm", "RotaryPositionalEmbedding"]
__all__ += ["SiLUFeedForward", "SwiGLU", "TransformerBlock", "TransformerLM", "cross_entropy"]
__all__ += ["fused_cross_entropy", "head_loss", "linear_cross_entropy", "perplexity"]
__all__ += ["rotary_attention", "round_weights", "scaled_dot_product_attention", "silu", "softmax"]
__all__ += ["why_no_kernels", "why_no_rotary_attention"]


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_modules()[name]), name)
    return value


@cache
def _modules() -> dict[str, str]:
    """Return the module of each public name, as the imports for type checkers have it."""
    nodes = ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
