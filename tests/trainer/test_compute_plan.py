"""How a run computes: what auto picks, what cannot run, what is reported."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nn_layers import NativeError, RotaryPositionalEmbedding
from nn_layers.backends.choice import attention_backends, auto_order, loss_backends
from nn_layers.backends.interface import Backend, Setting
from trainer.cli.run_arguments import parse_train
from trainer.config.presets import config_to_toml, load_config, load_preset
from trainer.plan.compute import LONG_RUN_FLOPS, ComputePlan, plan_compute

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


@pytest.mark.parametrize(
    ("option", "new"),
    [
        ("model.attention", "model.attention is 'fused', which has been renamed; use sdpa"),
        (
            "training.loss",
            "training.loss is 'fused', which has been renamed; use in-place, or triton",
        ),
    ],
)
def test_a_renamed_value_is_refused_with_its_new_name_in_options_and_saved_runs(
    option: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_train([f"--{option}", "fused"])
    assert new in " ".join(capsys.readouterr().err.replace("│", " ").split())
    field = option.partition(".")[2]
    saved = config_to_toml(load_preset("quickstart"))
    old = saved.replace(f'{field} = "auto"', f'{field} = "fused"')
    (tmp_path / "config.toml").write_text(old, encoding="utf-8")
    with pytest.raises(ValueError, match=f"config.toml: {new}") as caught:
        load_config(tmp_path / "config.toml")
    assert "\n" not in str(caught.value)


def _cells(option: str) -> list[list[str]]:
    """Return the names in the README's row of an option, cell by cell."""
    readme = Path(__file__).parents[2] / "apps/trainer/README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| `--{option}` "))
    return [re.findall(r"`([\w-]+)`", cell) for cell in row.strip("|").split("|")]


@pytest.mark.parametrize(
    ("option", "backends"),
    [("model.attention", attention_backends()), ("training.loss", loss_backends())],
)
def test_the_readme_lists_what_auto_takes(option: str, backends: dict[str, Backend]) -> None:
    _, choices, *taken = _cells(option)
    assert sorted(choices) == sorted(backends)
    devices = [("cpu", torch.float32), ("cuda", torch.bfloat16), ("mps", torch.float32)]
    for names, (device, dtype) in zip(taken, devices, strict=True):
        setting = Setting(
            device=torch.device(device), dtype=dtype, d_head=32, positions=RotaryPositionalEmbedding
        )
        assert [name for name in names if name != "bfloat16"] == auto_order(backends, setting)


def test_the_readme_says_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("trainer.plan.compute", "nn_layers.backends.loss.triton"):
        monkeypatch.setattr(f"{user}.why_no_kernels", lambda device: None)
    attention = "nn_layers.backends.attention.triton.why_no_rotary_attention"
    monkeypatch.setattr(attention, lambda *_, **__: None)
    monkeypatch.setattr("trainer.plan.compute.find_compiler", lambda: "g++")
    long_run = parse_train(["tinystories-cpu"]).config
    compiles = [
        plan_compute(long_run, device=torch.device(device)).compile
        for device in ("cpu", "cuda", "mps")
    ]
    assert _cells("training.compile")[2:] == [["on" if one else "off"] for one in compiles]
    readme = Path(__file__).parents[2] / "apps/trainer/README.md"
    assert f"more than {LONG_RUN_FLOPS:.0e} FLOPs".replace("e+", "e") in readme.read_text("utf-8")
