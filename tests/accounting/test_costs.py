"""Optimizers, time, inference, scaling and plans: each against something that knows."""

import math
from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from accounting import PRESETS, ModelShape, StepSettings, forward_flops, memory, training_flops
from accounting.hardware import DEVICES, find_device
from accounting.inference import decode_flops, inference, kv_cache_bytes
from accounting.optimizer import optimizer_cost
from accounting.plan import Budget, propose
from accounting.scaling import (
    APPROACHES,
    Approach,
    effective_tokens,
    optimal_allocation,
    predicted_loss,
)
from accounting.step import Optimizer, UpdateRule
from accounting.time import Progress, remaining_time, training_time
from nn_layers import KVCache, ModelConfig, TransformerLM
from optim import SGD, AdamW, Muon, muon_groups

SIZES = {
    "vocab_size": 40,
    "context_length": 16,
    "d_model": 24,
    "num_layers": 2,
    "num_heads": 4,
    "d_ff": 32,
}
XL = PRESETS["gpt2-xl"]


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("num_kv_heads", [None, 2])
def test_an_update_costs_what_torch_counts_and_keeps(name: str, num_kv_heads: int | None) -> None:
    model = TransformerLM(ModelConfig(**SIZES, num_kv_heads=num_kv_heads))
    parameters = model.parameters()
    optimizer = {
        "adamw": lambda: AdamW(parameters),
        "sgd": lambda: SGD(parameters),
        "muon": lambda: Muon(muon_groups(model, weight_decay=0.1)),
    }[name]()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    cost = optimizer_cost(ModelShape(**SIZES, num_kv_heads=num_kv_heads), name)
    tensors = [t for state in optimizer.state.values() for t in state.values()]
    assert cost.matrix_flops == counter.get_total_flops()
    assert cost.state_bytes == sum(t.numel() * 4 for t in tensors if torch.is_tensor(t) and t.dim())


def test_an_optimizer_that_has_no_name_here_is_described() -> None:
    shape = ModelShape(**SIZES)
    rule = UpdateRule(flops=8, state=("exp_avg",), workspace=1)
    lion = Optimizer(name="Lion", rule=rule)
    cost, adamw = optimizer_cost(shape, lion), optimizer_cost(shape, "adamw")
    assert (2 * cost.state_bytes, cost.matrix_flops) == (adamw.state_bytes, 0)
    assert (cost.elementwise_flops - cost.clipping_flops) * 14 == 8 * (
        adamw.elementwise_flops - adamw.clipping_flops
    )
    ours, theirs = (memory(shape, StepSettings(optimizer=one)) for one in (lion, "adamw"))
    assert 2 * ours.optimizer_state == theirs.optimizer_state == 2 * ours.weights
    assert ours.peak <= theirs.peak - ours.optimizer_state
    with pytest.raises(ValueError, match="optimizer is 'lion', but must be one of 'adamw'"):
        StepSettings(optimizer="lion")


def test_the_worked_example_takes_its_days() -> None:
    tokens = 400_000 * 1024 * 1024
    speed = find_device("A100").peak("float32") * 0.5
    days = {
        convention: training_time(XL, tokens, flops_per_second=speed, convention=convention).days
        for convention in ("counter", "model")
    }
    assert {name: round(value, 1) for name, value in days.items()} == {
        "counter": 6583.6,
        "model": 6348.6,
    }


def test_evaluation_and_warm_up_take_time_too() -> None:
    tokens = 1024 * 100
    plain = training_time(XL, tokens, flops_per_second=1e12)
    longer = training_time(
        XL, tokens, flops_per_second=1e12, evaluation_tokens=tokens, warm_up_seconds=7
    )
    assert longer.seconds == pytest.approx(plain.seconds * 4 / 3 + 7)
    assert longer.tokens_per_second == plain.tokens_per_second
    assert longer.kilowatt_hours(1000) == pytest.approx(longer.seconds / 3600)
    assert longer.cost(2.0) == pytest.approx(longer.seconds / 1800)


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        training_time(XL, 1, flops_per_second=0.0)


def test_what_is_left_of_a_run_follows_its_own_progress() -> None:
    # Loading took 30 s before the first moment; an evaluation after every 100 steps takes 5 s.
    progress = [
        Progress(1000 * step, 30 + 0.1 * step + step // 100 * 5, 10_000.0) for step in range(1, 301)
    ]
    left = remaining_time(progress, total_tokens=1_000_000)
    assert left.seconds == pytest.approx(700 * 0.1 + 7 * 5, rel=0.03)
    assert left.tokens_per_second == 10_000.0


@pytest.mark.parametrize("num", [0, 1])
def test_too_little_progress_is_refused(num: int) -> None:
    with pytest.raises(ValueError, match="too few"):
        remaining_time([Progress(1, 1.0, 1.0)] * num, total_tokens=5)


@pytest.mark.parametrize("num_kv_heads", [None, 2, 1])
def test_the_cache_and_decoding_cost_what_the_model_does(num_kv_heads: int | None) -> None:
    config = ModelConfig(**SIZES, num_kv_heads=num_kv_heads, attention="plain")
    shape, model = ModelShape(**SIZES, num_kv_heads=num_kv_heads), TransformerLM(config)
    cache, length = KVCache(config, batch_size=3), 9
    with torch.no_grad():
        model(torch.zeros(3, length - 1, dtype=torch.int64), cache=cache)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(3, 1, dtype=torch.int64), cache=cache)
    assert counter.get_total_flops() == 3 * decode_flops(shape, num_tokens=length)
    buffers = [one for layer in range(config.num_layers) for one in cache.buffers(layer)]
    held = sum(one.numel() * one.element_size() for one in buffers)
    assert held == 3 * kv_cache_bytes(shape, num_tokens=shape.context_length, itemsize=4)


def test_bandwidth_bounds_the_tokens_a_second() -> None:
    shape = PRESETS["tinystories"]
    found = inference(shape, prompt_tokens=256, weight_bytes=2, cache_bytes=2, bytes_per_second=1e9)
    assert found.cache_bytes == 2 * 4 * 512 * 256 * 2
    assert found.read_bytes == 2 * 17_571_840 + found.cache_bytes
    assert found.tokens_per_second == pytest.approx(1e9 / found.read_bytes)
    assert found.prefill_flops == forward_flops(shape).total
    many = inference(shape, prompt_tokens=256, batch_size=8, bytes_per_second=1e9)
    assert many.tokens_per_second > 5 * found.tokens_per_second


def test_a_sliding_window_bounds_the_cache() -> None:
    shape = ModelShape(**SIZES, sliding_window=4)
    whole = ModelShape(**SIZES)
    assert kv_cache_bytes(shape, num_tokens=16, itemsize=2) * 4 == kv_cache_bytes(
        whole, num_tokens=16, itemsize=2
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt_tokens": 0},
        {"prompt_tokens": 17},
        {"prompt_tokens": 1, "batch_size": 0},
        {"prompt_tokens": 16, "new_tokens": 1},
    ],
)
def test_impossible_sequences_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="tokens"):
        inference(ModelShape(**SIZES), **arguments)


# Rows of tables 3 and A3 of Hoffmann et al.: FLOPs, parameters, tokens.
ROWS = {
    "training-curves": [(1.92e19, 400e6, 8.0e9), (1.21e20, 1e9, 20.2e9), (1.23e22, 10e9, 205.1e9)],
    "isoflop": [(1.84e19, 400e6, 7.7e9), (1.20e20, 1e9, 20.0e9), (1.32e22, 10e9, 219.5e9)],
    "parametric": [(2.21e19, 400e6, 9.2e9), (1.62e20, 1e9, 27.1e9), (2.46e22, 10e9, 410.1e9)],
}


@pytest.mark.parametrize("approach", APPROACHES)
def test_each_fit_says_what_its_authors_tables_say(approach: str) -> None:
    for flops, parameters, tokens in ROWS[approach]:
        best = optimal_allocation(flops, approach)
        assert best.parameters == pytest.approx(parameters, rel=0.35), flops
        assert best.tokens == pytest.approx(tokens, rel=0.35), flops
        assert 6 * best.parameters * best.tokens == pytest.approx(flops)


def test_the_parametric_fit_is_least_at_its_own_optimum() -> None:
    flops = 1e21
    best = optimal_allocation(flops, "parametric")
    for factor in (0.8, 1.25):
        size = best.parameters * factor
        assert predicted_loss(size, flops / 6 / size) > predicted_loss(best.parameters, best.tokens)


@pytest.mark.parametrize("flops", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_budget_is_refused(flops: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        optimal_allocation(flops, "parametric")


def test_repeated_tokens_are_worth_less_and_less() -> None:
    worth = [effective_tokens(n * 1e9, unique_tokens=1e9) for n in (1, 2, 4, 16, 64, 1000)]
    gains = [later - earlier for earlier, later in pairwise(worth)]
    assert worth[0] == 1e9
    assert worth[2] > 0.9 * 4e9
    assert worth[-1] < 17e9
    assert all(gain > 0 for gain in gains)


@pytest.mark.parametrize("approach", APPROACHES)
def test_a_plan_spends_its_budget_and_fits(approach: Approach) -> None:
    budget = Budget(hours=0.02, peak_flops_per_second=2e11, memory_bytes=2e9)
    plan = propose(budget, approach=approach, vocab_size=2048)
    assert plan.peak_memory_bytes <= 0.9 * budget.memory_bytes
    assert training_flops(plan.shape, plan.num_tokens) == pytest.approx(budget.flops, rel=0.1)


def test_a_budget_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="hours is 0"):
        Budget(hours=0, peak_flops_per_second=1e12, memory_bytes=1e9)
    tiny = Budget(hours=1, peak_flops_per_second=1e12, memory_bytes=1e6)
    with pytest.raises(ValueError, match="no model fits"):
        propose(tiny)


def test_every_device_says_where_its_figures_are_from() -> None:
    for device in DEVICES.values():
        assert device.datasheet
        peaks = [device.peak(dtype) for dtype in ("bfloat16", "tf32", "float32")]
        known = [peak for peak in peaks if peak is not None]
        assert known == sorted(known, reverse=True)
    with pytest.raises(ValueError, match=r"did you mean 'H200'.*A100.*--peak-tflops"):
        find_device("H20")
