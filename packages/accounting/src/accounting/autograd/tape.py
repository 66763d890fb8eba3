"""Follow which tensors live during a training step: autograd's bookkeeping, without numbers.

Stage: layers -> *tape* -> memory. A tensor here is a label, its dimensions and bytes per number. As
in torch, it lives as long as something holds it: a variable, a node of the graph that saved it for
the backward pass, or a pending gradient. Python's own reference counts do the counting, so
`layers.py` can be written like the model. Not here: what any layer does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

_GENERATOR_BYTES = 5056  # torch saves it with every checkpointed part, so that dropout repeats


@dataclass(frozen=True, slots=True)
class Line:
    """Tensors of one kind that live at the same time."""

    label: str
    """Label, e.g. "feed-forward: gate"."""
    dims: str
    """Dimensions in letters of the legend, e.g. "b t f"."""
    itemsize: int
    """Bytes per number."""
    count: int
    """Number of such tensors."""
    total_bytes: int

    @property
    def formula(self) -> str:
        """The term behind the line, e.g. "4 * b t f * 4 bytes"."""
        size = f"{self.dims or '1'} * {self.itemsize} byte{'s' if self.itemsize > 1 else ''}"
        return size if self.count == 1 else f"{self.count} * {size}"


class Storage:
    """Memory of one tensor; several tensors may be views of it."""

    __slots__ = ("_tape", "dims", "itemsize", "label", "num_bytes")

    def __init__(self, tape: "Tape", label: str, dims: str, itemsize: int) -> None:
        self._tape, self.label, self.dims, self.itemsize = tape, label, dims, itemsize
        self.num_bytes = tape.size(dims) * itemsize
        tape._allocated(self)

    def __del__(self) -> None:
        self._tape._freed(self)


class Value:
    """A tensor as autograd sees it: memory, and the node that made it."""

    __slots__ = ("dims", "is_leaf", "itemsize", "node", "storage")

    def __init__(
        self, storage: Storage, dims: str, node: "_Node | None", *, is_leaf: bool = False
    ) -> None:
        self.storage, self.dims, self.node, self.is_leaf = storage, dims, node, is_leaf
        self.itemsize = storage.itemsize

    @property
    def needs_grad(self) -> bool:
        """Whether a gradient has to reach it."""
        return self.is_leaf or self.node is not None


class _Node:
    """Inputs and results of the backward pass of one operation."""

    __slots__ = ("alias", "inputs", "part", "replay", "saved", "work")

    def __init__(
        self,
        part: str,
        inputs: "list[_Wanted]",
        *,
        saved: list[Storage],
        work: Sequence[str] = (),
        alias: bool = False,
        replay: "Callable[[Value], Value] | None" = None,
    ) -> None:
        self.part, self.inputs, self.saved = part, inputs, saved
        self.work, self.alias, self.replay = work, alias, replay


_Wanted = tuple[_Node | None, Storage | None, str, int]
"""Owner of the gradient (a node or a parameter), dimensions, bytes per number."""


class Tape:
    """Record operations, run them backward, and track the bytes alive at each moment.

    Args:
        sizes: the legend: the size of each letter of a tensor's dimensions.
        block_bytes: allocations are rounded up to a multiple of it.
        snapshot_at: number of the allocation after which to take `snapshot`; None: never.
    """

    def __init__(
        self, sizes: dict[str, int], *, block_bytes: int = 1, snapshot_at: int | None = None
    ) -> None:
        self._sizes = sizes
        self._block = block_bytes
        self._snapshot_at = snapshot_at
        self._num_allocations = 0
        self._live: Counter[tuple[str, str, int]] = Counter()
        self._nodes: list[_Node] = []
        self._gradients: dict[Storage, Storage] = {}
        self.is_recording = True
        self._direction, self._part = "", "start"
        self.live_bytes = self.peak_bytes = self.peak_at = 0
        self.peak_phase = ""
        self.snapshot: list[Line] = []

    @property
    def phase(self) -> str:
        """The current phase, e.g. "backward: loss"."""
        return f"{self._direction}{self._part}"

    def enter(self, part: str, *, direction: str | None = None) -> None:
        """Name the next part of the step; without a direction, that stays the same."""
        self._part = part
        if direction is not None:
            self._direction = direction

    def size(self, dims: str) -> int:
        """Return the number of elements of a tensor with these dimensions.

        >>> Tape({"b": 2, "t": 3}).size("b t 5")
        30
        """
        return prod(self._sizes[d] if d in self._sizes else int(d) for d in dims.split())

    def lines(self) -> list[Line]:
        """Return what is alive now, largest first."""
        lines = [
            Line(label, dims, itemsize, count, count * self._rounded(self.size(dims) * itemsize))
            for (label, dims, itemsize), count in self._live.items()
            if count
        ]
        return sorted(lines, key=lambda line: -line.total_bytes)

    def allocate(self, label: str, dims: str, itemsize: int) -> Storage:
        """Return memory that no operation made."""
        return Storage(self, label, dims, itemsize)

    def leaf(self, label: str, dims: str, itemsize: int) -> Value:
        """Return a parameter."""
        return Value(self.allocate(label, dims, itemsize), dims, None, is_leaf=True)

    def op(
        self,
        label: str,
        dims: str,
        inputs: Sequence[Value],
        *,
        saves: Sequence[Value | Storage] = (),
        saves_output: bool = False,
        itemsize: int | None = None,
        during: Sequence[str] = (),
        work: Sequence[str] = (),
        expands: bool = False,
    ) -> Value:
        """Run one operation: allocate its result, and record its backward pass.

        Args:
            label: name of the result.
            dims: dimensions of the result.
            inputs: tensors from which it is computed.
            saves: tensors kept for the backward pass.
            saves_output: whether the result is kept as well.
            itemsize: bytes per number of the result; None: that of the first input.
            during: dimensions of what lives only while it runs.
            work: dimensions of what lives only while it runs backward.
            expands: whether its gradient passes on unchanged, like that of a sum.
        """
        itemsize = itemsize or inputs[0].itemsize
        out = self.allocate(label, dims, itemsize)
        passing = [Storage(self, "workspace", one, itemsize) for one in during]
        del passing
        node = None
        if self.is_recording and any(one.needs_grad for one in inputs):
            kept = [one.storage if isinstance(one, Value) else one for one in saves]
            kept += [out] if saves_output else []
            node = self._record(inputs, saved=kept, work=work, alias=expands)
        return Value(out, dims, node)

    def view(self, x: Value, dims: str | None = None) -> Value:
        """Return another view of the same memory; its gradient passes on unchanged."""
        return self.join(x.dims if dims is None else dims, [x], storage=x.storage)

    def join(self, dims: str, inputs: Sequence[Value], *, storage: Storage) -> Value:
        """Return a result whose gradient is also the gradient of every input."""
        node = None
        if self.is_recording and any(one.needs_grad for one in inputs):
            node = self._record(inputs, saved=[], work=(), alias=True)
        return Value(storage, dims, node)

    def add(self, label: str, x: Value, y: Value) -> Value:
        """Add two tensors of one shape; nothing is saved."""
        itemsize = max(x.itemsize, y.itemsize)
        return self.join(x.dims, [x, y], storage=self.allocate(label, x.dims, itemsize))

    def checkpoint(self, function: Callable[[Value], Value], x: Value) -> Value:
        """Run `function` and keep only `x`; the backward pass runs it again."""
        if not self.is_recording:
            return function(x)
        self.is_recording = False
        storage = function(x).storage
        self.is_recording = True
        wanted: list[_Wanted] = [(x.node, None, x.dims, x.itemsize)]
        generator = self.allocate("state of the random generator", f"{_GENERATOR_BYTES}", 1)
        node = _Node(self._part, wanted, saved=[x.storage, generator], replay=function)
        self._nodes.append(node)
        return Value(storage, x.dims, node)

    def backward(self, loss: Value) -> None:
        """Run everything backward from `loss`, freeing saved tensors on the way."""
        assert loss.node is not None, "a loss without parameters"
        grads = {loss.node: self.allocate("gradient on its way", loss.dims, loss.itemsize)}
        self._run_all_backward(grads)

    def drop_gradients(self) -> None:
        """Free the gradients of the parameters."""
        self._gradients.clear()

    def _run_all_backward(self, grads: dict[_Node, Storage]) -> None:
        while self._nodes:
            node = self._nodes.pop()
            if node in grads:
                self.enter(node.part, direction="backward: ")
                if node.replay is None:
                    self._run_backward(node, grads)
                else:
                    self._replay_backward(node, grads)

    def _replay_backward(self, node: _Node, grads: dict[_Node, Storage]) -> None:
        """Run a checkpointed part forward again, this time recorded, and then backward."""
        assert node.replay is not None
        [(source, _, dims, _)] = node.inputs
        outer, self._nodes = self._nodes, []
        entry = _Node(node.part, [], saved=[])
        self._direction = "backward, again forward: "
        out = node.replay(Value(node.saved[0], dims, entry))
        assert out.node is not None
        inner = {out.node: grads.pop(node)}
        del out
        node.saved, node.replay = [], None
        self._run_all_backward(inner)
        self._nodes = outer
        if source is not None:
            _accumulate(grads, source, inner.pop(entry))

    def _record(
        self, inputs: Sequence[Value], *, saved: list[Storage], work: Sequence[str], alias: bool
    ) -> _Node:
        wanted = [
            (one.node, one.storage if one.is_leaf else None, one.dims, one.itemsize)
            for one in inputs
            if one.needs_grad
        ]
        node = _Node(self._part, wanted, saved=saved, work=work, alias=alias)
        self._nodes.append(node)
        return node

    def _run_backward(self, node: _Node, grads: dict[_Node, Storage]) -> None:
        incoming = grads.pop(node)
        made = []
        for source, leaf, dims, itemsize in node.inputs:
            shared = node.alias and (leaf is None) and itemsize == incoming.itemsize
            label = f"gradient: {leaf.label}" if leaf is not None else "gradient on its way"
            made.append(
                (source, leaf, incoming if shared else Storage(self, label, dims, itemsize))
            )
        passing = [Storage(self, "workspace", one, incoming.itemsize) for one in node.work]
        del incoming, passing
        node.saved, node.inputs = [], []
        while made:
            source, leaf, gradient = made.pop(0)
            if leaf is not None:
                self._gradients.setdefault(leaf, gradient)
            elif source is not None:
                _accumulate(grads, source, gradient)
            del gradient

    def _rounded(self, num_bytes: int) -> int:
        return -(-num_bytes // self._block) * self._block

    def _allocated(self, storage: Storage) -> None:
        self._live[storage.label, storage.dims, storage.itemsize] += 1
        self.live_bytes += self._rounded(storage.num_bytes)
        self._num_allocations += 1
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes, self.peak_at = self.live_bytes, self._num_allocations
            self.peak_phase = self.phase
        if self._num_allocations == self._snapshot_at:
            self.snapshot = self.lines()

    def _freed(self, storage: Storage) -> None:
        self._live[storage.label, storage.dims, storage.itemsize] -= 1
        self.live_bytes -= self._rounded(storage.num_bytes)


def _accumulate(grads: dict[_Node, Storage], source: _Node, gradient: Storage) -> None:
    """Add a gradient to an earlier one, in place, unless that is only a view of something small."""
    earlier = grads.get(source)
    if earlier is None or earlier.num_bytes < gradient.num_bytes:
        grads[source] = gradient
