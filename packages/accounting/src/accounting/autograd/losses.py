"""Describe the loss on the tape: the plain formula, in place, or chunk by chunk.

Stage: hidden states -> *operations* -> tape. It is the twin of `nn_layers`' losses; see `layers`.
"""

from accounting.autograd.layers import FLOAT32, INT64, TracedModel
from accounting.autograd.tape import Storage, Value

_ROWS_A_CHUNK = 2048
_CHUNK_BYTES, _CHUNKS_HELD = 40 * 2**20, 4  # of logits, by the kernel for CUDA


def traced_loss(model: TracedModel, kind: str) -> Value:
    """Run one batch forward, including the loss, one of the kinds of `StepSettings.loss`."""
    tape = model.tape
    ids, targets = (tape.allocate("token ids", "b t", INT64) for _ in range(2))
    hidden = model.hidden_states(ids)
    if kind in ("chunked", "native", "triton"):
        tape.enter("loss")
        if kind == "triton":
            return _by_triton(model, hidden)
        return _chunked(model, hidden, is_native=kind == "native")
    logits = model.logits(hidden)
    del hidden
    tape.enter("loss")
    return _in_place(model, logits) if kind == "in-place" else _plain(model, logits, targets)


def _plain(model: TracedModel, logits: Value, targets: Storage) -> Value:
    tape = model.tape
    wide = model.cast(logits, FLOAT32)
    shifted = tape.op("loss: shifted logits", "b t v", [wide])
    powers = tape.op("loss: exponentials", "b t v", [shifted], saves_output=True)
    total = tape.op("loss: total", "b t", [powers], expands=True)
    del powers
    log_total = tape.op("loss: log of total", "b t", [total], saves=[total])
    del total
    chosen = tape.op("loss: chosen", "b t", [shifted], saves=[shifted, targets])
    return tape.op("loss", "", [tape.op("loss: each", "b t", [log_total, chosen])])


def _in_place(model: TracedModel, logits: Value) -> Value:
    """Overwrite the logits with their gradient."""
    tape = model.tape
    during = ["b t v"] * (2 if logits.itemsize < FLOAT32 else 1)
    return tape.op("loss", "", [logits], saves=[logits], during=during, itemsize=FLOAT32)


def _chunked(model: TracedModel, hidden: Value, *, is_native: bool) -> Value:
    """Make the gradients of hidden states and head with the loss, for some logits at a time."""
    tape, narrow = model.tape, model.compute_bytes
    rows = min(_ROWS_A_CHUNK, tape.size("b t"))
    inputs, matrix = model.cast(hidden, narrow), model.cast(model.head, narrow)
    d_hidden = tape.allocate("loss: gradient of hidden states", "b t d", narrow)
    d_head = tape.allocate("loss: gradient of the head", "v d", FLOAT32)
    logits = tape.allocate("loss: a chunk of logits", f"{rows} v", narrow)
    # The gradient, and narrow logits; the kernel overwrites the logits.
    num_wide = 0 if is_native else 1 if narrow == FLOAT32 else 2
    wide = [tape.allocate("loss: a chunk of logits", f"{rows} v", FLOAT32) for _ in range(num_wide)]
    del wide
    parts = [tape.allocate("loss: gradient of the head, a chunk's", "v d", narrow)]
    if narrow != FLOAT32:  # widened before it is added
        parts.append(tape.allocate("loss: gradient of the head, a chunk's", "v d", FLOAT32))
    del logits, parts, inputs, matrix
    return tape.op("loss", "", [hidden, model.head], saves=[d_hidden, d_head], itemsize=FLOAT32)


def _by_triton(model: TracedModel, hidden: Value) -> Value:
    """Chunks of logits are held until their share of the head's gradient is added at once."""
    tape, narrow = model.tape, model.compute_bytes
    rows = max(_CHUNK_BYTES // (tape.size("v") * narrow) // 256, 1) * 256
    held = min(_CHUNKS_HELD * rows, tape.size("b t"))
    inputs, matrix = model.cast(hidden, narrow), model.cast(model.head, narrow)
    d_hidden = tape.allocate("loss: gradient of hidden states", "b t d", narrow)
    d_head = tape.allocate("loss: gradient of the head", "v d", FLOAT32)
    passing = [tape.allocate("loss: each", "b t", FLOAT32)]
    passing.append(tape.allocate("loss: chunks of logits", f"{held} v", narrow))
    if narrow != FLOAT32:  # the product, before it is added
        passing.append(tape.allocate("loss: gradient of the head, a chunk's", "v d", FLOAT32))
    del passing
    saved = [d_hidden, d_head]
    return tape.op("loss", "", [inputs, matrix], saves=saved, work=["v d"], itemsize=FLOAT32)
