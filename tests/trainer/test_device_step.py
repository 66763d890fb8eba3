import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from trainer.checkpoint.packing import pack_model, pack_optimizer, unpack_optimizer
from trainer.config.presets import load_preset
from trainer.config.run_config import RunConfig
from trainer.plan.compute import ComputePlan, plan_compute
from trainer.plan.model import build_model
from trainer.training.device_step import _GraphRunner
from trainer.training.learner import _device_stepper
from trainer.training.model_loss import build_loss
from trainer.training.step import EagerStepper, host_windows

CPU = torch.device("cpu")
TOKENS = np.random.default_rng(0).integers(300, size=2000).astype(np.uint16)


def _config(**model: Any) -> RunConfig:
    preset = load_preset("quickstart")
    small = {"context_length": 8, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 32}
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, **small | model),
        training=dataclasses.replace(preset.training, batch_size=4, micro_batch_size=2),
    )


class _Run:
    """A model, its optimizer and a stepper of one of the two kinds."""

    def __init__(self, config: RunConfig, *, is_plain: bool = False, **plan: Any) -> None:
        choices = {"dtype": torch.float32, "loss": "plain", "compile": False} | plan
        plan = ComputePlan(attention="sdpa", **choices)
        self.model = build_model(config, vocab_size=300, device=CPU, attention="sdpa")
        self.optimizer = config.optimizer.build(self.model)
        if is_plain:
            self.stepper = EagerStepper(
                self.model,
                self.optimizer,
                config=config,
                windows=host_windows(TOKENS, config=config, device=CPU),
                loss_of=build_loss(self.model, plan=plan, device=CPU),
            )
        else:
            self.stepper = _device_stepper(
                self.model, self.optimizer, config=config, tokens=TOKENS, device=CPU, plan=plan
            )

    def steps(self, first: int, last: int) -> list[list[float]]:
        results = [self.stepper.step(step, 1e-3 * step) for step in range(first, last + 1)]
        return [[float(result.loss), float(result.grad_norm)] for result in results]


@pytest.mark.parametrize("model", [{}, {"tie_embeddings": True, "qk_norm": True}])
def test_device_steps_are_the_plain_steps(model: dict[str, Any]) -> None:
    config = _config(**model)
    plain, ours = _Run(config, is_plain=True), _Run(config)
    assert ours.steps(1, 6) == pytest.approx(np.array(plain.steps(1, 6)), rel=1e-4)
    for one, other in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        # By norm: where a gradient is about zero, AdamW makes a step of its rounding error.
        assert float((one - other).detach().norm() / other.detach().norm()) < 1e-5


@pytest.mark.parametrize("loss", ["plain", "chunked"])
def test_narrow_device_steps_stay_as_close_as_plain_narrow_steps(loss: str) -> None:
    config = _config()
    losses = {
        name: np.array(run.steps(1, 8))[:, 0]
        for name, run in {
            "wide": _Run(config, is_plain=True),
            "plain": _Run(config, is_plain=True, dtype=torch.bfloat16),
            "ours": _Run(config, dtype=torch.bfloat16, loss=loss),
        }.items()
    }
    drift = np.abs(losses["plain"] - losses["wide"]).max()
    assert np.abs(losses["ours"] - losses["wide"]).max() <= 2 * drift + 1e-3


def test_state_names_and_shapes_are_those_of_a_plain_run() -> None:
    config = _config()
    plain, ours = _Run(config, is_plain=True), _Run(config)
    plain.steps(1, 1), ours.steps(1, 1)
    packers = (
        lambda run: pack_model(run.model),
        lambda run: pack_optimizer(run.optimizer, run.model),
    )
    for pack in packers:
        (tensors, rest), (expected, expected_rest) = pack(ours), pack(plain)
        assert rest == expected_rest
        assert {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in expected.items()}


def test_a_resumed_run_takes_the_same_steps_bit_for_bit() -> None:
    config = _config()
    whole, first, second = _Run(config), _Run(config), _Run(config)
    expected = whole.steps(1, 6)
    first.steps(1, 3)
    tensors, rest = pack_optimizer(first.optimizer, first.model)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(
        unpack_optimizer(tensors, rest, second.optimizer, second.model, source="test")
    )
    assert second.steps(4, 6) == expected[3:]


def test_a_checkpoint_loaded_after_the_first_step_is_refused() -> None:
    run = _Run(_config())
    run.steps(1, 1)
    run.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    with pytest.raises(ValueError, match="replaced after the first step"):
        run.steps(2, 2)


def test_a_loss_that_is_not_finite_keeps_the_weights_and_is_told() -> None:
    run = _Run(_config())
    run.steps(1, 2)
    run.model.ln_final.weight.data[0] = float("nan")
    before = run.model.token_embeddings.weight.clone()
    results = run.steps(3, 5)
    assert np.isnan(results).all()
    assert torch.equal(run.model.token_embeddings.weight, before)


def test_results_stay_readable_while_steps_go_on() -> None:
    run, other = _Run(_config()), _Run(_config())
    kept = [run.stepper.step(step, 1e-3 * step) for step in (1, 2, 3)]
    assert [float(result.loss) for result in kept] == [row[0] for row in other.steps(1, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_compiled_device_steps_are_the_plain_steps(activation_checkpointing: bool) -> None:
    config = _config()
    plain, ours = _Run(config, is_plain=True), _Run(config, compile=True)
    ours.model.activation_checkpointing = activation_checkpointing
    assert ours.steps(1, 6) == pytest.approx(np.array(plain.steps(1, 6)), rel=1e-4)


class _FakeGraph:
    """Stands in for a CUDA graph: remembers what was captured, and runs it to replay it."""

    captured: ClassVar[list["_FakeGraph"]] = []

    def replay(self) -> None:
        self.program.run(self.batches)
        self.replays += 1


@contextmanager
def _capturing(graph: _FakeGraph, **_: Any) -> Iterator[None]:
    graph.replays = 0
    _FakeGraph.captured.append(graph)
    yield


def test_each_cut_of_the_batch_warms_up_then_is_captured_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_FakeGraph, "captured", [])
    stream = SimpleNamespace(wait_stream=lambda _: None)
    for name, fake in {
        "Stream": lambda _: stream,
        "current_stream": lambda: stream,
        "stream": lambda _: nullcontext(),
        "device": lambda _: nullcontext(),
        "graph_pool_handle": lambda: (0, 0),
        "CUDAGraph": _FakeGraph,
        "graph": _capturing,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    ran, capturing = [], _FakeGraph.captured

    class Program:
        def run(self, batches: tuple[range, ...]) -> None:
            ran.append(batches)
            if capturing and not hasattr(capturing[-1], "program"):
                capturing[-1].program, capturing[-1].batches = self, batches
                ran.pop()  # to capture is not to run

    runner, program = _GraphRunner(CPU), Program()
    first, second = (range(4),), (range(4), range(4, 8))
    order = [first] * 6 + [second] * 5 + [first]
    for batches in order:
        runner(program, batches)
    assert ran == order
    assert [(g.batches, g.replays) for g in capturing] == [(first, 4), (second, 2)]


@pytest.fixture
def _choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ComputePlan]:
    """Plan for a CUDA device, on which kernels are kept from running by a reason, or not."""

    def choose(
        config: RunConfig | None = None,
        *,
        why_no_kernels: str | None = None,
        why_no_attention: str | None = None,
    ) -> ComputePlan:
        for user in ("trainer.plan.compute", "nn_layers.backends.loss.triton"):
            monkeypatch.setattr(f"{user}.why_no_kernels", lambda device: why_no_kernels)
        attention = "nn_layers.backends.attention.triton.why_no_rotary_attention"
        monkeypatch.setattr(attention, lambda device, **_: why_no_attention)
        return plan_compute(config or load_preset("quickstart"), device=torch.device("cuda"))

    return choose


def test_auto_on_cuda_takes_kernels_and_a_graph(_choose: Callable[..., ComputePlan]) -> None:
    plan = _choose()
    assert (plan.attention, plan.loss, plan.compile) == ("triton", "triton", True)
    assert plan.notes == ()


def test_auto_on_cuda_says_what_it_has_to_do_without(_choose: Callable[..., ComputePlan]) -> None:
    plan = _choose(why_no_kernels="no triton", why_no_attention="no triton")
    assert (plan.attention, plan.loss, plan.compile) == ("sdpa", "plain", False)
    assert len(plan.notes) == 3
    assert all("slower: no triton" in note for note in plan.notes)


def test_an_optimizer_that_no_graph_takes_is_said(_choose: Callable[..., ComputePlan]) -> None:
    preset = load_preset("quickstart")
    sgd = dataclasses.replace(preset.optimizer, name="sgd")
    plan = _choose(dataclasses.replace(preset, optimizer=sgd))
    assert "only those of adamw can be" in plan.notes[0]


def test_float32_on_cuda_has_torchs_attention(_choose: Callable[..., ComputePlan]) -> None:
    plan = _choose(dataclasses.replace(load_preset("quickstart"), dtype="float32"))
    assert plan.attention == "sdpa"
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("model", "attention", "triton"),
        ("training", "loss", "triton"),
        ("training", "compile", "on"),
    ],
)
def test_what_was_asked_for_and_cannot_run_on_cuda_is_an_error(
    section: str, field: str, value: str, _choose: Callable[..., ComputePlan]
) -> None:
    preset = load_preset("quickstart")
    changed = dataclasses.replace(getattr(preset, section), **{field: value})
    with pytest.raises(ValueError, match=f"{section}.{field} is {value}, but no triton; use auto"):
        _choose(
            dataclasses.replace(preset, **{section: changed}),
            why_no_kernels="no triton",
            why_no_attention="no triton",
        )
