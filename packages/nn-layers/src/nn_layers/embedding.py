"""Look up a vector for each token id."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nn_layers.initialization import truncated_normal_


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

    __call__: Callable[..., Tensor]

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


def look_up(
    table: Float[Tensor, "n d"], numbers: Int[Tensor, "..."], *, name: str, advice: str
) -> Float[Tensor, "... d"]:
    """Return (..., d), one row for each number.

    Args:
        table: (n, d).
        numbers: (...) in [0, n).
        name: of the numbers, in the plural.
        advice: what to do where one is out of range.

    Raises:
        IndexError: a number out of range; CUDA reports it later.
    """
    # Unlike indexing, this counts no negative number from the end, and needs no look at them.
    try:
        rows = table.index_select(0, numbers.reshape(-1))
    except IndexError as error:
        raise IndexError(
            f"{name} go from {numbers.min()} to {numbers.max()}, but must be in "
            f"0 .. {len(table) - 1}; {advice}"
        ) from error
    return rows.view(*numbers.shape, table.shape[-1])
