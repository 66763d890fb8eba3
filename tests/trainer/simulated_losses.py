"""Training losses as runs log them: falling in every way, and diverging, under every noise."""

import math
from collections.abc import Callable, Iterator

import numpy as np

Curve = np.ndarray
Rng = np.random.Generator

COUNTS = (5, 8, 10, 15, 20, 40, 100, 200, 500, 2000)
SCALES = (0.02, 0.1, 0.3, 0.8)  # nats: a whole batch of long windows, ..., a single short one


def _power(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    return low + (top - low) * (1 + t * rng.uniform(5, 200)) ** -rng.uniform(0.3, 1)


def _exponential(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    return low + (top - low) * np.exp(-t * rng.uniform(1.5, 20))


def _plateau(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    end, middle = rng.uniform(0.4, 0.8), low + (top - low) * rng.uniform(0.3, 0.7)
    first = middle + (top - middle) * np.exp(-t / rng.uniform(0.03, 0.1))
    return np.where(t < end, first, low + (middle - low) * np.exp(-(t - end) / 0.05))


def _warmup(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    end, knee = rng.uniform(0.05, 0.5), top - 0.15 * (top - low)
    fall = low + (knee - low) * np.exp(-(t - end) * rng.uniform(3, 15))
    return np.where(t < end, top - (top - knee) * (t / end) ** 2, fall)


def _barely(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    return top * (1 - rng.uniform(0, 0.05) * t)


def _flat(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    return np.full_like(t, top)


def _early_bump(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    bump = rng.uniform(1, 6) * np.exp(-(((t - rng.uniform(0.05, 0.3)) / 0.04) ** 2))
    return _exponential(t, top, low, rng) + bump


def _hump(t: Curve, top: float, low: float, rng: Rng) -> Curve:
    """Rise while the rate is at its peak, and come back as a cosine takes it down."""
    hump = rng.uniform(0.2, 1.5) * np.exp(-(((t - rng.uniform(0.3, 0.6)) / 0.12) ** 2))
    return _exponential(t, top, low, rng) + hump


FALLS = {
    "power law": _power,
    "exponential": _exponential,
    "plateau": _plateau,
    "warm-up": _warmup,
    "early bump": _early_bump,
    "hump": _hump,
    "barely falling": _barely,
    "flat": _flat,
}
_CLEAR_FALLS = [name for name in FALLS if name not in ("barely falling", "flat")]


def _remembering(rng: Rng, n: int, memory: float) -> Curve:
    noise, fresh = rng.normal(size=n), rng.normal(size=n) * math.sqrt(1 - memory**2)
    for i in range(1, n):
        noise[i] = memory * noise[i - 1] + fresh[i]
    return noise


def _spikes(rng: Rng, n: int, trend: Curve) -> Curve:
    """Spikes of up to 25 standard deviations, the last of which has decayed before the end."""
    noise, at = rng.normal(size=n), 0
    while True:
        at += int(rng.exponential(max(15, n / 3))) + 1
        length = int(rng.integers(1, max(2, n // 60 + 1)))
        if at + 3 * length >= 0.95 * n:
            return noise
        places = np.arange(at, at + 3 * length)
        noise[places] += rng.uniform(3, 25) * np.exp(-(places - at) / length)


NOISES: dict[str, Callable[[Rng, int, Curve], Curve]] = {
    "normal": lambda rng, n, trend: rng.normal(size=n),
    "heavy-tailed": lambda rng, n, trend: rng.standard_t(3, size=n) / math.sqrt(3),
    "skewed": lambda rng, n, trend: (np.exp(rng.normal(size=n) / 2) - math.exp(0.125)) / 0.6,
    "shrinking": lambda rng, n, trend: rng.normal(size=n) * trend / trend[0],
    "spikes": _spikes,
    "memory of 2": lambda rng, n, trend: _remembering(rng, n, 0.5),
    "memory of 10": lambda rng, n, trend: _remembering(rng, n, 0.9),
}


def _growth(u: Curve, rise: float, rng: Rng) -> Curve:
    return rise * (np.exp(u * rng.uniform(2, 6)) - 1) / (math.e**2 - 1) * 1.5


def _step(u: Curve, rise: float, rng: Rng) -> Curve:
    return np.where(u > 0, rise, 0.0)


def _slow(u: Curve, rise: float, rng: Rng) -> Curve:
    return 1.3 * rise * u


def _oscillating(u: Curve, rise: float, rng: Rng) -> Curve:
    return 1.5 * rise * u * (1 + 0.5 * np.sin(u * rng.uniform(10, 40)))


def _late(u: Curve, rise: float, rng: Rng) -> Curve:
    return 1.5 * rise * np.minimum(1, 3 * u)


RISES = {
    "exponential growth": _growth,
    "step that stays": _step,
    "slow rise": _slow,
    "growing oscillation": _oscillating,
    "late": _late,
}


def _fall(rng: Rng, kind: str, n: int) -> Curve:
    t = np.linspace(0, 1, n)
    return FALLS[kind](t, rng.uniform(5, 11), rng.uniform(0.8, 4), rng)


def _noisy(rng: Rng, trend: Curve, *, noise: str, scale: float) -> list[float]:
    return np.maximum(trend + scale * NOISES[noise](rng, len(trend), trend), 0.01).tolist()


def falling(rng: Rng, kind: str, n: int, *, noise: str, scale: float) -> list[float]:
    """Return the losses of a run that is healthy to its end."""
    return _noisy(rng, _fall(rng, kind, n), noise=noise, scale=scale)


def diverging(rng: Rng, kind: str, n: int, *, noise: str, scale: float) -> list[float]:
    """Return the losses of a run that fell by a tenth or more, and then rose to stay.

    Three logged losses or more lie in the rise, which undoes half of what was gained or more, and
    is six standard deviations of the noise or more.
    """
    t = np.linspace(0, 1, n)
    while True:
        trend = _fall(rng, _CLEAR_FALLS[rng.integers(len(_CLEAR_FALLS))], n)
        share = rng.uniform(0.85, 0.93) if kind == "late" else rng.uniform(0.3, 0.75)
        turn = min(int(share * (n - 1)), n - 4)
        while trend[turn] > 0.85 * trend[0] and turn < n - 4:
            turn += 1
        gained = trend[0] - trend[turn]
        if gained >= 0.1 * trend[0]:
            break
    rise = max(gained * rng.uniform(0.5, 1.5), 6 * scale)
    beyond = np.clip((t - t[turn]) / (1 - t[turn]), 0, 1)
    held = np.where(t <= t[turn], trend, trend[turn])
    return _noisy(rng, held + RISES[kind](beyond, rise, rng), noise=noise, scale=scale)


def cases(kinds: dict[str, object]) -> Iterator[tuple[str, int, str, float]]:
    """Yield every combination of kind, number of losses, noise and its scale."""
    for kind in kinds:
        for n in COUNTS:
            for noise in NOISES:
                for scale in SCALES:
                    yield kind, n, noise, scale
