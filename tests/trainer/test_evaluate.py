"""Scores: every token once, whatever the batch size, in the units that are promised."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.evaluation.loss import StreamScore, evaluate_windows, fixed_starts, score_stream

CPU = torch.device("cpu")
VOCAB = 11


class Recorder(nn.Module):
    """A causal stand-in for a language model that remembers what it was shown."""

    def __init__(self, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(VOCAB, VOCAB, generator=generator, dtype=dtype))
        self.seen: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append(ids)
        mixed = torch.cumsum(self.table[ids], dim=1)  # depends on all ids so far in the window
        return mixed @ self.table


def _tokens(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(VOCAB, size=length).astype(np.uint16)


def _score(model: nn.Module, tokens: np.ndarray, **changes: object) -> StreamScore:
    settings = {
        "context_length": 8,
        "batch_size": 3,
        "token_lengths": np.arange(VOCAB),
        "end_of_text_id": 10,
        "device": CPU,
    }
    return score_stream(model, tokens, **settings | changes)


def _nats_by_hand(model: nn.Module, tokens: np.ndarray, context_length: int) -> float:
    """The definition, a window at a time."""
    model = model.eval()
    ids, total = [10, *tokens.tolist()], 0.0
    with torch.no_grad():
        for first in range(0, len(tokens), context_length):
            window = torch.tensor(ids[first : first + context_length + 1])
            log_p = model(window[None, :-1])[0].log_softmax(-1)
            total -= sum(log_p[i, target].item() for i, target in enumerate(window[1:]))
    return total


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 70), context_length=st.integers(1, 20), batch_size=st.integers(1, 9))
def test_score_equals_the_definition_for_any_batch_size(
    length: int, context_length: int, batch_size: int
) -> None:
    tokens = _tokens(length)
    score = _score(Recorder(), tokens, context_length=context_length, batch_size=batch_size)
    assert score.num_tokens == length
    by_hand = _nats_by_hand(Recorder(), tokens, context_length)
    assert score.total_nats == pytest.approx(by_hand, rel=1e-12)


def test_first_token_is_predicted_from_end_of_text_and_every_other_from_its_predecessor() -> None:
    model, tokens = Recorder(), _tokens(29)
    _score(model, tokens)
    inputs = torch.cat([ids.flatten() for ids in model.seen])
    assert inputs.tolist() == [10, *tokens[:-1].tolist()]


def test_bytes_are_those_of_the_scored_text_and_end_of_text_has_none() -> None:
    tokens = np.array([1, 10, 3, 10, 2])
    score = _score(Recorder(), tokens, context_length=2)
    assert score.num_bytes == 1 + 3 + 2
    assert score.num_tokens == 5


def test_units_are_the_ones_of_the_definition() -> None:
    score = StreamScore(total_nats=12 * math.log(2), num_tokens=6, num_bytes=24)
    assert score.nats_per_token == pytest.approx(2 * math.log(2))
    assert score.bits_per_byte == pytest.approx(0.5)
    assert score.perplexity == pytest.approx(4)


def test_hopeless_model_has_infinite_perplexity() -> None:
    assert StreamScore(total_nats=1e6, num_tokens=1, num_bytes=1).perplexity == math.inf


def test_bits_per_byte_of_no_text_are_refused() -> None:
    score = _score(Recorder(), np.array([10, 10]))
    with pytest.raises(ValueError, match="2 scored tokens hold no text"):
        _ = score.bits_per_byte


def test_uniform_model_costs_log_v() -> None:
    model = Recorder()
    model.table.data.zero_()
    assert _score(model, _tokens(30)).nats_per_token == pytest.approx(math.log(VOCAB))


def test_progress_ends_with_all_tokens() -> None:
    calls = []
    _score(Recorder(), _tokens(61), progress=lambda *call: calls.append(call))
    assert calls[-1] == (61, 61)
    assert [done for done, _ in calls] == [24, 48, 56, 61]


def test_the_sum_over_a_long_stream_is_float64() -> None:
    # In float32 a sum of 2^18 nats of this size stops being exact to 1e-7.
    model = Recorder(dtype=torch.float32)
    model.table.data.zero_()
    score = _score(model, _tokens(2**18), context_length=512, batch_size=64)
    one = float(torch.zeros(VOCAB).logsumexp(-1))
    assert score.total_nats == pytest.approx(2**18 * one, rel=1e-12)


def test_scoring_restores_the_training_mode_also_after_an_error() -> None:
    model = Recorder().train()
    _score(model, _tokens(20))
    assert model.training
    with pytest.raises(IndexError):
        _score(model, np.array([VOCAB]), token_lengths=np.zeros(VOCAB))
    assert model.training
    model.eval()
    _score(model, _tokens(20))
    assert not model.training


def test_bfloat16_runs_under_autocast_and_scores_in_float32() -> None:
    wide = Recorder(dtype=torch.float32)
    tokens = _tokens(64)
    exact = _score(wide, tokens).nats_per_token
    reduced = _score(wide, tokens, dtype=torch.bfloat16).nats_per_token
    assert reduced != exact
    assert reduced == pytest.approx(exact, rel=2e-2)


@pytest.mark.parametrize(
    ("tokens", "changes", "message"),
    [([], {}, "no tokens to score"), ([1], {"batch_size": 0}, "batch_size is 0")],
)
def test_nothing_to_score_is_refused(
    tokens: list[int], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _score(Recorder(), np.array(tokens, dtype=np.uint16), **changes)


@given(data=st.data())
def test_windows_are_spread_without_overlap_where_the_stream_allows(data: st.DataObject) -> None:
    num_windows, context_length = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    least = num_windows * context_length + 1
    num_tokens = data.draw(st.integers(least, 3 * least))
    starts = fixed_starts(num_tokens, num_windows=num_windows, context_length=context_length)
    assert len(starts) == num_windows
    assert starts[0] == 0
    assert (np.diff(starts) >= context_length).all()
    assert num_windows == 1 or starts[-1] + context_length + 1 == num_tokens


def test_windows_overlap_in_a_short_stream_but_stay_inside() -> None:
    starts = fixed_starts(10, num_windows=5, context_length=6)
    assert starts.tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_evaluation_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    tokens = _tokens(200)
    how = {"num_windows": 5, "context_length": 8, "device": CPU}
    reference = evaluate_windows(Recorder(), tokens, batch_size=5, **how)
    loss = evaluate_windows(Recorder(), tokens, batch_size=batch_size, **how)
    assert loss == pytest.approx(reference, rel=1e-12)


def test_evaluation_is_the_mean_cross_entropy_of_its_windows() -> None:
    model, tokens = Recorder(), _tokens(50)
    loss = evaluate_windows(
        model, tokens, num_windows=2, context_length=8, batch_size=2, device=CPU
    )
    [inputs] = model.seen
    targets = torch.stack(
        [torch.from_numpy(tokens.astype(np.int64))[s + 1 : s + 9] for s in (0, 41)]
    )
    with torch.inference_mode():
        logits = model.eval()(inputs)
    oracle = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert loss == pytest.approx(oracle.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_length": 20}, "holds 20 tokens, but context_length=20 needs at least 21"),
        ({"num_windows": 0}, "num_windows is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_evaluation_that_cannot_be_done_is_refused(
    changes: dict[str, object], message: str
) -> None:
    how = {"num_windows": 2, "context_length": 4, "batch_size": 2, "device": CPU} | changes
    with pytest.raises(ValueError, match=message):
        evaluate_windows(Recorder(), _tokens(20), **how)
