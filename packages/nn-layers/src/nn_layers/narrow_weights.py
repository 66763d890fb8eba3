"""Keep matrices in fewer bits: bfloat16, or int8 with one scale a row.

Stage: trained model -> *rounded model* -> samples. Only what weights are is changed, never how
anything is computed, so any path that runs the rounded model defines what a faster one must give.
"""

import copy
from typing import Literal

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from nn_layers.transformer_lm import TransformerLM

Weights = Literal["float32", "bfloat16", "int8"]
"""In what the matrices are kept; norm gains always stay as they are."""


def round_weights(model: TransformerLM, weights: Weights) -> TransformerLM:
    """Return the model with matrices rounded to what `weights` can hold; float32: as it is.

    Args:
        model: in float32; not changed.
        weights: see `Weights`.

    >>> from nn_layers.config import ModelConfig
    >>> model = TransformerLM(ModelConfig(10, 8, 16, 1, 2, 32))
    >>> round_weights(model, "float32") is model
    True
    """
    if weights == "float32":
        return model
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() == 2:
                parameter.copy_(_rounded(parameter, weights))
    return rounded


def quantize_rows(
    weight: Float[Tensor, "d_out d_in"],
) -> tuple[Int8[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """Return integers and scales with weight = integer * scale up to rounding, a scale a row.

    Symmetric: the largest magnitude of a row becomes 127, zero stays zero.

    >>> integers, scales = quantize_rows(torch.tensor([[0.0, 1.0, -2.0]]))
    >>> integers.tolist(), round(float(scales[0]), 4)
    ([[0, 64, -127]], 0.0157)
    """
    wide = weight.detach().float()
    scales = wide.abs().amax(dim=1) / 127
    scales = scales.masked_fill(scales == 0, 1.0)  # a row of zeros
    return (wide / scales[:, None]).round().to(torch.int8), scales


def _rounded(weight: Tensor, weights: Weights) -> Tensor:
    if weights == "bfloat16":
        return weight.bfloat16().to(weight.dtype)
    integers, scales = quantize_rows(weight)
    return (integers * scales[:, None]).to(weight.dtype)
