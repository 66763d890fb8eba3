"""Devices and compute types by name."""

import os

import pytest
import torch

from trainer.plan.devices import (
    autocast,
    deterministic_operations,
    resolve_device,
    resolve_dtype,
)


def test_auto_is_cuda_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "mps", "meta", ""])
def test_an_unusable_device_names_what_there_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"available: auto, cpu"):
        resolve_device(name)


def test_auto_dtype_follows_the_device() -> None:
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    assert resolve_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_products_run_in_the_compute_type() -> None:
    cpu, x = torch.device("cpu"), torch.ones(2, 2)
    with autocast(cpu, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(cpu, torch.float32):
        assert (x @ x).dtype == torch.float32


def test_determinism_is_asked_of_cuda_alone_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for kind, is_asked in (("cpu", True), ("cuda", False), ("cuda", True)):
        is_due = is_asked and kind == "cuda"
        with deterministic_operations(torch.device(kind), is_asked=is_asked):
            assert torch.are_deterministic_algorithms_enabled() == is_due
            assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == is_due
        assert not torch.are_deterministic_algorithms_enabled()
