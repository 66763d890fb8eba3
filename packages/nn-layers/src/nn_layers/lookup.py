"""Read rows of a table by their numbers."""

from jaxtyping import Float, Int
from torch import Tensor


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
