"""Generation: what is drawn, where it stops, and that the cache changes nothing."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nn_layers import ModelConfig, TransformerLM
from nn_layers.backends.cpu import build
from tokenizer import Tokenizer
from trainer.inference import decoders
from trainer.inference.generation import generate, generate_batch, generate_text
from trainer.inference.sampling import SamplingConfig, draw, sample

END = 0


class Scripted(nn.Module):
    """A stand-in whose next token is a function of the window it is shown."""

    def __init__(
        self, rule: Callable[[list[int]], int], *, vocab_size: int = 50, context_length: int = 8
    ) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)
        self.weight = nn.Parameter(torch.zeros(1))
        self.rule, self.windows = rule, []

    def forward(self, ids: Tensor) -> Tensor:
        assert not self.training
        self.windows.append(ids[0].tolist())
        logits = torch.zeros(1, ids.shape[1], self.config.vocab_size)
        logits[0, -1, self.rule(ids[0].tolist())] = 9.0
        return logits


def _count_up(window: list[int]) -> int:
    return window[-1] + 1


def _greedy(model: nn.Module, prompt: list[int], max_tokens: int, **more: object) -> list[int]:
    how = {"temperature": 0, "end_of_text_id": END, "use_cache": False} | more
    return list(generate(model, prompt, max_tokens=max_tokens, **how))


def _transformer(*, context_length: int = 12, seed: int = 0) -> TransformerLM:
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=31, context_length=context_length, d_model=16, num_layers=2, num_heads=4, d_ff=32
    )
    return TransformerLM(config).double()


def test_greedy_takes_the_most_likely_token() -> None:
    assert _greedy(Scripted(_count_up), [3], 4) == [4, 5, 6, 7]


def test_generation_stops_at_end_of_text_and_leaves_it_out() -> None:
    model = Scripted(lambda window: END if window[-1] == 6 else window[-1] + 1)
    assert _greedy(model, [3], 100) == [4, 5, 6]


def test_no_more_tokens_are_computed_than_asked_for() -> None:
    model = Scripted(_count_up)
    assert _greedy(model, [3], 1) == [4]
    assert len(model.windows) == 1


def test_empty_prompt_starts_from_end_of_text() -> None:
    model = Scripted(_count_up)
    assert _greedy(model, [], 2) == [1, 2]
    assert model.windows[0] == [END]


def test_long_prompt_uses_its_tail_and_says_so() -> None:
    model, notes = Scripted(_count_up, context_length=4), []
    _greedy(model, [1, 2, 3, 4, 5, 6], 1, on_note=notes.append)
    assert model.windows == [[3, 4, 5, 6]]
    assert len(notes) == 1
    assert "prompt is 6 tokens, but the context holds 4" in notes[0]


def test_full_context_goes_on_from_its_last_half_and_says_so_once() -> None:
    model, notes = Scripted(_count_up, context_length=4), []
    assert _greedy(model, [1, 2], 8, on_note=notes.append) == list(range(3, 11))
    assert model.windows == [
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4],
        [4, 5],
        [4, 5, 6],
        [4, 5, 6, 7],
        [7, 8],
        [7, 8, 9],
    ]
    assert notes == ["the context of 4 tokens is full: continuing from the last 2"]


def test_context_of_one_token_still_generates() -> None:
    model = Scripted(_count_up, context_length=1)
    assert _greedy(model, [1], 3) == [2, 3, 4]


@settings(max_examples=12, deadline=None)
@given(
    prompt=st.lists(st.integers(1, 30), max_size=20),
    context_length=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_greedy_is_the_same_with_and_without_the_cache(
    prompt: list[int], context_length: int, seed: int
) -> None:
    model = _transformer(context_length=context_length, seed=seed)
    plain, cached = (
        _greedy(model, prompt, 20, use_cache=use_cache, end_of_text_id=0)
        for use_cache in (False, True)
    )
    assert plain == cached


def test_sampling_is_the_same_with_and_without_the_cache() -> None:
    model, longest = _transformer(), 0
    for seed in range(5):
        how = {"max_tokens": 30, "end_of_text_id": END, "seed": seed, "top_p": 0.9}
        plain, cached = (list(generate(model, [5], use_cache=use, **how)) for use in (False, True))
        assert plain == cached
        longest = max(longest, len(plain))
    assert longest > 12, "the context was never filled, so nothing was re-encoded"


def test_cache_runs_each_token_once_until_the_context_is_full() -> None:
    model, lengths = _transformer(context_length=8), []
    model.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    _greedy(model, [1, 2, 3], 9, use_cache=True, end_of_text_id=30)
    assert lengths[:9] == [3, 1, 1, 1, 1, 1, 4, 1, 1][: len(lengths)]


def test_same_seed_gives_the_same_ids_whatever_else_draws_numbers() -> None:
    model = _transformer()
    how = {"max_tokens": 10, "end_of_text_id": END, "seed": 11}
    first = list(generate(model, [5], **how))
    second = []
    for token in generate(model, [5], **how):
        torch.rand(3)
        second.append(token)
    assert first == second
    assert first != list(generate(model, [5], **how | {"seed": 12}))


def test_global_randomness_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(generate(_transformer_without_reseeding(), [5], max_tokens=5, end_of_text_id=END))
    assert torch.equal(torch.rand(1), expected)


def _transformer_without_reseeding() -> TransformerLM:
    with torch.random.fork_rng(devices=[]):
        return _transformer()


def test_training_mode_is_restored_even_when_the_reader_stops_early() -> None:
    model = Scripted(_count_up).train()
    ids = generate(model, [3], max_tokens=9, temperature=0, end_of_text_id=END, use_cache=False)
    next(ids)
    assert not model.training
    ids.close()
    assert model.training


def test_reading_the_ids_leaves_gradients_on_for_the_reader() -> None:
    ids = generate(Scripted(_count_up), [3], max_tokens=2, end_of_text_id=END, use_cache=False)
    next(ids)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -0.5}, r"temperature is -0\.5, but must be a number >= 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 0.0}, r"top-p is 0\.0, but must be in \(0, 1\]"),
        ({"top_p": 1.5}, r"top-p is 1\.5"),
        ({"top_p": float("nan")}, "top-p is nan"),
        ({"top_k": 0}, "top-k is 0, but must be at least 1"),
        ({"max_tokens": 0}, "max-tokens is 0, but must be at least 1"),
        ({"prompt_ids": [3, 50]}, "id 50 is outside the model's vocabulary of 50"),
        ({"prompt_ids": [-1]}, "id -1 is outside"),
        ({"end_of_text_id": 99}, "id 99 is outside"),
    ],
)
def test_nonsense_is_refused_before_the_first_token(
    change: dict[str, object], message: str
) -> None:
    how = {"prompt_ids": [1], "max_tokens": 1, "end_of_text_id": END, "use_cache": False} | change
    with pytest.raises(ValueError, match=message):
        generate(Scripted(_count_up), **how)


def _drawn(logits: Tensor, **sampling: object) -> Counter:
    generator = torch.Generator().manual_seed(0)
    config = SamplingConfig(**sampling)
    return Counter(sample(logits, config, generator=generator) for _ in range(400))


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.05, {2}), (0.45, {2}), (0.55, {2, 0}), (0.85, {2, 0, 3}), (1.0, {0, 1, 2, 3})],
)
def test_nucleus_is_the_smallest_set_with_the_mass(top_p: float, kept: set[int]) -> None:
    p = torch.tensor([0.3, 0.05, 0.5, 0.15], dtype=torch.float64)
    assert set(_drawn(p.log(), top_p=top_p)) == kept


@settings(max_examples=25, deadline=None)
@given(
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=30), top_p=st.floats(1e-3, 0.999)
)
def test_nucleus_holds_the_mass_and_loses_it_without_its_last(
    weights: list[int], top_p: float
) -> None:
    p = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    ordered, ids = p.sort(descending=True, stable=True)
    masses = ordered.cumsum(0)
    assume((masses - top_p).abs().min() > 1e-9)
    size = int((masses < top_p).sum()) + 1
    drawn = _drawn(p.log(), top_p=top_p)
    assert set(drawn) <= set(ids[:size].tolist())


@pytest.mark.parametrize("top_k", [1, 2, 3, 99])
def test_top_k_keeps_the_likeliest_and_ties_go_to_the_lower_id(top_k: int) -> None:
    logits = torch.tensor([0.0, 1.0, 1.0, 1.0])
    assert set(_drawn(logits, top_k=top_k)) == set([1, 2, 3, 0][:top_k])


def test_top_p_applies_to_what_top_k_left() -> None:
    # Alone, 0.6 keeps two of three; of the two that top_k=2 leaves, 0.5 / 0.8 is enough.
    logits = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    assert set(_drawn(logits, top_p=0.6)) == {0, 1}
    assert set(_drawn(logits, top_p=0.6, top_k=2)) == {0}


def test_frequencies_follow_the_softmax_at_the_temperature() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    generator, config = torch.Generator().manual_seed(0), SamplingConfig(temperature=0.5)
    drawn = Counter(sample(logits, config, generator=generator) for _ in range(4000))
    expected = 4000 * (logits / 0.5).softmax(0)
    for token, count in enumerate(expected.tolist()):
        assert abs(drawn[token] - count) < 5 * count**0.5


def test_greedy_ties_go_to_the_lower_id() -> None:
    assert set(_drawn(torch.tensor([0.0, 2.0, 2.0]), temperature=0)) == {1}


@pytest.mark.parametrize("temperature", [1e-300, 1e-3])
def test_tiny_temperature_is_greedy_and_does_not_overflow(temperature: float) -> None:
    assert set(_drawn(torch.tensor([500.0, 501.0]), temperature=temperature)) == {1}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_of_a_diverged_model_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"highest logit is .*: the model diverged"):
        _drawn(torch.tensor([0.0, value]))


@pytest.fixture(scope="module")
def bytes_tokenizer() -> Tokenizer:
    """End-of-text and the 256 bytes, no merges."""
    tokens = [b"<|endoftext|>", *(bytes([value]) for value in range(256))]
    return Tokenizer(dict(enumerate(tokens)), [], ["<|endoftext|>"])


def _speaker(text: str, tokenizer: Tokenizer) -> Scripted:
    """A model that says `text` after any prompt of one token."""
    ids = tokenizer.encode(text)
    return Scripted(lambda window: [*ids, END][len(window) - 1], vocab_size=257, context_length=64)


def test_text_comes_in_whole_characters_without_the_prompt(bytes_tokenizer: Tokenizer) -> None:
    text = "na\u00efve \u6d4b\u8bd5 \U0001f600"
    pieces = list(
        generate_text(
            _speaker(text, bytes_tokenizer),
            bytes_tokenizer,
            "x",
            max_tokens=60,
            temperature=0,
            use_cache=False,
        )
    )
    assert pieces == list(text)


def test_text_cut_inside_a_character_ends_with_a_replacement(bytes_tokenizer: Tokenizer) -> None:
    pieces = generate_text(
        _speaker("a\u6d4b", bytes_tokenizer),
        bytes_tokenizer,
        "",
        max_tokens=3,
        temperature=0,
        use_cache=False,
    )
    assert "".join(pieces) == "a\ufffd"


def test_text_needs_an_end_of_text_token(bytes_tokenizer: Tokenizer) -> None:
    tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [])
    with pytest.raises(ValueError, match="no end-of-text token"):
        generate_text(Scripted(_count_up), tokenizer, "x", max_tokens=1)


@pytest.mark.parametrize(
    "how",
    [
        *({}, {"top_p": 0.9}, {"top_p": 0.999}, {"top_k": 3}, {"top_k": 700, "top_p": 0.5}),
        *({"temperature": 0}, {"temperature": 0.3, "top_p": 0.95}),
    ],
)
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_the_fast_draw_is_the_plain_one(how: dict[str, float], spread: float) -> None:
    torch.manual_seed(0)
    config = SamplingConfig(**how)
    for seed in range(5):
        # Rounded, so that there are ties; flat ones have nuclei beyond any shortlist.
        logits = (torch.randn(2000) * spread * 4).round() / 4
        plain, fast = (
            function(logits, config, generator=torch.Generator().manual_seed(seed))
            for function in (sample, draw)
        )
        assert plain == fast


@settings(max_examples=4, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(1, 30), max_size=9), min_size=1, max_size=4),
    top_p=st.sampled_from([0.9, 1.0]),
)
def test_prompts_get_in_a_batch_what_they_get_alone(prompts: list[list[int]], top_p: float) -> None:
    model = _transformer(context_length=6)
    how = {"max_tokens": 8, "end_of_text_id": 0, "top_p": top_p}
    together = generate_batch(model, prompts, seed=3, **how)
    alone = [list(generate(model, prompt, seed=3 + i, **how)) for i, prompt in enumerate(prompts)]
    assert together == alone


def test_no_prompts_get_nothing() -> None:
    assert generate_batch(_transformer(), [], max_tokens=3, end_of_text_id=0) == []


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_the_compiled_step_gives_the_plain_ids(weights: str) -> None:
    if build.find_compiler() is None:
        pytest.skip("there is no C++ compiler")
    model = _transformer(context_length=8).float()
    prompts = [[1, 2, 3], [4], list(range(1, 15))]
    how = {"max_tokens": 20, "end_of_text_id": 0, "weights": weights, "seed": 1, "top_p": 0.95}
    plain = generate_batch(model, prompts, use_cache=False, **how)
    assert generate_batch(model, prompts, compile="on", **how) == plain
    assert max(map(len, plain)) > 8, "the context was never filled, so nothing was cut"


def test_a_sample_of_the_library_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build", lambda source: pytest.fail("built"))
    list(generate(_transformer().float(), [1], max_tokens=2, end_of_text_id=0))


def test_few_tokens_do_not_pay_for_building(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "is_built", lambda source: False)
    monkeypatch.setattr(build, "build", lambda source: pytest.fail("built"))
    how = {"end_of_text_id": 0, "compile": "auto", "temperature": 0}
    model = _transformer().float()
    generate(model, [1], max_tokens=decoders.PAYING_TOKENS - 1, **how)


@pytest.mark.parametrize(("compile", "is_error"), [("auto", False), ("on", True)])
def test_a_compiler_that_is_missing_is_said(
    compile: str, is_error: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    notes: list[str] = []
    how = {"max_tokens": decoders.PAYING_TOKENS, "end_of_text_id": 0, "on_note": notes.append}
    if is_error:
        with pytest.raises(ValueError, match="there is none"):
            generate(_transformer().float(), [1], compile=compile, **how)
    else:
        generate(_transformer().float(), [1], compile=compile, **how)
        assert len(notes) == 1
        assert notes[0].startswith("decoding: falling back to the layers, which are slower: ")
