"""Details of batches: what is read, and where it lands."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data.batches import get_batch, read_windows, sample_batch


def test_memmap_gives_the_same_batch_as_memory(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.arange(1000, dtype=np.uint16))
    how = {"seed": 1, "step": 2, "indices": range(4), "context_length": 16, "device": "cpu"}
    mapped = sample_batch(np.load(path, mmap_mode="r"), **how)
    assert all(map(torch.equal, mapped, sample_batch(np.load(path), **how)))


def test_only_the_windows_are_read(tmp_path: Path) -> None:
    # 64 GiB of holes: a read of the whole file would not end, or not fit.
    path = tmp_path / "tokens.bin"
    num_tokens = 2**35
    with path.open("wb") as file:
        file.truncate(2 * num_tokens)
    tokens = np.memmap(path, dtype=np.uint16, mode="r")
    x, _ = sample_batch(tokens, seed=0, step=0, indices=range(8), context_length=32, device="cpu")
    assert len(tokens) == num_tokens
    assert not x.any()


def test_batches_own_their_memory(tmp_path: Path) -> None:
    tokens = np.arange(100)
    x, y = get_batch(tokens, 2, 4, "cpu")
    x.zero_()
    assert y.all()
    assert tokens[1:].all()


def test_tensors_are_contiguous() -> None:
    x, y = read_windows(
        np.arange(10), starts=np.array([0, 3]), context_length=4, device=torch.device("cpu")
    )
    assert x.is_contiguous()
    assert y.is_contiguous()
    assert x.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_context_below_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="context_length is 0"):
        get_batch(np.arange(10), 2, 0, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batch_on_cuda_equals_the_batch_on_the_cpu() -> None:
    how = {"seed": 1, "step": 2, "indices": range(64), "context_length": 128}
    tokens = np.random.default_rng(0).integers(50_000, size=100_000).astype(np.uint16)
    ours = sample_batch(tokens, **how, device="cuda")
    assert all(x.is_cuda for x in ours)
    twin = sample_batch(tokens, **how, device="cpu")
    assert all(torch.equal(x.cpu(), y) for x, y in zip(ours, twin, strict=True))
