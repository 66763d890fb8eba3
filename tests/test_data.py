"""The training windows: what they hold, where they lie, and on what they depend."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.batches import get_batch, sample_batch
from trainer.data.window_starts import window_starts


def test_get_batch() -> None:
    dataset = np.arange(100)
    starts = Counter()
    for _ in range(1000):
        x, y = get_batch(dataset, 32, 7, "cpu")
        assert x.shape == y.shape == (32, 7)
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x + 1, y)
        starts.update(x[:, 0].tolist())
    # 93 starts, 0 to 92; a binomial count stays within 6 standard deviations.
    expected = 1000 * 32 / 93
    assert set(starts) == set(range(93))
    assert all(abs(count - expected) < 6 * expected**0.5 for count in starts.values())


def test_get_batch_draws_anew_at_each_call() -> None:
    dataset = np.arange(10_000)
    first, second = (get_batch(dataset, 8, 4, "cpu")[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_get_batch_repeats_with_a_given_generator() -> None:
    dataset = np.arange(1000)
    first, second = (
        get_batch(dataset, 8, 4, "cpu", rng=np.random.default_rng(7))[0] for _ in range(2)
    )
    assert torch.equal(first, second)


def test_get_batch_on_an_unusable_device_raises_torchs_own_error() -> None:
    with pytest.raises((RuntimeError, AssertionError)) as ours:
        get_batch(np.arange(100), 2, 4, "cuda:99")
    with pytest.raises((RuntimeError, AssertionError)) as torchs:
        torch.zeros(1).to("cuda:99")
    assert str(ours.value) == str(torchs.value)


def test_get_batch_covers_a_dataset_of_exactly_one_window() -> None:
    x, y = get_batch(np.array([5, 6, 7], dtype=np.uint16), 3, 2, "cpu")
    assert x.tolist() == [[5, 6]] * 3
    assert y.tolist() == [[6, 7]] * 3


@pytest.mark.parametrize("draw", ["get_batch", "sample_batch"])
def test_context_longer_than_the_data_is_refused(draw: str) -> None:
    with pytest.raises(ValueError, match=r"holds 8 tokens, but context_length=8 needs at least 9"):
        if draw == "get_batch":
            get_batch(np.arange(8), 2, 8, "cpu")
        else:
            sample_batch(
                np.arange(8), seed=0, step=0, indices=range(2), context_length=8, device="cpu"
            )


def test_get_batch_refuses_an_empty_batch() -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        get_batch(np.arange(8), 0, 2, "cpu")


@given(
    seed=st.integers(0, 2**63 - 1),
    step=st.integers(0, 2**40),
    num_starts=st.integers(1, 2**62),
    cuts=st.lists(st.integers(0, 64), max_size=5),
)
def test_windows_are_the_same_for_any_split_into_micro_batches(
    seed: int, step: int, num_starts: int, cuts: list[int]
) -> None:
    def starts(indices: range) -> np.ndarray:
        return window_starts(seed=seed, step=step, indices=indices, num_starts=num_starts)

    edges = [0, *sorted(cuts), 64]
    parts = [starts(range(a, b)) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), starts(range(64)))


@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 2**40), n=st.integers(1, 2**62))
def test_window_starts_equal_the_formula_in_plain_integers(seed: int, step: int, n: int) -> None:
    starts = window_starts(seed=seed, step=step, indices=range(5), num_starts=n)
    key = _splitmix64(_splitmix64(seed) ^ step)
    assert starts.tolist() == [_splitmix64(key ^ i) * n >> 64 for i in range(5)]


def test_hash_is_splitmix64() -> None:
    # The first two outputs of the reference generator seeded with zero.
    gamma = 0x9E3779B97F4A7C15
    assert [_splitmix64(0), _splitmix64(gamma)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def _splitmix64(state: int) -> int:
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_window_starts_cover_the_stream_uniformly(seed: int) -> None:
    starts = np.concatenate(
        [window_starts(seed=seed, step=s, indices=range(128), num_starts=50) for s in range(1000)]
    )
    counts = np.bincount(starts, minlength=50)
    expected = len(starts) / 50
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert len(counts) == 50
    assert chi_square < 100  # 49 degrees of freedom: the chance is below 1e-4, and seeds are fixed


@pytest.mark.parametrize("change", [{"seed": 1}, {"step": 1}])
def test_windows_depend_on_seed_and_step(change: dict[str, object]) -> None:
    key = {"seed": 0, "step": 0, "indices": range(64), "num_starts": 2**40}
    assert not np.intersect1d(window_starts(**key), window_starts(**key | change)).size


def test_batches_after_a_resume_equal_the_uninterrupted_ones() -> None:
    tokens = np.arange(500, dtype=np.uint16)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return sample_batch(
            tokens, seed=3, step=step, indices=range(4), context_length=8, device="cpu"
        )

    uninterrupted = [batch(step) for step in range(10)]
    for resumed_at in (0, 4, 9):
        for step in range(resumed_at, 10):
            assert all(map(torch.equal, batch(step), uninterrupted[step]))


@settings(max_examples=25)
@given(data=st.data())
def test_sampled_windows_are_slices_of_the_stream(data: st.DataObject) -> None:
    length = data.draw(st.integers(2, 200))
    context_length = data.draw(st.integers(1, length - 1))
    tokens = np.random.default_rng(0).integers(60_000, size=length).astype(np.uint16)
    where = {"seed": data.draw(st.integers(0, 99)), "step": 5, "indices": range(3, 7)}
    x, y = sample_batch(tokens, **where, context_length=context_length, device="cpu")
    starts = window_starts(**where, num_starts=length - context_length)
    for row, start in enumerate(starts):
        assert x[row].tolist() == tokens[start : start + context_length].tolist()
        assert y[row].tolist() == tokens[start + 1 : start + context_length + 1].tolist()


def test_context_of_uint32_ids_survives_the_conversion() -> None:
    tokens = np.array([0, 2**32 - 1, 70_000], dtype=np.uint32)
    x, y = get_batch(tokens, 1, 2, "cpu")
    assert (x.tolist(), y.tolist()) == ([[0, 2**32 - 1]], [[2**32 - 1, 70_000]])
