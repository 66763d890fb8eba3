"""Choose random documents whose bytes make up a requested share.

Stage: inside *documents, corpus*. The caller puts the documents in a random order that follows from
their contents or names. Not here: reading and writing them.
"""

import numpy as np

_FEW = 20  # so few can be tried in every combination: 2**20 sums
_MOST_ROUNDS = 50


def choose_documents(sizes: np.ndarray, *, fraction: float) -> np.ndarray:
    """Choose documents that make up about `fraction` of all bytes, at least one and never all.

    The choice is the first stretch of the order within half the smallest document of the target, so
    that similar documents have similar chances. If there is none, the nearest stretch is improved
    by swapping documents; for few documents, the best choice is found.

    Args:
        sizes: (n,) int64, positive, n >= 2; bytes of each document, in a random order.
        fraction: in (0, 1).

    Returns:
        (n,) bool.

    >>> choose_documents(np.array([5, 900, 40, 5]), fraction=0.05).tolist()
    [True, False, True, True]
    """
    target = fraction * int(sizes.sum())
    chosen = _stretch(sizes, target)
    for _ in range(_MOST_ROUNDS):
        distance = _distance(sizes, chosen, target)
        if distance <= sizes.min() / 2:
            return chosen
        changed = _fill(sizes, _change_one(sizes, chosen, target), target)
        # An excess is given back by filling up the complement.
        changed = ~_fill(sizes[::-1], ~changed[::-1], sizes.sum() - target)[::-1]
        if _distance(sizes, changed, target) >= distance:
            break
        chosen = changed
    return _best_choice(sizes, target) if len(sizes) <= _FEW else chosen


def keeps_share(sizes: np.ndarray, chosen: np.ndarray, *, fraction: float) -> bool:
    """Whether a choice is off by less than the smallest document, and neither empty nor all."""
    distance = _distance(sizes, chosen, fraction * int(sizes.sum()))
    return bool(chosen.any() and not chosen.all() and distance < sizes.min())


def is_near(share: float, fraction: float) -> bool:
    """Whether a share is more than half the requested one, and less than twice.

    >>> is_near(0.03, 0.05), is_near(0.02, 0.05)
    (True, False)
    """
    return fraction / 2 < share < 2 * fraction


def share_of(sizes: np.ndarray, chosen: np.ndarray) -> float:
    """Return a choice's share of the bytes."""
    return int(sizes[chosen].sum()) / int(sizes.sum())


def _distance(sizes: np.ndarray, chosen: np.ndarray, target: float) -> float:
    return abs(int(sizes[chosen].sum()) - target)


def _stretch(sizes: np.ndarray, target: float) -> np.ndarray:
    """Choose the first stretch of the order, taken as a circle, that is near enough.

    If none is within half the smallest document of the target, the nearest is chosen.
    """
    n = len(sizes)
    starts = np.arange(n)
    sums = np.concatenate([[0], np.cumsum(np.tile(sizes, 2))])
    stops = np.clip(_nearest(sums, sums[:n] + target), starts + 1, starts + n - 1)
    distances = np.abs(sums[stops] - sums[:n] - target)
    start = int(np.argmax(distances <= max(sizes.min() / 2, distances.min())))
    chosen = np.zeros(n, np.bool_)
    chosen[np.arange(start, stops[start]) % n] = True
    return chosen


def _fill(sizes: np.ndarray, chosen: np.ndarray, target: float) -> np.ndarray:
    """Add documents to a choice, in order, while the target has room for them."""
    filled, room = chosen.copy(), target - int(sizes[chosen].sum())
    candidates = np.flatnonzero(~chosen & (sizes <= room))
    smallest = sizes.min()
    for place, size in zip(candidates, sizes[candidates].tolist(), strict=True):
        if size <= room:
            filled[place] = True
            room -= size
            if room < smallest:
                break
    return filled


def _change_one(sizes: np.ndarray, chosen: np.ndarray, target: float) -> np.ndarray:
    """Return the choice after the best single addition, removal or swap."""
    held, free = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    free = free[np.argsort(sizes[free], kind="stable")]
    room = target - int(sizes[chosen].sum())
    moves: list[tuple[float, tuple[int, ...]]] = []
    if len(free) > 1:
        place = free[_nearest(sizes[free], np.array([room]))[0]]
        moves.append((float(abs(sizes[place] - room)), (int(place),)))
    if len(held) > 1:
        place = held[np.argmin(np.abs(sizes[held] + room))]
        moves.append((float(abs(sizes[place] + room)), (int(place),)))
    partners = free[_nearest(sizes[free], sizes[held] + room)]
    errors = np.abs(sizes[partners] - sizes[held] - room)
    best = int(np.argmin(errors))
    moves.append((float(errors[best]), (int(held[best]), int(partners[best]))))
    changed = chosen.copy()
    for place in min(moves)[1]:
        changed[place] ^= True
    return changed


def _nearest(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the index in `ordered` of the value nearest to each wanted one."""
    above = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    below = np.maximum(above - 1, 0)
    is_below = np.abs(ordered[below] - wanted) < np.abs(ordered[above] - wanted)
    return np.where(is_below, below, above)


def _best_choice(sizes: np.ndarray, target: float) -> np.ndarray:
    """Try every combination except none and all; ties go to the first documents."""
    sums = np.zeros(1, np.int64)
    for size in sizes:
        sums = np.concatenate([sums, sums + size])
    best = 1 + int(np.argmin(np.abs(sums[1:-1] - target)))
    return (best >> np.arange(len(sizes)) & 1).astype(np.bool_)
