"""Continue prompts with a trained model, one token at a time.

Stage: model, tokenizer, prompts -> *ids, text*. Positions are those of the window: once it is full,
its last half is encoded again from position 0, with and without the cache alike, so both give the
same tokens. Not here: logits (`decoders.py`), draws (`sampling.py`), beam search.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Required, TypedDict, Unpack

import torch

from accounting.plural import plural
from nn_layers import TransformerLM
from nn_layers.precision import Weights
from tokenizer import Tokenizer
from trainer.inference.decoders import Decoder, build_decoder
from trainer.inference.sampling import SamplingConfig, draw

Note = Callable[[str], None]
"""Receives, once, anything that the caller may not expect."""


class TextOptions(TypedDict, total=False):
    """Named arguments of the functions that return text, beside model, tokenizer and prompt.

    max_tokens: most ids to generate for each prompt; required.
    temperature, top_p, top_k: see `SamplingConfig`; top_p applies after top_k (1.0, 1.0, None).
    seed: decides the draws; the same seed gives the same ids, whatever else draws numbers (0).
    use_cache: whether to keep keys and values; changes speed, not the ids (True).
    weights: what the matrices are rounded to first; float32 leaves them unchanged (float32).
    compile: whether to use the compiled step of the CPU, see `build_decoder`; logits change by
        rounding only, so ids differ only where two logits are that close (off).
    on_note: receives cut prompts, a full context, and a missing compiled step (None).
    """

    max_tokens: Required[int]
    temperature: float
    top_p: float
    top_k: int | None
    seed: int
    use_cache: bool
    weights: Weights
    compile: Literal["auto", "on", "off"]
    on_note: Note | None


class IdOptions(TextOptions):
    """Named arguments of the functions that return ids: `TextOptions`, and what ends a text.

    end_of_text_id: ends a sequence, and is not part of it.
    """

    end_of_text_id: Required[int]


def generate_text(
    model: TransformerLM, tokenizer: Tokenizer, prompt: str, **how: Unpack[TextOptions]
) -> Iterator[str]:
    """Return an iterator over the text that follows `prompt`, in pieces of whole characters.

    Special tokens in the prompt count as such; see `TextOptions` for `how`.

    Raises:
        ValueError: see `generate`; or the tokenizer has no end-of-text token.
    """
    end = _end_of_text_id(tokenizer)
    ids = generate(model, tokenizer.encode(prompt), end_of_text_id=end, **how)
    return _decode_stream(tokenizer, ids)


def generate_texts(
    model: TransformerLM, tokenizer: Tokenizer, prompts: Sequence[str], **how: Unpack[TextOptions]
) -> list[str]:
    """Return the text that follows each prompt; see `generate_text`."""
    end = _end_of_text_id(tokenizer)
    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    found = generate_batch(model, encoded, end_of_text_id=end, **how)
    return ["".join(_decode_stream(tokenizer, iter(ids))) for ids in found]


def generate(
    model: TransformerLM, prompt_ids: Sequence[int], **how: Unpack[IdOptions]
) -> Iterator[int]:
    """Return an iterator over the ids that follow `prompt_ids`, up to end-of-text.

    An empty prompt means end-of-text; of a prompt beyond the context, the tail is used. The model
    is in evaluation mode while this runs.

    Raises:
        ValueError: an option is outside its range, or an id is outside the vocabulary.
    """
    return (step[0] for step in _start(model, [prompt_ids], **how))


def generate_batch(
    model: TransformerLM, prompts: Sequence[Sequence[int]], **how: Unpack[IdOptions]
) -> list[list[int]]:
    """Return the ids that follow each prompt, up to end-of-text, all generated side by side.

    Each prompt gets the ids that it would get alone, prompt i those of the seed plus i.
    """
    found: list[list[int]] = [[] for _ in prompts]
    for step in _start(model, prompts, **how) if prompts else ():
        for index, token in step.items():
            found[index].append(token)
    return found


def _start(
    model: TransformerLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    end_of_text_id: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    use_cache: bool = True,
    weights: Weights = "float32",
    compile: Literal["auto", "on", "off"] = "off",
    on_note: Note | None = None,
) -> Iterator[Mapping[int, int]]:
    """Check everything, then return an iterator over the ids of each step, by sequence."""
    sampling = SamplingConfig(temperature=temperature, top_p=top_p, top_k=top_k)
    if max_tokens < 1:
        raise ValueError(f"max-tokens is {max_tokens}, but must be at least 1")
    note = on_note or (lambda _: None)
    starts = [_first_window(prompt, end_of_text_id, model, note) for prompt in prompts]
    decoder = build_decoder(
        model,
        use_cache=use_cache,
        weights=weights,
        compile=compile,
        num_tokens=max_tokens * len(prompts),
        note=note,
    )
    generators = [torch.Generator("cpu").manual_seed(seed + i) for i in range(len(prompts))]

    def pick(index: int, logits: torch.Tensor) -> int:
        return draw(logits, sampling, generator=generators[index])

    windows = dict(enumerate(starts))
    steps = _continue(windows, model.config.context_length, decoder, pick, end_of_text_id, note)
    return _limited(steps, max_tokens, model)


def _first_window(
    prompt: Sequence[int], end_of_text_id: int, model: TransformerLM, note: Note
) -> list[int]:
    vocab_size, context_length = model.config.vocab_size, model.config.context_length
    window = list(prompt) or [end_of_text_id]
    for token in (*window, end_of_text_id):
        if not 0 <= token < vocab_size:
            raise ValueError(f"id {token} is outside the model's vocabulary of {vocab_size}")
    if len(window) > context_length:
        note(
            f"the prompt is {plural(len(window), 'token')}, but the context holds "
            f"{context_length}: only its tail is used"
        )
    return window[-context_length:]


def _continue(
    windows: dict[int, list[int]],
    context_length: int,
    decoder: Decoder,
    pick: Callable[[int, torch.Tensor], int],
    end_of_text_id: int,
    note: Note,
) -> Iterator[Mapping[int, int]]:
    """Yield the next id of every sequence that has not ended, until all have."""
    kept, is_noted = max(context_length // 2, 1), False
    while windows:
        logits = decoder(windows).cpu()
        tokens = {i: pick(i, row) for i, row in zip(windows, logits, strict=True)}
        tokens = {i: token for i, token in tokens.items() if token != end_of_text_id}
        if tokens:
            yield tokens
        windows = {i: [*windows[i], token] for i, token in tokens.items()}
        full = [i for i, window in windows.items() if len(window) > context_length]
        windows |= {i: windows[i][-kept:] for i in full}
        if full and not is_noted:
            is_noted = True
            note(
                f"the context of {plural(context_length, 'token')} is full: continuing from the "
                f"last {kept}"
            )


def _limited(
    steps: Iterator[Mapping[int, int]], max_tokens: int, model: TransformerLM
) -> Iterator[Mapping[int, int]]:
    was_training = model.training
    model.eval()
    try:
        for _, tokens in zip(range(max_tokens), steps, strict=False):
            yield tokens
    finally:
        model.train(was_training)


def _end_of_text_id(tokenizer: Tokenizer) -> int:
    if tokenizer.end_of_text_id is None:
        raise ValueError("the tokenizer has no end-of-text token; give it one to start and stop at")
    return tokenizer.end_of_text_id


def _decode_stream(tokenizer: Tokenizer, ids: Iterator[int]) -> Iterator[str]:
    decoder = tokenizer.decoder()
    for token in ids:
        if text := decoder.push(token):
            yield text
    if text := decoder.finish():
        yield text
