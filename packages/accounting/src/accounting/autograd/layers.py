"""Describe the model's layers on the tape: which tensors each one makes, and which it keeps.

Stage: shape, settings -> *operations* -> tape. Function by function this is `nn_layers`, with sizes
in the place of numbers; when a layer there changes what it keeps, the tests that compare with
torch's allocator say so. The legend of dimensions is that of `legend`.
"""

from collections.abc import Callable

from accounting.autograd.tape import Storage, Tape, Value
from accounting.shape import FEED_FORWARDS, NORMS, ModelShape
from accounting.step import StepSettings

FLOAT32, FLOAT64, BFLOAT16, INT64, BOOL = 4, 8, 2, 8, 1
_ROWS_A_BLOCK, _SQUARE_BYTES = 128, 8 * 1024**2  # of attention by products


def legend(shape: ModelShape, settings: StepSettings) -> dict[str, int]:
    """Return the sizes that the letters of dimensions stand for.

    b batch, t position, d model width, h query head, g key head, k head width, j = k / 2,
    n = (h + 2 g) k, f feed-forward width, v vocabulary, c context.
    """
    return {
        "b": settings.batch_size,
        "t": settings.num_tokens or shape.context_length,
        "d": shape.d_model,
        "h": shape.num_heads,
        "g": shape.kv_heads,
        "k": shape.d_head,
        "j": shape.d_head // 2,
        "n": shape.d_q + 2 * shape.d_kv,
        "f": shape.d_ff,
        "v": shape.vocab_size,
        "c": shape.context_length,
    }


class TracedModel:
    """`nn_layers.TransformerLM` on a tape."""

    def __init__(self, shape: ModelShape, settings: StepSettings, tape: Tape) -> None:
        self._shape, self._settings, self.tape = shape, settings, tape
        self.compute_bytes = FLOAT32 if settings.dtype == "float32" else BFLOAT16
        has_rope = shape.position == "rope"
        self._tables = [tape.allocate("rotary tables", "c j", FLOAT64) for _ in range(2 * has_rope)]
        self.embedding = tape.leaf("weights: embedding", "v d", FLOAT32)
        self._positions = (
            tape.leaf("weights: positions", "c d", FLOAT32) if shape.position == "learned" else None
        )
        self._layers = [self._build_layer() for _ in range(shape.num_layers)]
        self._ln_final = self._build_gain("d") if NORMS[shape.norm].final else None
        self.head = (
            self.embedding if shape.tie_embeddings else tape.leaf("weights: head", "v d", FLOAT32)
        )
        self.weights = [self.embedding, *([self._positions] if self._positions else [])]
        self.weights += [weight for layer in self._layers for weight in layer.values()]
        self.weights += [self._ln_final] if self._ln_final else []
        self.weights += [] if shape.tie_embeddings else [self.head]

    def hidden_states(self, token_ids: Storage) -> Value:
        """Run all blocks and the final norm; (b, t, d)."""
        tape = self.tape
        tape.enter("embedding", direction="forward: ")
        x = tape.op("residual stream", "b t d", [self.embedding], saves=[token_ids])
        if self._positions is not None:
            x = tape.add("residual stream", x, x)
        for layer in self._layers:
            if self._settings.checkpointing:
                x = tape.checkpoint(lambda x, layer=layer: self._block(x, layer), x)
            else:
                x = self._block(x, layer)
        tape.enter("head")
        return x if self._ln_final is None else self.rms_norm(x, self._ln_final)

    def logits(self, hidden: Value) -> Value:
        """Multiply by the head; (b, t, v)."""
        return self.linear("logits", "b t v", hidden, self.head)

    def cast(self, x: Value, itemsize: int) -> Value:
        """Copy to another dtype, if it differs."""
        if x.itemsize == itemsize:
            return x
        return self.tape.op("copy in another type", x.dims, [x], itemsize=itemsize)

    def linear(self, label: str, dims: str, x: Value, weight: Value) -> Value:
        """Multiply by a matrix; under autocast both factors are copied to the narrow dtype."""
        x, weight = self.cast(x, self.compute_bytes), self.cast(weight, self.compute_bytes)
        return self.tape.op(label, dims, [x, weight], saves=[x, weight])

    def rms_norm(self, x: Value, gain: Value) -> Value:
        """X / sqrt(mean(x^2) + eps) * gain, in float32."""
        tape, dims = self.tape, x.dims
        row = " ".join(dims.split()[:-1])
        wide = self.cast(x, FLOAT32)
        square = tape.op("norm: square", dims, [wide], saves=[wide], work=[dims] * 2)
        mean = tape.op("norm: mean square", row, [square])
        del square
        shifted = tape.op("norm: mean square", row, [mean])
        del mean
        inverse = tape.op("norm: inverse root", row, [shifted], saves_output=True)
        del shifted
        scaled = self._mul("norm: normalised", wide, inverse)
        del inverse
        return self.cast(self._mul("norm: output", scaled, gain), x.itemsize)

    def _build_layer(self) -> dict[str, Value]:
        tape, shape = self.tape, self._shape
        projections = {"q": "h k d", "k": "g k d", "v": "g k d", "o": "d h k"}
        inner = {"w1": "f d", "w2": "d f"}
        inner |= {"w3": "f d"} if shape.feed_forward_matrices == 3 else {}
        layer = {n: tape.leaf("weights: projection", d, FLOAT32) for n, d in projections.items()}
        layer |= {n: tape.leaf("weights: feed-forward", d, FLOAT32) for n, d in inner.items()}
        if NORMS[shape.norm].per_block:
            layer |= {name: self._build_gain("d") for name in ("ln1", "ln2")}
        if shape.qk_norm:
            layer |= {name: self._build_gain("k") for name in ("q_norm", "k_norm")}
        return layer

    def _build_gain(self, dims: str) -> Value:
        return self.tape.leaf("weights: norm", dims, FLOAT32)

    def _block(self, x: Value, layer: dict[str, Value]) -> Value:
        self.tape.enter("attention")
        x = self._join(x, self._attention, layer, norm="ln1")
        self.tape.enter("feed-forward")
        return self._join(x, self._feed_forward, layer, norm="ln2")

    def _join(
        self,
        x: Value,
        sublayer: Callable[[Value, dict[str, Value]], Value],
        layer: dict[str, Value],
        *,
        norm: str,
    ) -> Value:
        kind = NORMS[self._shape.norm]
        inner = sublayer(self.rms_norm(x, layer[norm]) if kind.before else x, layer)
        if kind.inside:
            inner = self.rms_norm(inner, layer[norm])
        x = self.tape.add("residual stream", x, inner)
        del inner
        return self.rms_norm(x, layer[norm]) if kind.after else x

    def _attention(self, x: Value, layer: dict[str, Value]) -> Value:
        tape, shape = self.tape, self._shape
        if self._settings.attention == "native" and self._settings.attention_keeps is None:
            return self.linear("attention: output", "b t d", self._by_kernel(x, layer), layer["o"])
        q = tape.view(self.linear("queries", "b t h k", x, layer["q"]), "b h t k")
        k = tape.view(self.linear("keys", "b t g k", x, layer["k"]), "b g t k")
        v = tape.view(self.linear("values", "b t g k", x, layer["v"]), "b g t k")
        if shape.qk_norm:
            q, k = self.rms_norm(q, layer["q_norm"]), self.rms_norm(k, layer["k_norm"])
        q, k = self._rotate(q), self._rotate(k)
        if shape.kv_heads < shape.num_heads:
            k, v = (tape.op("keys, values: repeated", "b h t k", [one]) for one in (k, v))
        attend = {"sdpa": self._by_torch, "plain": self._plain, "matmul": self._by_products}
        is_known = self._settings.attention_keeps is None
        heads = (attend[self._settings.attention] if is_known else self._by_others)(q, k, v)
        del q, k, v
        return self.linear("attention: output", "b t d", heads, layer["o"])

    def _by_kernel(self, x: Value, layer: dict[str, Value]) -> Value:
        """Project with one product, then rotate and attend in one kernel."""
        tape, label = self.tape, "queries, keys, values"
        parts = [layer[name] for name in ("q", "k", "v")]
        weights = tape.join("n d", parts, storage=tape.allocate("projections: stacked", "n d", 4))
        projected = self.linear(label, "b t n", x, weights)
        del weights
        if self._shape.qk_norm:
            q, k = (tape.view(projected, dims) for dims in ("b t h k", "b t g k"))
            q, k = self.rms_norm(q, layer["q_norm"]), self.rms_norm(k, layer["k_norm"])
            stacked = tape.allocate(label, "b t n", projected.itemsize)
            projected = tape.join("b t n", [q, k, tape.view(projected, "b t g k")], storage=stacked)
            del q, k, stacked
        saved = [tape.allocate("attention: log of sums", "b h t", FLOAT32)]
        if self._tables:
            saved += [tape.allocate("rotary tables: narrowed", "c j", FLOAT32) for _ in range(2)]
        return tape.op(
            "attention: heads", "b t h k", [projected], saves=[projected, *saved], saves_output=True
        )

    def _rotate(self, x: Value) -> Value:
        if not self._tables:
            return x
        tape, itemsize, half = self.tape, x.itemsize, x.dims.replace("k", "j")
        tables = [tape.allocate("rotary tables: gathered", "t j", FLOAT32) for _ in range(2)]
        wide = self.cast(x, FLOAT32)
        del x
        first = self._turn(wide, half, tables)
        second = self._turn(wide, half, tables)
        turned = tape.op("queries, keys: rotated", wide.dims, [first, second])
        del first, second
        if self._shape.rope_layout == "half":
            turned = tape.op("queries, keys: rotated", wide.dims, [turned])
        return self.cast(turned, itemsize)

    def _turn(self, x: Value, half: str, tables: list[Storage]) -> Value:
        one, two = (self.tape.op("rotary", half, [x], saves=[table]) for table in tables)
        return self.tape.op("rotary", half, [one, two])

    def _by_torch(self, q: Value, k: Value, v: Value) -> Value:
        tape = self.tape
        q, k, v = (self.cast(one, self.compute_bytes) for one in (q, k, v))
        sums = tape.allocate("attention: log of sums", "b h t", FLOAT32)
        heads = tape.op(
            "attention: heads", "b h t k", [q, k, v], saves=[q, k, v, sums], saves_output=True
        )
        del q, k, v, sums
        # The kernel's result has the layout of the queries, which the rotation reordered.
        return tape.op("attention: heads in order", "b t h k", [heads]) if self._tables else heads

    def _by_others(self, q: Value, k: Value, v: Value) -> Value:
        """Attend in one operation that keeps what the settings list."""
        tape, kept = self.tape, self._settings.attention_keeps or ()
        saves = [q, k, v, *(tape.allocate("attention: kept", dims, FLOAT32) for dims in kept)]
        heads = tape.op("attention: heads", "b h t k", [q, k, v], saves=saves)
        del q, k, v, saves
        return tape.op("attention: heads in order", "b t h k", [heads])

    def _plain(self, q: Value, k: Value, v: Value) -> Value:
        tape, mask = self.tape, self.tape.allocate("mask", "t t", BOOL)
        scores = self._product("attention: scores", "b h t t", q, k)
        scores = tape.op("attention: scores", "b h t t", [scores])
        scores = tape.op(
            "attention: scores", "b h t t", [scores], saves=[tape.allocate("mask", "t t", BOOL)]
        )
        weights = self.cast(self._softmax(scores), v.itemsize)
        heads = self._product("attention: heads", "b h t k", weights, v)
        del mask, weights, scores
        return tape.op("attention: heads in order", "b t h k", [heads])

    def _by_products(self, q: Value, k: Value, v: Value) -> Value:
        """Attend by products repeated in the backward pass; only some heads' scores are alive."""
        tape, length = self.tape, self.tape.size("t")
        rows = min(_ROWS_A_BLOCK, length)
        q, k, v = (self.cast(one, self.compute_bytes) for one in (q, k, v))
        num_heads = tape.size("b h")
        at_once = min(max(1, _SQUARE_BYTES // (rows * length * q.itemsize)), num_heads)
        lasts = [min(first + rows, length) for first in range(0, length, rows)]
        cells = sorted((last - index * rows) * last for index, last in enumerate(lasts))
        squares = f"{at_once} {cells[-1]}"
        # Then their product with the values, or the next scores while these weights are alive.
        others = at_once if len(cells) > 1 else min(at_once, num_heads - at_once)
        besides = max(f"{at_once} {rows} k", f"{others} {cells[-2:][0]}", key=tape.size)
        # Narrow scores are widened for the softmax; it overwrites wide ones.
        forward, backward = (4, 7) if q.itemsize < FLOAT32 else (1, 2)
        if not self._tables:  # the rotation reordered them
            q, k = (tape.op("queries, keys: in order", "b h t k", [one]) for one in (q, k))
        v = tape.op("values: in order", "b h t k", [v])
        heads = tape.op(
            "attention: heads",
            "b h t k",
            [q, k, v],
            saves=[q, k, v],
            during=["b h t k", f"{forward} {squares}", besides, f"{rows} {rows}"],
            work=["3 b h t k", f"{backward} {squares}"],
        )
        del q, k, v
        return tape.op("attention: heads in order", "b t h k", [heads])

    def _product(self, label: str, dims: str, x: Value, y: Value) -> Value:
        x, y = self.cast(x, self.compute_bytes), self.cast(y, self.compute_bytes)
        return self.tape.op(label, dims, [x, y], saves=[x, y])

    def _softmax(self, x: Value) -> Value:
        tape, dims = self.tape, x.dims
        row = " ".join(dims.split()[:-1])
        wide = self.cast(x, FLOAT32)
        shifted = tape.op("attention: scores", dims, [wide])
        powers = tape.op("attention: exponentials", dims, [shifted], saves_output=True)
        del shifted
        total = tape.op("attention: sums", row, [powers], expands=True)
        weights = tape.op(
            "attention: weights", dims, [powers, total], saves=[powers, total], work=[dims] * 3
        )
        return self.cast(weights, x.itemsize)

    def _feed_forward(self, x: Value, layer: dict[str, Value]) -> Value:
        inner = self._activate(self.linear("feed-forward: gate", "b t f", x, layer["w1"]))
        if "w3" in layer:
            up = self.linear("feed-forward: up", "b t f", x, layer["w3"])
            inner = self._mul("feed-forward: gated", inner, up)
            del up
        return self.linear("feed-forward: output", "b t d", inner, layer["w2"])

    def _activate(self, x: Value) -> Value:
        """Multiply by a factor, as the sigmoid of SiLU, that is kept with what it is made of."""
        more = FEED_FORWARDS[self._shape.feed_forward].kept - 1
        kept = [self.tape.allocate("feed-forward: kept", x.dims, x.itemsize) for _ in range(more)]
        factor = self.tape.op("feed-forward: factor", x.dims, [x], saves=kept, saves_output=True)
        del kept
        return self._mul("feed-forward: activation", x, factor)

    def _mul(self, label: str, x: Value, y: Value) -> Value:
        """Multiply elementwise; if `y` is smaller, its gradient is the sum of a full one."""
        work = [x.dims] if self.tape.size(y.dims) < self.tape.size(x.dims) else []
        itemsize = max(x.itemsize, y.itemsize)
        return self.tape.op(label, x.dims, [x, y], saves=[x, y], work=work, itemsize=itemsize)
