from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.batches import sample_batch
from trainer.data.device_batches import (
    DeviceWindows,
    PinnedWindows,
    choose_windows,
    high_product,
    mix,
)
from trainer.data.window_starts import window_starts

CPU = torch.device("cpu")


@given(
    seed=st.integers(0, 2**63 - 1),
    step=st.integers(0, 2**62),
    first=st.integers(0, 2**40),
    num_starts=st.integers(1, 2**63 - 1),
)
def test_starts_on_the_device_are_those_on_the_host(
    seed: int, step: int, first: int, num_starts: int
) -> None:
    indices = range(first, first + 9)
    numbers = torch.arange(first, first + 9)
    hashes = mix(mix(mix(torch.tensor(seed)) ^ torch.tensor(step)) ^ numbers)
    expected = window_starts(seed=seed, step=step, indices=indices, num_starts=num_starts)
    assert high_product(hashes, num_starts).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("kind", [DeviceWindows, PinnedWindows])
def test_windows_on_the_device_are_those_on_the_host(kind: type, dtype: type) -> None:
    top = np.iinfo(dtype).max
    tokens = np.random.default_rng(0).integers(top, size=500, endpoint=True).astype(dtype)
    tokens[100:200] = top
    settings = {"max_windows": 6} if kind is PinnedWindows else {}
    source = kind(tokens, seed=7, context_length=5, device=CPU, **settings)
    for step in (0, 1, 2, 3, 4, 5, 6, 2):
        source.prepare(step, 6)
        for indices in (range(3), range(3, 6)):
            ours = source.cut(torch.tensor(step), indices)
            host = sample_batch(
                tokens, seed=7, step=step, indices=indices, context_length=5, device=CPU
            )
            assert all(map(torch.equal, ours, host))
        source.prefetch(step + 1, 6)


def test_a_stream_that_does_not_fit_stays_on_the_host(tmp_path: Path) -> None:
    np.save(tmp_path / "tokens.npy", np.zeros(1000, np.uint16))
    tokens = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    settings = {"seed": 0, "context_length": 5, "max_windows": 2, "device": CPU}
    assert isinstance(choose_windows(tokens, **settings, free_bytes=8000), DeviceWindows)
    assert isinstance(choose_windows(tokens, **settings, free_bytes=7999), PinnedWindows)


@pytest.mark.parametrize("free_bytes", [0, 2**40])
def test_a_stream_without_a_window_is_refused(free_bytes: int) -> None:
    with pytest.raises(ValueError, match="holds 5 tokens, but context_length=5 needs at least 6"):
        choose_windows(
            np.zeros(5, np.uint16),
            seed=0,
            context_length=5,
            max_windows=1,
            device=CPU,
            free_bytes=free_bytes,
        )
