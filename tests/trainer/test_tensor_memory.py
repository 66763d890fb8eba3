"""Memory as it was predicted, beside what torch's allocator logged in the trainer's own steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nn_layers.backends.cpu.kernels import why_no_native_kernels
from trainer.checkpoint.run_checkpoint import take_snapshot, write_checkpoint
from trainer.config.presets import load_preset, with_values
from trainer.config.run_config import RunConfig
from trainer.evaluation.loss import evaluate_windows
from trainer.plan.compute import plan_compute
from trainer.plan.estimate import compare_with_facts, expect_run
from trainer.plan.learning_rate import learning_rate
from trainer.plan.model import build_model
from trainer.plan.tensor_memory import TensorWatch
from trainer.training.learner import build_stepper

CPU = torch.device("cpu")
VOCABULARY = 700
OFF_BY = 0.05
"""What a prediction may be off by, as docs/accounting.md says; in float32 a thousandth."""
BASE = {
    **{"device": "cpu", "dtype": "float32", "training.compile": "off", "training.max_steps": 3},
    **{"model.d_model": 64, "model.num_layers": 3, "model.num_heads": 4, "model.d_ff": 160},
    **{"model.context_length": 64, "training.batch_size": 8, "evaluation.batch_size": 8},
    **{"model.attention": "matmul", "training.loss": "chunked"},
}
LARGER = {
    **{"model.d_model": 192, "model.num_layers": 4, "model.num_heads": 6, "model.d_ff": 512},
    **{"model.context_length": 128, "training.batch_size": 16, "evaluation.batch_size": 32},
}
NATIVE = {"model.attention": "native", "training.loss": "native"}
MATRIX = [
    {},
    *({"model.attention": one} for one in ("plain", "sdpa")),
    *({"training.loss": one} for one in ("plain", "in-place")),
    {"model.attention": "plain", "training.loss": "plain"},
    {"training.micro_batch_size": 2},
    {"training.micro_batch_size": 4, "training.loss": "plain"},
    {"training.activation_checkpointing": True},
    {"training.activation_checkpointing": True, "model.attention": "plain"},
    *({"model.norm": one} for one in ("post", "none")),
    {"model.position": "none"},
    {"evaluation.batch_size": 64, "model.tie_embeddings": True},
    LARGER | {"training.batch_size": 2, "evaluation.batch_size": 32},
    {"model.feed_forward": "silu"},
    {"model.tie_embeddings": True},
    {"model.qk_norm": True},
    *({"model.num_kv_heads": one} for one in (1, 2)),
    *({"optimizer.name": one} for one in ("muon", "sgd")),
    {"dtype": "bfloat16"},
    {"dtype": "bfloat16", "training.loss": "plain"},
    LARGER,
    LARGER | {"training.loss": "plain", "model.attention": "plain"},
    LARGER | {"training.micro_batch_size": 4},
    LARGER | {"optimizer.name": "muon"},
]
WITH_KERNELS = [
    NATIVE,
    NATIVE | {"dtype": "bfloat16"},
    NATIVE | {"model.qk_norm": True, "model.num_kv_heads": 2},
    NATIVE | {"training.activation_checkpointing": True},
    NATIVE | {"training.micro_batch_size": 2, "optimizer.name": "sgd"},
    NATIVE | LARGER,
]


def _named(case: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in case.items()) or "the base"


def _run(config: RunConfig, folder: Path) -> tuple[float, float | None]:
    """Take three steps, an evaluation and a checkpoint; return what was expected and found."""
    model = build_model(config, vocab_size=VOCABULARY, device=CPU, attention=config.model.attention)
    plan = plan_compute(config, device=CPU)
    optimizer = config.optimizer.build(model, dtype=plan.dtype)
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=20_000).astype(np.uint16)
    stepper = build_stepper(model, optimizer, config=config, tokens=tokens, device=CPU, plan=plan)
    expectation = expect_run(config, model, optimizer, plan=plan, device=CPU)
    assert expectation.watch is not None
    for step in range(1, config.training.max_steps + 1):
        with expectation.watch.step(is_full=True):
            stepper.step(step, learning_rate(config, step))
    evaluate_windows(
        model,
        tokens,
        num_windows=config.evaluation.batch_size,
        context_length=config.model.context_length,
        batch_size=config.evaluation.batch_size,
        device=CPU,
        dtype=plan.dtype,
        around_first=expectation.watch.evaluation("evaluation"),
    )
    snapshot = take_snapshot(
        step=config.training.max_steps, model=model, optimizer=optimizer, state={}, config_toml=""
    )
    memory, _ = compare_with_facts(expectation, write_checkpoint(folder, snapshot))
    return memory.expected, memory.found


def _hold(case: dict[str, object], folder: Path) -> None:
    config = with_values(load_preset("quickstart"), BASE | case, origin="test")
    expected, found = _run(config, folder)
    off_by = OFF_BY if config.dtype == "bfloat16" else 0.001
    assert expected == pytest.approx(found, rel=off_by)


def test_tensors_take_what_was_expected(tmp_path: Path) -> None:
    # Two layers, and an evaluation that is larger than a step.
    _hold({"model.num_layers": 2, "training.batch_size": 2, "evaluation.batch_size": 64}, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize("case", MATRIX, ids=_named)
def test_tensors_take_what_was_expected_in_every_way(
    case: dict[str, object], tmp_path: Path
) -> None:
    _hold(case, tmp_path)


@pytest.mark.matrix
@pytest.mark.skipif(
    why_no_native_kernels(torch.bfloat16) is not None, reason="this CPU has no own kernels"
)
@pytest.mark.parametrize("case", WITH_KERNELS, ids=_named)
def test_tensors_take_what_was_expected_with_own_kernels(
    case: dict[str, object], tmp_path: Path
) -> None:
    _hold(case, tmp_path)


def test_the_watch_counts_what_lives_at_once_on_top_of_the_weights() -> None:
    model = torch.nn.Linear(10, 10, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    watch = TensorWatch(model, optimizer)
    with watch.step(is_full=True):
        model(torch.ones(2, 10)).sum().backward()
        optimizer.step()
    assert watch.peak_bytes is None  # the first makes the state
    with watch.step(is_full=False):
        pass
    assert watch.peak_bytes is None
    with watch.step(is_full=True):
        kept = torch.ones(1000)
        del kept
        kept = [torch.ones(300), torch.ones(500)]
    assert watch.peak_bytes == 4 * (100 + 100 + 1000)
    with watch.evaluation("one"):
        kept = [torch.ones(2000)]
    assert watch.peak_bytes == 4 * (100 + 100 + 2000)
    with watch.evaluation("one"):
        kept += [torch.ones(9000)]
    assert watch.peak_bytes == 4 * (100 + 100 + 2000)


def test_the_watch_leaves_a_profiler_alone() -> None:
    model = torch.nn.Linear(10, 10)
    watch = TensorWatch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with torch.autograd.profiler.profile(use_kineto=False), watch.evaluation("one"):
        model(torch.ones(2, 10))
    with watch.step(is_full=True), watch.evaluation("two"):
        model(torch.ones(2, 10))
    assert watch.peak_bytes is None
