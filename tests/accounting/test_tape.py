"""The tape: who holds what, and for how long."""

from dataclasses import replace

import pytest

from accounting import PRESETS, ModelShape, StepSettings, largest_batch, memory
from accounting.autograd.layers import TracedModel, legend
from accounting.autograd.losses import traced_loss
from accounting.autograd.tape import Tape
from accounting.course_memory import listed_memory
from accounting.memory import linear_in_batch, peak_bytes

XL = PRESETS["gpt2-xl"]
SHAPE = ModelShape(
    vocab_size=90, context_length=32, d_model=24, num_layers=3, num_heads=4, d_ff=48, num_kv_heads=2
)


@pytest.mark.parametrize("attention", ["sdpa", "plain", "matmul", "native"])
@pytest.mark.parametrize("loss", ["plain", "in-place", "chunked", "native", "triton"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_frees_all_but_weights_and_gradients(
    attention: str, loss: str, checkpointing: bool
) -> None:
    settings = StepSettings(attention=attention, loss=loss, checkpointing=checkpointing)
    tape = Tape(legend(SHAPE, settings))
    model = TracedModel(SHAPE, settings, tape)
    before = tape.live_bytes
    value = traced_loss(model, settings.loss)
    tape.backward(value)
    del value
    gradients = tape.live_bytes - before
    weights = sum(tape.size(weight.dims) * 4 for weight in model.weights)
    assert gradients == weights
    tape.drop_gradients()
    assert tape.live_bytes == before


def test_the_lines_of_the_peak_add_up_to_it() -> None:
    for settings in (StepSettings(), StepSettings(checkpointing=True, optimizer="muon")):
        found = memory(SHAPE, settings)
        assert sum(line.total_bytes for line in found.peak_lines) == found.peak
        assert sum(line.total_bytes for line in found.kept_lines) == found.activations


def test_adamw_takes_four_and_eight_bytes_a_parameter() -> None:
    found = memory(XL)
    assert found.gradients == found.weights == 4 * 2_127_057_600
    assert found.optimizer_state == 8 * 2_127_057_600


def test_the_peak_is_a_straight_line_from_some_batch_on() -> None:
    for settings in (StepSettings(), StepSettings(attention="plain", dtype="bfloat16")):
        line = linear_in_batch(SHAPE, settings)
        for batch in (line.from_batch, 3 * line.from_batch + 1, 1000 * line.from_batch):
            ours = peak_bytes(SHAPE, StepSettings(**_with(settings, batch_size=batch)))
            assert ours == line.bytes_per_window * batch + line.constant_bytes


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    for limit in (10**5, 10**6, 10**7, 10**9):
        best = largest_batch(SHAPE, StepSettings(), memory_bytes=limit)
        assert peak_bytes(SHAPE, StepSettings(batch_size=best + 1)) > limit
        assert best == 0 or peak_bytes(SHAPE, StepSettings(batch_size=best)) <= limit


def test_cs336s_list_gives_its_line() -> None:
    a, b = listed_memory(XL, year=2025)
    t, d, f, v, heads = 1024, 1600, 6400, 50257, 25
    block = t * (8 * d + 2 * f) + 2 * heads * t * t
    assert a == 4 * (48 * block + t * d + 2 * t * v)
    assert b == 16 * 2_127_057_600
    assert (80 * 10**9 - b) // a == 2


def test_the_list_of_2026_has_both_gates_products_and_no_gate_where_there_is_none() -> None:
    wide = 4 * 48 * 1024 * XL.d_ff
    assert listed_memory(XL, year=2026)[0] - listed_memory(XL, year=2025)[0] == 2 * wide
    plain = replace(XL, feed_forward="silu")
    assert listed_memory(plain, year=2026) == listed_memory(plain, year=2025)


def test_checkpointing_and_chunks_keep_less() -> None:
    plain = memory(XL, StepSettings(batch_size=4))
    checkpointed = memory(XL, StepSettings(batch_size=4, checkpointing=True))
    chunked = memory(XL, StepSettings(batch_size=4, checkpointing=True, loss="chunked"))
    assert checkpointed.activations < plain.activations / 10
    assert chunked.activations < checkpointed.activations
    assert checkpointed.peak < plain.peak


@pytest.mark.parametrize(
    "change", [{"batch_size": 0}, {"dtype": "int8"}, {"attention": "x"}, {"num_tokens": 1.5}]
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        StepSettings(**change)


def _with(settings: StepSettings, **changes: object) -> dict[str, object]:
    names = ("attention", "dtype", "loss", "checkpointing", "optimizer")
    return {name: getattr(settings, name) for name in names} | changes
