"""The settings of a run on the CPU: float32 stays float32, and nothing is left behind."""

import subprocess
import sys

import pytest
import torch

from trainer.plan import cpu_settings
from trainer.plan.cpu_settings import MAX_RELATIVE_ERROR, onednn_products, product_error

matmul = torch.backends.mkldnn.matmul


def test_float32_products_stay_float32_during_a_run() -> None:
    before = matmul.fp32_precision
    with cpu_settings.cpu_settings(torch.device("cpu"), say=print):
        assert product_error() < MAX_RELATIVE_ERROR
    assert matmul.fp32_precision == before


def test_a_route_that_rounds_is_refused_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before, said = matmul.fp32_precision, []
    monkeypatch.setattr(cpu_settings, "product_error", lambda: 3e-3)
    with onednn_products(say=said.append):
        assert matmul.fp32_precision == before
    assert "relative error here is 3.0e-03" in said[0]


def test_bfloat16_products_would_be_found_out() -> None:
    x, w = torch.randn(64, 512), torch.randn(512, 64)
    exact = x.double() @ w.double()
    rounded = (x.bfloat16() @ w.bfloat16()).double()
    assert (rounded - exact).norm() / exact.norm() > 100 * MAX_RELATIVE_ERROR


def test_settings_are_taken_back_when_a_run_fails() -> None:
    before = matmul.fp32_precision
    with pytest.raises(RuntimeError), onednn_products(say=print):
        raise RuntimeError
    assert matmul.fp32_precision == before


def test_variables_of_the_user_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    said: list[str] = []
    with cpu_settings.kept_memory(say=said.append):
        assert "allocator settings are left unchanged" in said[0]


def test_importing_the_layers_changes_no_global_state() -> None:
    script = """
import torch
def state():
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(), torch.backends.mkldnn.matmul.fp32_precision,
            torch.are_deterministic_algorithms_enabled(), torch.initial_seed(),
            torch.get_rng_state().sum().item())
before = state()
import nn_layers
assert state() == before, (before, state())
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("usable", "expected"), [(1, 1), (2, 2), (64, 2)])
def test_there_are_no_more_threads_than_cpus_that_may_be_used(
    usable: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu_settings, "usable_cpus", lambda: usable)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with cpu_settings.cpu_settings(torch.device("cpu"), say=print):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with cpu_settings.allowed_threads():
            assert torch.get_num_threads() == 2  # an explicit setting wins
    finally:
        torch.set_num_threads(before)
