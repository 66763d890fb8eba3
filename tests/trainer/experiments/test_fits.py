"""A trial is begun only where accounting's peak fits, and lists go on as far as that."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.optimizers import OPTIMIZER_NAMES
from trainer.config.presets import load_preset, with_values
from trainer.experiments import Over, parse_over
from trainer.experiments.memory_check import why_too_large
from trainer.experiments.open_ended import close_list
from trainer.plan import estimate
from trainer.plan.compute import plan_compute
from trainer.plan.estimate import device_bytes, expect_run, predict_peak_bytes
from trainer.plan.model import build_model

CPU = torch.device("cpu")
BASE = with_values(
    load_preset("quickstart"),
    {"device": "cpu", "tokenizer.vocab_size": 300, "model.context_length": 16, "model.d_model": 16,
     "model.num_layers": 1, "model.num_heads": 2, "model.d_ff": 32, "training.batch_size": 4,
     "evaluation.batch_size": 1},
    origin="test",
)  # fmt: skip
BATCHES = parse_over("training.batch-size=1,8,64,128,...")


def _peak(batch_size: int) -> int:
    return predict_peak_bytes(with_values(BASE, {"training.batch_size": batch_size}, origin="test"))


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_a_run_that_is_not_there_is_predicted_as_the_run_itself_is(name: str) -> None:
    config = with_values(BASE, {"optimizer.name": name, "schedule.name": "constant"}, origin="test")
    model = build_model(config, vocab_size=300, device=CPU)
    plan = plan_compute(config, device=CPU)
    optimizer = config.optimizer.build(model, dtype=plan.dtype)
    run = expect_run(config, model, optimizer, plan=plan, device=CPU)
    assert predict_peak_bytes(config) == pytest.approx(run.peak_memory_bytes, abs=64)


def test_a_verdict_names_both_figures() -> None:
    reason = why_too_large(BASE, memory_bytes=1000)
    assert reason is not None and reason.endswith("but 0.0 MB are available")
    assert f"peak memory is {predict_peak_bytes(BASE) / 1e6:.1f} MB" in reason
    assert why_too_large(BASE, memory_bytes=predict_peak_bytes(BASE)) is None
    assert why_too_large(BASE, memory_bytes=predict_peak_bytes(BASE) - 1) is not None


def test_the_memory_of_a_container_is_its_limit(monkeypatch, tmp_path) -> None:
    files = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(estimate, "_LIMITS", files)
    whole = device_bytes(CPU)
    for path, text in zip(files, ("12345678\n", "1000\n"), strict=True):
        path.write_text(text)
    assert device_bytes(CPU) == 12345678
    files[0].write_text("max\n")
    assert device_bytes(CPU) == whole


@settings(max_examples=15, deadline=None)
@given(st.integers(_peak(128), _peak(2048)))
def test_a_list_goes_on_to_the_last_that_fits(memory_bytes: int) -> None:
    closed, note = close_list(
        BATCHES,
        BASE,
        why_too_large=lambda config: why_too_large(config, memory_bytes=memory_bytes),
        is_equal_tokens=False,
    )
    assert closed.values[:4] == (1, 8, 64, 128) and not closed.goes_on
    assert all(b == 2 * a for a, b in zip(closed.values[3:], closed.values[4:], strict=False))
    last = closed.values[-1]
    assert _peak(last) <= memory_bytes < _peak(2 * last)
    assert note.startswith(f"training.batch-size ends at {last}: at {2 * last}, ")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training.batch-size=1,8,64,128,...,512", (1, 8, 64, 128, 256, 512)),
        ("training.batch-size=1,8,64,128,...,500", (1, 8, 64, 128, 256)),
        ("training.batch-size=2,3,...,11", (2, 3, 4, 7, 10)),
        ("optimizer.learning-rate=1e-3,2e-3,...,9e-3", (1e-3, 2e-3, 4e-3, 8e-3)),
        ("training.batch-size=1,4,...", (1, 4, 16, 64, 256, 1024)),  # 1600 windows in all
    ],
)
def test_a_list_ends_at_what_was_named_or_at_all_tokens(
    text: str, values: tuple[float, ...]
) -> None:
    closed, _ = close_list(parse_over(text), BASE, why_too_large=lambda _: None)
    assert closed.values == values


def test_a_list_that_memory_does_not_end_is_refused() -> None:
    over = Over("optimizer.learning-rate", (1e-3, 2e-3), goes_on=True)
    with pytest.raises(ValueError, match="has no end: 40 more values all fit"):
        close_list(over, BASE, why_too_large=lambda _: None)


HOPELESS = "... 1,... 8,1,... 1,a,... 0,1,... 1,2,...,... 1,2,...,x 1,2,...,4,8"
HOPELESS += " 1,2,...,2 1,true,... ...,1,2"


@pytest.mark.parametrize("listed", HOPELESS.split())
def test_a_list_that_cannot_go_on_is_refused_and_shown(listed: str) -> None:
    with pytest.raises(ValueError, match=r"--over 'a\.b=") as caught:
        parse_over(f"a.b={listed}")
    assert listed in str(caught.value)


def test_dots_are_no_range() -> None:
    assert parse_over("a.b=1,2,...") == Over("a.b", (1, 2), goes_on=True)
    assert math.isclose(parse_over("a.b=1..4:log:3").values[1], 2)
