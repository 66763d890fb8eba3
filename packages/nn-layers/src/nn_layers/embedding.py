"""Look up a vector for each token id."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.initialization import Device, DType, truncated_normal_


class Embedding(nn.Module):
    """One row of a matrix per id, 0 .. num_embeddings - 1; initial entries have variance 1.

    >>> Embedding(10, 4)(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 4])
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self, num_embeddings: int, embedding_dim: int, device: Device = None, dtype: DType = None
    ) -> None:
        super().__init__()
        weight = torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.weight = nn.Parameter(weight)
        truncated_normal_(self.weight, std=1.0)

    def forward(self, token_ids: Int[Tensor, "..."]) -> Float[Tensor, "... d"]:
        """Return (..., d); an id out of range is an IndexError."""
        return look_up(self.weight, token_ids, "token ids", "use the tokenizer of this model")


def look_up(
    table: Float[Tensor, "n d"], numbers: Int[Tensor, "..."], name: str, advice: str
) -> Float[Tensor, "... d"]:
    """Return one row of `table` for each number; `name` and `advice` are for the message.

    Raises:
        IndexError: a number outside [0, n); CUDA reports it later.
    """
    # Unlike indexing, this does not count negative numbers from the end.
    try:
        rows = table.index_select(0, numbers.reshape(-1))
    except IndexError as error:
        raise IndexError(
            f"{name} go from {numbers.min()} to {numbers.max()}, but must be in "
            f"0 .. {len(table) - 1}; {advice}"
        ) from error
    return rows.view(*numbers.shape, table.shape[-1])
