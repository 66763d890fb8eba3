"""Apple's GPU: what is chosen and refused there, and that nothing on it needs float64.

No machine here has one, so the steps run on the CPU with float32 as the widest type. Not here: how
fast it is, and whether torch has every operation there.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from accounting.cli.measure_peak import measure_peak
from nn_layers import RotaryPositionalEmbedding
from trainer.cli.run_arguments import parse_train
from trainer.config.run_config import RunConfig
from trainer.data.batches import read_windows
from trainer.evaluation.loss import evaluate_windows
from trainer.inference.decoders import CachedDecoder
from trainer.plan.compute import ComputePlan, plan_compute
from trainer.plan.devices import loaded_dtype, resolve_device, resolve_dtype, wait_for
from trainer.plan.model import build_model
from trainer.training.learner import build_stepper

CPU, MPS = torch.device("cpu"), torch.device("mps")
TINY = (
    *("--model.context-length", "8", "--model.d-model", "16", "--model.num-layers", "2"),
    *("--model.num-heads", "2", "--model.d-ff", "32", "--training.batch-size", "2"),
)


@pytest.fixture
def _apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be one of Apple's machines, as far as choosing goes."""
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


def _plan(*arguments: str) -> ComputePlan:
    return plan_compute(parse_train(list(arguments)).config, device=MPS)


@pytest.mark.usefixtures("_apple")
def test_mps_is_taken_where_it_is_named_and_there() -> None:
    assert resolve_device("mps") == MPS
    assert resolve_device("mps:0").type == "mps"
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"'mps:1' cannot be used here; available: auto, cpu, mps"):
        resolve_device("mps:1")


@pytest.mark.usefixtures("_apple")
def test_mps_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'mps' cannot be used here; available: auto, cpu$"):
        resolve_device("mps")
    with pytest.raises(ValueError, match=r"'mps' cannot be used here; available: cpu$"):
        measure_peak("mps", "float32")


def test_auto_is_float32_by_torchs_own_operations_uncompiled() -> None:
    expected = ComputePlan(dtype=torch.float32, attention="sdpa", loss="chunked", compile=False)
    assert _plan() == expected
    # A run that is compiled on the CPU.
    assert _plan("tinystories-cpu") == expected


@pytest.mark.parametrize("attention", ["plain", "sdpa", "matmul"])
@pytest.mark.parametrize("loss", ["plain", "chunked", "in-place"])
def test_what_torch_can_do_is_taken_by_name(attention: str, loss: str) -> None:
    plan = _plan("--model.attention", attention, "--training.loss", loss)
    assert (plan.attention, plan.loss) == (attention, loss)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("--dtype", "bfloat16", "dtype is bfloat16, but mps computes in float32 here; use auto"),
        ("--training.compile", "on", "training.compile is on, but mps runs uncompiled steps; use"),
        ("--model.attention", "native", "model.attention is native, but that kernel is for the CP"),
        ("--model.attention", "triton", "model.attention is triton, but that kernel is for CUDA"),
        ("--training.loss", "native", "training.loss is native, but that kernel is for the CPU"),
    ],
)
def test_what_is_not_for_mps_is_refused_in_one_line(field: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _plan(field, value)
    assert "\n" not in str(caught.value)


def test_the_compute_type_is_float32() -> None:
    assert resolve_dtype("auto", MPS) == resolve_dtype("float32", MPS) == torch.float32


class _NoFloat64(TorchDispatchMode):
    """Refuse what Apple's GPU refuses."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        made = [one.dtype for one in tree_leaves(found) if isinstance(one, torch.Tensor)]
        assert torch.float64 not in made, f"{func} makes float64"
        return found


@pytest.fixture
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let float32 be the widest type that the CPU has."""
    monkeypatch.setattr("nn_layers.positions.widest_float", lambda _: torch.float32)
    monkeypatch.setattr("trainer.evaluation.loss.widest_float", lambda _: torch.float32)


_STEPS = [
    pytest.param(
        *choices, marks=() if choices == ("adamw", "sdpa", "chunked") else pytest.mark.matrix
    )
    for choices in product(
        ("adamw", "muon", "sgd"), ("sdpa", "matmul", "plain"), ("chunked", "plain", "in-place")
    )
]


def _loss_of_second_step(
    config: RunConfig, plan: ComputePlan, mode: AbstractContextManager[object]
) -> float:
    model = build_model(config, vocab_size=50, device=CPU, attention=plan.attention)
    stepper = build_stepper(
        model,
        config.optimizer.build(model, dtype=plan.dtype),
        config=config,
        tokens=np.arange(100, dtype=np.uint16) % 50,
        device=CPU,
        plan=plan,
    )
    with mode:
        stepper.step(1, 1e-3)
        return float(stepper.step(2, 1e-3).loss)


@pytest.mark.parametrize(("optimizer", "attention", "loss"), _STEPS)
def test_steps_need_no_float64(
    optimizer: str, attention: str, loss: str, request: pytest.FixtureRequest
) -> None:
    choices = ("--model.attention", attention, "--training.loss", loss)
    config = parse_train([*TINY, *choices, "--optimizer.name", optimizer]).config
    plan = plan_compute(config, device=MPS)
    expected = _loss_of_second_step(config, plan, nullcontext())
    request.getfixturevalue("_narrow")
    found = _loss_of_second_step(config, plan, _NoFloat64())
    assert found == pytest.approx(expected, rel=1e-5)


def test_scores_and_samples_need_no_float64_on_the_device(request: pytest.FixtureRequest) -> None:
    config = parse_train(list(TINY)).config
    model, tokens = build_model(config, vocab_size=50, device=CPU), np.arange(100) % 50
    sizes = {"num_windows": 4, "context_length": 8, "batch_size": 2, "device": CPU}
    expected = evaluate_windows(model, tokens, **sizes)
    request.getfixturevalue("_narrow")
    model = model.to("cpu")
    decoder = CachedDecoder(model.eval())
    with _NoFloat64():
        found = evaluate_windows(model, tokens, **sizes)
        decoder({0: [1, 2, 3]})
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.usefixtures("_narrow")
def test_the_rotary_tables_lose_no_digits_that_float32_has() -> None:
    rope, angle = RotaryPositionalEmbedding(10_000.0, 4, 8), 7 * 10_000.0 ** (-2 / 4)
    assert rope.cos.dtype == rope.sin.dtype == torch.float32
    assert rope.cos[7, 1] == torch.tensor(math.cos(angle), dtype=torch.float64).float()


def test_the_rotary_tables_are_narrowed_before_they_move(monkeypatch: pytest.MonkeyPatch) -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 4, 8)
    expected = rope.cos.float()
    monkeypatch.setattr("nn_layers.positions.widest_float", lambda _: torch.float32)

    def move(tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.dtype != torch.float64
        return tensor.clone()

    assert torch.equal(rope._apply(move).cos, expected)


@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
def test_a_run_of_another_device_is_loaded_for_mps_in_float32(asked: str) -> None:
    assert loaded_dtype(asked, MPS) == torch.float32
    assert loaded_dtype(asked, CPU) == resolve_dtype(asked, CPU)


def test_only_pinned_memory_is_copied_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, to = [], torch.Tensor.to

    def spy(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        seen.append((device.type, non_blocking))
        return to(tensor, "cpu")

    monkeypatch.setattr(torch.Tensor, "to", spy)
    starts = np.zeros(2, dtype=np.int64)
    read_windows(np.arange(9), starts=starts, context_length=4, device=MPS)
    assert seen == [("mps", False)]


@pytest.mark.parametrize(("kind", "waits"), [("cpu", 0), ("mps", 1), ("cuda", 1)])
def test_every_device_but_the_cpu_is_waited_for(
    kind: str, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr("torch.accelerator.synchronize", waited.append)
    wait_for(torch.device(kind))
    assert waited == [torch.device(kind)] * waits
