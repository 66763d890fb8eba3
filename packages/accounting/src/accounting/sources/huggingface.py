"""Read the shape from a Hugging Face config.json of a known architecture.

Stage: config.json -> *shape*. Each architecture is a dialect: the same sizes under other names,
other defaults, other biases. An unknown one is refused, because its parameters would be wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any

from accounting.shape import ModelShape


def shape_from_huggingface(config: Mapping[str, Any], *, origin: str) -> ModelShape:
    """Return the shape that a config.json describes.

    Raises:
        ValueError: the architecture is unknown, or a size is missing.
    """
    kind = config.get("model_type")
    if kind not in _DIALECTS:
        raise ValueError(
            f"{origin} has model_type {kind!r}, but must have one of {', '.join(MODEL_TYPES)}"
        )
    try:
        return ModelShape(**_DIALECTS[kind](config))
    except KeyError as error:
        raise ValueError(f"{origin} lacks {error}, which {kind} needs; add it") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{origin}: {error}") from None


def _llama(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields that Llama, Mistral and Qwen share."""
    return {
        "vocab_size": config["vocab_size"],
        "context_length": config["max_position_embeddings"],
        "d_model": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config.get("num_key_value_heads"),
        "head_width": config.get("head_dim"),
        "d_ff": config["intermediate_size"],
        "rope_layout": "half",
        "tie_embeddings": config.get("tie_word_embeddings", False),
        "attention_bias": "all" if config.get("attention_bias", False) else "none",
        "feed_forward_bias": config.get("mlp_bias", False),
    }


def _qwen(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("use_sliding_window", False):
        raise ValueError("use_sliding_window makes layers of two kinds; only one can be counted")
    return _llama(config)


def _gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": config["vocab_size"],
        "context_length": config["n_positions"],
        "d_model": config["n_embd"],
        "num_layers": config["n_layer"],
        "num_heads": config["n_head"],
        "d_ff": config.get("n_inner") or 4 * config["n_embd"],
        "feed_forward": "gelu",
        "position": "learned",
        "tie_embeddings": config.get("tie_word_embeddings", True),
        "attention_bias": "all",
        "feed_forward_bias": True,
        "norm_bias": True,
    }


_DIALECTS: dict[object, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": lambda config: _llama(config) | {"sliding_window": config.get("sliding_window")},
    "qwen2": lambda config: _qwen(config) | {"attention_bias": "qkv"},
    "qwen3": lambda config: (
        _qwen(config) | {"qk_norm": True, "head_width": config.get("head_dim", 128)}
    ),
}
MODEL_TYPES = tuple(str(kind) for kind in _DIALECTS)
