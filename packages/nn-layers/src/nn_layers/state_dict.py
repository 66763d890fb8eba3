"""Read weights under either spelling: a matrix a projection, or several stacked in one.

Stage: saved weights -> *state dict* -> model. Saving always gives a matrix a projection.
"""

from collections.abc import Mapping, MutableMapping

from torch import Tensor

from nn_layers.linear import Linear


def split_stacked(
    state_dict: MutableMapping[str, Tensor],
    prefix: str,
    stacked_name: str,
    parts: Mapping[str, Linear],
) -> None:
    """Put the parts in the place of the matrix that stacks them; nothing where there is none.

    Args:
        state_dict: changed in place.
        prefix: of the module that is loading.
        stacked_name: of the stacked projection in that module.
        parts: the projections by name, in the order of their rows.

    Raises:
        ValueError: another number of rows than the parts have together.
    """
    stacked = state_dict.pop(f"{prefix}{stacked_name}.weight", None)
    if stacked is None:
        return
    rows = [len(part.weight) for part in parts.values()]
    if len(stacked) != sum(rows):
        raise ValueError(
            f"{prefix}{stacked_name}.weight has {len(stacked)} rows, but {', '.join(parts)} have "
            f"{sum(rows)} together; load the weights of a model of this shape"
        )
    for name, weight in zip(parts, stacked.split(rows), strict=True):
        state_dict[f"{prefix}{name}.weight"] = weight
