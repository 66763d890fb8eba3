"""The Transformer language model, layer by layer, and every ablation of it."""

from nn_layers.activations import silu, softmax
from nn_layers.attention import MultiHeadSelfAttention, scaled_dot_product_attention
from nn_layers.attention_kernel import rotary_attention, why_no_rotary_attention
from nn_layers.block import TransformerBlock
from nn_layers.config import ModelConfig
from nn_layers.embedding import Embedding
from nn_layers.feed_forward import SiLUFeedForward, SwiGLU
from nn_layers.fused_loss import fused_cross_entropy, linear_cross_entropy
from nn_layers.kernels_here import why_no_kernels
from nn_layers.kv_cache import KVCache
from nn_layers.linear import Linear
from nn_layers.loss import cross_entropy, perplexity
from nn_layers.loss_kernel import head_loss
from nn_layers.narrow_weights import round_weights
from nn_layers.native import NativeDecoder
from nn_layers.native_build import NativeError
from nn_layers.rms_norm import RMSNorm
from nn_layers.rope import RotaryPositionalEmbedding
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
