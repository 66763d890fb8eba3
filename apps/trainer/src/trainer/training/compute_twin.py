"""Give a model a twin that computes in a narrow type on the flat optimizer's copy of its weights.

Stage: float32 model -> *compute twin* -> step. The twin owns no weights: its matrices are views of
the narrow copy, which each update renews; norm gains and the token embedding are the model's own,
in float32. An embedding's gradient can sum thousands of rows into one, beyond the precision of a
narrow type; the vectors that it looks up are narrowed instead.
"""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from nn_layers import Linear, TransformerLM
from optim import FlatAdamW


def compute_twin(
    model: TransformerLM, flat: FlatAdamW, *, dtype: torch.dtype
) -> tuple[TransformerLM, list[nn.Parameter]]:
    """Return the twin, and its parameters in the order of `flat.parameters`.

    Args:
        model: the float32 model.
        flat: over the model's parameters, with a copy in `dtype` if that is not float32.
        dtype: of activations and products.
    """
    twin = copy.deepcopy(model)
    leaves: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        owner_name, _, attribute = name.rpartition(".")
        owner = twin.get_submodule(owner_name)
        is_narrow = isinstance(owner, Linear) and flat.copy is not None
        leaf = nn.Parameter(flat.copy_of(parameter) if is_narrow else parameter.detach())
        setattr(owner, attribute, leaf)
        leaves[id(parameter)] = leaf
    if dtype != torch.float32:
        narrowed = _NarrowedEmbedding(twin.token_embeddings.weight, dtype)
        twin.add_module("token_embeddings", narrowed)
    return twin.train(), [leaves[id(parameter)] for parameter in flat.parameters]


class _NarrowedEmbedding(nn.Module):
    """Looks up float32 vectors and returns them in a narrow type, that of the residual stream."""

    def __init__(self, weight: nn.Parameter, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight, self.dtype = weight, dtype

    def forward(self, token_ids: Int[Tensor, "..."]) -> Float[Tensor, "... d"]:
        return embedding(token_ids, self.weight).to(self.dtype)
