"""Draw the next token from logits.

Stage: logits, a random number -> *id*. One uniform number per token decides, so equal seeds give
equal ids on every device, alone and in batches. `sample` is the plain formula; `draw` gives the
same id without sorting the whole vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SHORTLIST = 512  # most likely tokens, which nearly always hold the nucleus


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How the next token is drawn from the model's distribution."""

    temperature: float = 1.0
    """Divides the logits; below 1 sharpens, 0 always takes the most likely token."""
    top_p: float = 1.0
    """Draw from the smallest set of most likely tokens with at least this mass, in (0, 1]."""
    top_k: int | None = None
    """Draw from this many most likely tokens; None: from all."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"temperature is {self.temperature}, but must be a number >= 0; 0 is greedy"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p is {self.top_p}, but must be in (0, 1]; 1 keeps every token")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top-k is {self.top_k}, but must be at least 1")


def sample(logits: Tensor, sampling: SamplingConfig, *, generator: torch.Generator) -> int:
    """Draw one id: the first, in the order of ids, whose cumulative mass exceeds a random share.

    Ties are broken in favour of the lower id. One number is taken from the generator, on the CPU,
    even when greedy.

    Raises:
        ValueError: the logits, (v,), are not finite, as those of a diverged model are.
    """
    share, highest = _share(generator), _highest(logits)
    if sampling.temperature == 0:
        return int((logits == highest).nonzero()[0])
    mass = _mass(logits, highest, sampling)
    ordered, ids = mass.sort(descending=True, stable=True)
    kept = _count_kept(ordered[: sampling.top_k], sampling, total=mass.sum())
    return _pick(mass, ids[:kept], share)


def draw(logits: Tensor, sampling: SamplingConfig, *, generator: torch.Generator) -> int:
    """Draw the id that `sample` draws, faster."""
    share, highest = _share(generator), _highest(logits)
    if sampling.temperature == 0:
        return int(logits.argmax())  # of equal ones the first
    mass = _mass(logits, highest, sampling)
    if sampling.top_p == 1 and sampling.top_k is None:
        return _pick(mass, None, share)
    size = min(len(mass), max(_SHORTLIST, 2 * (sampling.top_k or 0)))
    ids = mass.topk(size).indices.sort().values  # by id, so that the stable sort keeps ties
    ordered, order = mass[ids].sort(descending=True, stable=True)
    kept = _count_kept(ordered[: sampling.top_k], sampling, total=mass.sum())
    if size < len(mass) and ordered[kept - 1] == ordered[-1]:  # more, or ties, may lie outside
        ordered, ids = mass.sort(descending=True, stable=True)
        kept = _count_kept(ordered[: sampling.top_k], sampling, total=mass.sum())
        return _pick(mass, ids[:kept], share)
    return _pick(mass, ids[order[:kept]], share)


def _share(generator: torch.Generator) -> float:
    """Return a uniform number in [0, 1)."""
    return float(torch.rand((), dtype=torch.float64, device="cpu", generator=generator))


def _highest(logits: Tensor) -> Tensor:
    highest = logits.max()  # NaN if any is
    if not highest.isfinite():
        raise ValueError(f"the highest logit is {highest}: the model diverged; use an earlier one")
    return highest


def _mass(logits: Tensor, highest: Tensor, sampling: SamplingConfig) -> Tensor:
    """Return probabilities up to a factor; shifted, so that a tiny temperature cannot overflow."""
    return ((logits.double() - highest) / sampling.temperature).exp()


def _count_kept(ordered: Tensor, sampling: SamplingConfig, *, total: Tensor) -> int:
    """Return how many of the most likely reach top_p of `total`, or of what top_k left."""
    if sampling.top_p == 1:
        return len(ordered)
    if sampling.top_k is not None:
        total = ordered.sum()
    mass_before = ordered.cumsum(0) - ordered  # 0 for the first, which is always kept
    return int((mass_before < sampling.top_p * total).sum())


def _pick(mass: Tensor, ids: Tensor | None, share: float) -> int:
    if ids is not None:
        ids = ids.sort().values
        mass = mass[ids]
    reached = mass.cumsum(0)
    place = int((reached <= share * reached[-1]).sum().clamp(max=len(mass) - 1))
    return place if ids is None else int(ids[place])
