"""Choose where the windows of a step start, by a hash that needs no state.

Stage: seed, step, index -> *starts* -> batches. Every device, micro-batch size and resume point
sees the same windows. Not here: reading them (`batches`).
"""

import numpy as np

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_LOW_HALF = np.uint64(0xFFFFFFFF)


def window_starts(*, seed: int, step: int, indices: range, num_starts: int) -> np.ndarray:
    """Return the starts of the windows `indices` of one step: uniform, with replacement.

    SplitMix64 is chained over seed, step and index; multiply-shift maps its 64 bits to a start,
    floor(hash * num_starts / 2^64), with a bias of at most num_starts / 2^64.

    Args:
        seed: in [0, 2^63).
        step: optimizer step, counted from zero.
        indices: windows of the step's batch, counted from zero over all its micro-batches.
        num_starts: possible starts; at least 1.

    Returns:
        (len(indices),) int64 in [0, num_starts).

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", fig. 17.
    Departure: one mix per part of the key instead of one sequence.

    >>> window_starts(seed=0, step=3, indices=range(4), num_starts=1000).tolist()
    [219, 257, 354, 16]
    """
    key = _mix(_mix(np.uint64(seed)) ^ np.uint64(step))
    hashes = _mix(key ^ np.arange(indices.start, indices.stop, indices.step, dtype=np.uint64))
    return _high_product(hashes, np.uint64(num_starts)).astype(np.int64)


def _mix(state: np.ndarray | np.uint64) -> np.ndarray:
    """Advance a SplitMix64 state by one and return its output; a bijection of uint64."""
    # An array even for one value: uint64 arrays wrap around silently, uint64 scalars warn.
    mixed = np.atleast_1d(state) + _GOLDEN_GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _high_product(a: np.ndarray, b: np.uint64) -> np.ndarray:
    """Return the upper 64 of the 128 bits of a * b, by long multiplication of 32-bit halves."""
    half = np.uint64(32)
    a_high, a_low, b_high, b_low = a >> half, a & _LOW_HALF, b >> half, b & _LOW_HALF
    middle = a_high * b_low + (a_low * b_low >> half)
    carry = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + (middle >> half) + (carry >> half)
