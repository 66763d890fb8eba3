"""Continue a prompt with a trained model, a token at a time.

Stage: model, tokenizer, prompt -> *ids, text*. Positions are those of the window: once it is full,
its last half is encoded anew from position 0, with and without the cache alike, so both give the
same tokens. Not here: batches of prompts, beam search.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nn_layers import KVCache, TransformerLM
from tokenizer import Tokenizer

Note = Callable[[str], None]
"""Told once about anything that the caller may not expect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How the next token is drawn from the model's distribution."""

    temperature: float = 1.0
    """Divides the logits; below 1 sharpens, 0 always takes the most likely token."""
    top_p: float = 1.0
    """Draw from the smallest set of likeliest tokens with at least this mass, in (0, 1]."""
    top_k: int | None = None
    """Draw from this many likeliest tokens; None: from all."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"temperature is {self.temperature}, but must be a number >= 0; 0 is greedy"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p is {self.top_p}, but must be in (0, 1]; 1 keeps every token")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top-k is {self.top_k}, but must be at least 1")


def generate_text(
    model: TransformerLM,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    use_cache: bool = True,
    on_note: Note | None = None,
) -> Iterator[str]:
    """Return an iterator over the text that follows `prompt`, in pieces of whole characters.

    Args:
        model: trained with `tokenizer`.
        tokenizer: with an end-of-text token.
        prompt: text to continue; special tokens in it count as such.
        max_tokens: see `generate`, here and below.
        temperature: see `SamplingConfig`.
        top_p: see `SamplingConfig`.
        top_k: see `SamplingConfig`.
        seed: decides the draws.
        use_cache: whether to keep keys and values; changes speed, not the text.
        on_note: told about a cut prompt and a full context.

    Returns:
        Non-empty pieces; joined, the continuation without the prompt.

    Raises:
        ValueError: see `generate`; or the tokenizer has no end-of-text token.
    """
    if tokenizer.end_of_text_id is None:
        raise ValueError("the tokenizer has no end-of-text token; give it one to start and stop at")
    ids = generate(
        model,
        tokenizer.encode(prompt),
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        end_of_text_id=tokenizer.end_of_text_id,
        use_cache=use_cache,
        on_note=on_note,
    )
    return _decode_stream(tokenizer, ids)


def generate(
    model: TransformerLM,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    end_of_text_id: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    use_cache: bool = True,
    on_note: Note | None = None,
) -> Iterator[int]:
    """Return an iterator over the ids that follow `prompt_ids`, up to end-of-text.

    Args:
        model: its context decides how far it looks back; evaluation mode while this runs.
        prompt_ids: ids to continue; none: end-of-text; of too many, the last that fit.
        max_tokens: ids to generate at most.
        end_of_text_id: ends the iteration, and is not part of it.
        temperature: see `SamplingConfig`.
        top_p: see `SamplingConfig`; applied after top_k.
        top_k: see `SamplingConfig`.
        seed: decides the draws; the same seed gives the same ids, whatever else draws numbers.
        use_cache: whether to keep keys and values; changes speed, not the ids.
        on_note: told about a cut prompt and a full context.

    Raises:
        ValueError: a parameter is outside its range, or an id is outside the vocabulary.
    """
    sampling = SamplingConfig(temperature=temperature, top_p=top_p, top_k=top_k)
    if max_tokens < 1:
        raise ValueError(f"max-tokens is {max_tokens}, but must be at least 1")
    vocab_size, context_length = model.config.vocab_size, model.config.context_length
    window = list(prompt_ids) or [end_of_text_id]
    for token in (*window, end_of_text_id):
        if not 0 <= token < vocab_size:
            raise ValueError(f"id {token} is outside the model's vocabulary of {vocab_size}")
    note = on_note or _ignore
    if len(window) > context_length:
        note(
            f"the prompt is {len(window)} tokens, but the context holds {context_length}: "
            "only its tail is used"
        )
        window = window[-context_length:]
    next_logits = _CachedModel(model) if use_cache else _PlainModel(model)
    generator = torch.Generator().manual_seed(seed)
    ids = _continue(window, context_length, next_logits, sampling, generator, note)
    return _until(ids, end_of_text_id, max_tokens, model)


def sample(logits: Tensor, sampling: SamplingConfig, *, generator: torch.Generator) -> int:
    """Draw one id.

    Ties are broken in favour of the lower id, so that the result is the same everywhere.

    Args:
        logits: (v,) on the CPU.
        sampling: how to draw.
        generator: the only source of randomness; not used when greedy.

    Raises:
        ValueError: the logits are not finite numbers, as those of a diverged model are.
    """
    highest = logits.max()  # NaN where any is
    if not highest.isfinite():
        raise ValueError(f"the highest logit is {highest}: the model diverged; use an earlier one")
    if sampling.temperature == 0:
        return int((logits == highest).nonzero()[0])
    # Shifted first: a tiny temperature then cannot overflow.
    scaled = (logits.double() - highest) / sampling.temperature
    scaled, ids = scaled.sort(descending=True, stable=True)
    scaled = scaled[: sampling.top_k]
    p = scaled.exp()
    p /= p.sum()
    if sampling.top_p < 1:
        mass_before = p.cumsum(0) - p
        p = p[mass_before < sampling.top_p]  # the first has no mass before it: always kept
    return int(ids[torch.multinomial(p, 1, generator=generator)])


def _continue(
    window: list[int],
    context_length: int,
    next_logits: Callable[[list[int]], Tensor],
    sampling: SamplingConfig,
    generator: torch.Generator,
    note: Note,
) -> Iterator[int]:
    """Yield ids without end."""
    kept = max(context_length // 2, 1)
    is_said = False
    while True:
        token = sample(next_logits(window), sampling, generator=generator)
        yield token
        window = [*window, token]
        if len(window) > context_length:
            if not is_said:
                note(
                    f"the context of {context_length} tokens is full: going on from the last {kept}"
                )
                is_said = True
            window = window[-kept:]


def _until(
    ids: Iterator[int], end_of_text_id: int, max_tokens: int, model: TransformerLM
) -> Iterator[int]:
    was_training = model.training
    model.eval()
    try:
        for _, token in zip(range(max_tokens), ids, strict=False):
            if token == end_of_text_id:
                return
            yield token
    finally:
        model.train(was_training)


class _PlainModel:
    """Run the whole window for every token: slow, and what the cache must equal."""

    def __init__(self, model: TransformerLM) -> None:
        self._model = model
        self._device = next(model.parameters()).device

    def __call__(self, window: list[int]) -> Tensor:
        with torch.inference_mode():
            ids = torch.tensor([window], device=self._device)
            return self._model(ids)[0, -1].cpu()


class _CachedModel:
    """Run only the tokens that the cache does not hold yet."""

    def __init__(self, model: TransformerLM) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._cache = KVCache(model.config)

    def __call__(self, window: list[int]) -> Tensor:
        if len(window) <= self._cache.length:  # the window was cut: positions start at 0 again
            self._cache = KVCache(self._model.config)
        with torch.inference_mode():
            ids = torch.tensor([window[self._cache.length :]], device=self._device)
            return self._model(ids, cache=self._cache)[0, -1].cpu()


def _decode_stream(tokenizer: Tokenizer, ids: Iterator[int]) -> Iterator[str]:
    decoder = tokenizer.decoder()
    for token in ids:
        if text := decoder.push(token):
            yield text
    if text := decoder.finish():
        yield text


def _ignore(_: str) -> None:
    """Say nothing."""
