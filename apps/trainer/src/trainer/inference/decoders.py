"""Compute the logits of the next token, in the plain way and in faster ones that equal it.

Stage: windows of ids -> *decoder* -> logits. A decoder receives whole windows and finds the new
tokens itself. Not here: which token is drawn (`sampling.py`), when a window is cut
(`generation.py`).
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from nn_layers import KVCache, NativeDecoder, NativeError, TransformerLM, round_weights
from nn_layers.backends.cpu.decoder import is_decoder_built
from nn_layers.precision import Weights

Decoder = Callable[[Mapping[int, list[int]]], Tensor]
"""(window by the number of its sequence) -> (sequences, v) logits of the next tokens, in order."""

PAYING_TOKENS = 1500
"""Tokens from which on building the compiled step pays."""


def build_decoder(
    model: TransformerLM,
    *,
    use_cache: bool,
    weights: Weights,
    compile: Literal["auto", "on", "off"],
    num_tokens: int,
    note: Callable[[str], None],
) -> Decoder:
    """Return the decoder that the options describe.

    Args:
        model: in evaluation mode.
        use_cache: whether to keep keys and values.
        weights: what the matrices are rounded to first.
        compile: whether to use the compiled step of the CPU; auto: if it is built already or
            `num_tokens` pay for building it.
        num_tokens: most tokens to generate, over all sequences.
        note: receives the fallback from the compiled step.

    Raises:
        ValueError: compile is on, and the compiled step is not available.
    """
    rounded = model if weights == "float32" else round_weights(model, weights)
    if not use_cache:
        return PlainDecoder(rounded)
    parameter = next(model.parameters())
    is_possible = parameter.device.type == "cpu" and parameter.dtype == torch.float32
    if compile == "on" and not is_possible:
        raise ValueError(
            f"--compile is on, but the model is {parameter.dtype} on {parameter.device} and the "
            "compiled step is for float32 on the CPU; use auto"
        )
    pays = compile == "on" or is_decoder_built() or num_tokens >= PAYING_TOKENS
    if compile == "off" or not (is_possible and pays):
        return CachedDecoder(rounded)
    try:
        return CompiledDecoder(rounded, NativeDecoder(model, weights))
    except NativeError as error:
        if compile == "on":
            raise ValueError(str(error)) from error
        note(f"decoding: falling back to the layers, which are slower: {error}")
        return CachedDecoder(rounded)


class PlainDecoder:
    """Run the whole window for every token: slow, and the reference for the others."""

    def __init__(self, model: TransformerLM) -> None:
        self._model = model
        self._device = next(model.parameters()).device

    def __call__(self, windows: Mapping[int, list[int]]) -> Tensor:
        """Return the logits, one sequence at a time."""
        with torch.inference_mode():
            rows = [self._model(_ids(ids, self._device))[0, -1] for ids in windows.values()]
            return torch.stack(rows)


def _ids(tokens: list[int], device: torch.device) -> Tensor:
    return torch.tensor([tokens], dtype=torch.int64, device=device)


class CachedDecoder:
    """Run only the tokens that a sequence's cache does not hold yet."""

    def __init__(self, model: TransformerLM) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._caches: dict[int, KVCache] = {}

    def __call__(self, windows: Mapping[int, list[int]]) -> Tensor:
        """Return the logits, one sequence at a time."""
        with torch.inference_mode():
            return torch.stack([self._extend(index, ids) for index, ids in windows.items()])

    def _extend(self, index: int, window: list[int]) -> Tensor:
        cache = self.cache(index, window)
        ids = _ids(window[cache.length :], self._device)
        return self._model(ids, cache=cache)[0, -1]

    def cache(self, index: int, window: list[int]) -> KVCache:
        """Return the cache of a sequence; an empty one if the window was cut since."""
        cache = self._caches.get(index)
        if cache is None or len(window) <= cache.length:  # positions start at 0 again
            cache = self._caches[index] = KVCache(self._model.config)
        return cache


class CompiledDecoder(CachedDecoder):
    """Run prompts through the model, then the single tokens of all sequences by the compiled step.

    Args:
        model: with rounded weights, for the prompts.
        step: over the same weights.
    """

    def __init__(self, model: TransformerLM, step: NativeDecoder) -> None:
        super().__init__(model)
        self._step = step

    def __call__(self, windows: Mapping[int, list[int]]) -> Tensor:
        """Return the logits, those of all sequences with one new token at once."""
        caches = {index: self.cache(index, window) for index, window in windows.items()}
        single = [i for i, cache in caches.items() if 0 < cache.length == len(windows[i]) - 1]
        found: dict[int, Tensor] = {}
        if single:
            logits = self._step.step([windows[i][-1] for i in single], [caches[i] for i in single])
            found = dict(zip(single, logits, strict=True))
        rest = {index: window for index, window in windows.items() if index not in found}
        if rest:
            with torch.autocast("cpu", enabled=False):  # the step reads float32 keys
                found |= zip(rest, super().__call__(rest), strict=True)
        return torch.stack([found[index] for index in windows])
