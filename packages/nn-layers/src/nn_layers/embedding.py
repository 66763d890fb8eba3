"""Look up a vector for each token id."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.initialization import truncated_normal_
from nn_layers.lookup import look_up


class Embedding(nn.Module):
    """One row of a matrix per id.

    Args:
        num_embeddings: ids are 0 .. num_embeddings - 1.
        embedding_dim: width of each row.
        device: where the matrix lives.
        dtype: of the matrix.

    >>> Embedding(10, 4)(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 4])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial rows with variance 1."""
        truncated_normal_(self.weight, std=1.0)

    def forward(self, token_ids: Int[Tensor, "..."]) -> Float[Tensor, "... d"]:
        """Return (..., d).

        Raises:
            IndexError: an id out of range; CUDA reports it later.
        """
        advice = "use the tokenizer that the model was built for"
        return look_up(self.weight, token_ids, name="token ids", advice=advice)
