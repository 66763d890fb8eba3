"""Score a model on a run's validation text, every token once.

Stage: trained model, validation tokens -> *nats per token, bits per byte*. Not here: the sum over
tokens (`loss.score_stream`).
"""

from contextlib import AbstractContextManager

import numpy as np
import torch

from nn_layers import TransformerLM
from tokenizer import Tokenizer
from trainer.data.preparation import PreparedData
from trainer.data.relocation import find_places, prepare_again
from trainer.evaluation.loss import StreamScore, score_stream
from trainer.inference.trained_run import LoadedRun
from trainer.monitoring.progress import Reporter


def score_validation(
    model: TransformerLM,
    data: PreparedData,
    *,
    context_length: int,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    reporter: Reporter,
    num_tokens: int | None = None,
    around_first: AbstractContextManager[None] | None = None,
) -> StreamScore:
    """Score the first `num_tokens` validation tokens (None: all); see `score_stream`."""
    tokens = data.validation.tokens[:num_tokens]
    with reporter.stage("score validation", total=len(tokens), unit="tokens") as stage:
        return score_stream(
            model,
            tokens,
            context_length=context_length,
            batch_size=batch_size,
            token_lengths=np.array([len(text) for text in token_bytes(data.tokenizer)]),
            end_of_text_id=end_of_text_id(data.tokenizer),
            device=device,
            dtype=dtype,
            progress=lambda done, total: stage.update(done, total=total),
            around_first=around_first,
        )


def score_run(loaded: LoadedRun, *, batch_size: int, reporter: Reporter) -> dict[str, float]:
    """Score a run's latest checkpoint on all of its validation text.

    Raises:
        ValueError: the text or tokenizer has changed since the run began.
    """
    config = find_places(loaded.run, loaded.config, say=reporter.say)
    data = prepare_again(loaded.run, config, reporter=reporter)
    score = score_validation(
        loaded.model,
        data,
        context_length=loaded.config.model.context_length,
        batch_size=batch_size,
        device=loaded.device,
        dtype=loaded.dtype,
        reporter=reporter,
    )
    return {
        "step": loaded.step,
        "tokens": score.num_tokens,
        "bytes": score.num_bytes,
        "nats_per_token": score.nats_per_token,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
    }


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """Return the text of each id; special tokens have none."""
    special = set(tokenizer.special_tokens.values())
    ids = range(tokenizer.vocab_size)
    return [b"" if token in special else tokenizer.decode_bytes([token]) for token in ids]


def end_of_text_id(tokenizer: Tokenizer) -> int:
    """Return the id that separates documents, which every tokenizer trained here has."""
    found = tokenizer.end_of_text_id
    assert found is not None
    return found
