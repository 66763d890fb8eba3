"""How a run computes: what auto picks, what cannot run, what is said."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from nn_layers import NativeError
from trainer.cli.run_arguments import parse_train
from trainer.plan.compute import ComputePlan, plan_compute

CPU = torch.device("cpu")


def _plan(*arguments: str, say: Callable[[str], None] = lambda _: None) -> ComputePlan:
    return plan_compute(parse_train(list(arguments)).config, device=CPU, say=say)


@pytest.fixture
def _capable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU be one that the kernels are for."""
    able = "nn_layers.backends.attention.native.why_no_rotary_attention"
    monkeypatch.setattr(able, lambda *_, **__: None)
    able = "nn_layers.backends.loss.native.why_no_native_kernels"
    monkeypatch.setattr(able, lambda dtype: None)


@pytest.mark.usefixtures("_capable")
@pytest.mark.parametrize(("is_built", "told"), [(False, 2), (True, 0)])
def test_what_is_built_is_said_before(
    is_built: bool, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, said = "nn_layers.backends.cpu.kernels", []
    monkeypatch.setattr(f"{kernels}.is_built", lambda source: is_built)
    monkeypatch.setattr(f"{kernels}.load_kernel", lambda kernel, dtype: None)
    _plan(say=said.append)
    assert " ".join(said).count("some seconds, once") == told


@pytest.mark.usefixtures("_capable")
@pytest.mark.parametrize(
    ("reason", "attention", "loss"),
    [(None, "native", "native"), ("this CPU is old", "matmul", "chunked")],
)
def test_auto_is_exact_on_the_cpu(
    reason: str | None, attention: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(kernel: str, dtype: torch.dtype) -> None:
        if reason:
            raise NativeError(reason)

    monkeypatch.setattr("nn_layers.backends.cpu.kernels.load_kernel", load)
    plan = _plan()
    assert (plan.dtype, plan.attention, plan.loss) == (torch.float32, attention, loss)
    assert " ".join(plan.notes).count("slower: this CPU is old") == (2 if reason else 0)


@pytest.mark.usefixtures("_capable")
def test_a_kernel_that_cannot_be_built_is_said_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(kernel: str, dtype: torch.dtype) -> None:
        raise NativeError("no disk left")

    monkeypatch.setattr("nn_layers.backends.cpu.kernels.load_kernel", fail)
    plan = _plan()
    assert plan.attention == "matmul"
    assert "slower: no disk left" in " ".join(plan.notes)
    with pytest.raises(ValueError, match=r"training\.loss is native, but no disk left; use auto"):
        _plan("--training.loss", "native")
    with pytest.raises(ValueError, match=r"model\.attention is native, but no disk left; use auto"):
        _plan("--model.attention", "native")


def test_what_is_named_is_taken() -> None:
    plan = _plan(
        *("--model.attention", "sdpa", "--training.loss", "plain"),
        *("--training.compile", "off", "--dtype", "bfloat16"),
    )
    expected = ComputePlan(dtype=torch.bfloat16, attention="sdpa", loss="plain", compile=False)
    assert dataclasses.replace(plan, notes=()) == expected


def test_a_kernel_for_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a CUDA device"):
        _plan("--model.attention", "triton")


def test_compiling_without_a_compiler_is_refused_or_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.plan.compute.find_compiler", lambda: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler .* install one"):
        _plan("--training.compile", "on")
    plan = _plan()
    assert not plan.compile
    assert "not compiled" in " ".join(plan.notes)
    assert "compiler" not in " ".join(_plan("--training.compile", "off").notes)


def test_auto_compiles_long_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.plan.compute.find_compiler", lambda: "g++")
    assert not _plan("quickstart").compile
    assert _plan("tinystories-cpu").compile


def test_a_cpu_without_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.plan.compute.multiplies_bfloat16", lambda: False)
    assert "emulated" in " ".join(_plan("--dtype", "bfloat16").notes)
    monkeypatch.setattr("trainer.plan.compute.multiplies_bfloat16", lambda: True)
    assert "--dtype bfloat16" in " ".join(_plan().notes)


def test_activation_checkpointing_is_an_option() -> None:
    config = parse_train(["--training.activation-checkpointing", "true"]).config
    assert config.training.activation_checkpointing
