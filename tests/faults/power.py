"""What a power cut may leave on a disk: every state, from a record of what was done to it.

Harsher than file systems are: what was not fsynced may be lost, torn or zeroed; names that no fsync
of their directory brought to the disk may be missing in any combination; an fsync of a file says
nothing about its name.

    operations = record(root, save)                     # `faults.disk`
    for state in crash_states(before, operations):      # `before`: a copy of root from before
        state.write(folder); check(folder, state.done)
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.disk import Operation

ALL_SUBSETS_UP_TO = 6
"""Unsynced names: to here every combination, above prefixes, all but one, and each alone."""

Tree = dict[str, bytes | None]
"""Path to content; None: a directory."""


@dataclass(frozen=True)
class CrashState:
    """One thing that a power cut may leave."""

    done: int
    """Operations that had returned."""
    tree: Tree

    def write(self, folder: Path) -> None:
        """Make `folder`, which must not exist, look like it."""
        folder.mkdir()
        for path, content in sorted(self.tree.items()):
            if content is None:
                (folder / path).mkdir()
            else:
                (folder / path).write_bytes(content)


def crash_states(before: Path, operations: list[Operation]) -> Iterator[CrashState]:
    """Yield every different state that a cut before, between or after the operations may leave.

    Args:
        before: a directory as it was, all of it on the disk.
        operations: as recorded below it.
    """
    model, seen = _Model(before), set()
    for done in range(len(operations) + 1):
        if done:
            model.apply(operations[done - 1])
        for tree in model.states():
            key = tuple(sorted(tree.items(), key=lambda item: item[0]))
            # The same state may be fine before an operation returned and a loss after.
            if (done, key) not in seen:
                seen.add((done, key))
                yield CrashState(done, tree)


@dataclass
class _Change:
    """Names of one operation that are not on the disk yet."""

    removed: tuple[int, str] | None
    added: tuple[int, str, int] | None

    def touches(self, folder: int) -> bool:
        return folder in {one[0] for one in (self.removed, self.added) if one is not None}

    def apply(self, entries: dict[int, dict[str, int]]) -> None:
        if self.removed is not None and self.removed[1] not in entries[self.removed[0]]:
            return
        if self.removed is not None:
            del entries[self.removed[0]][self.removed[1]]
        if self.added is not None:
            entries[self.added[0]][self.added[1]] = self.added[2]


@dataclass
class _Model:
    """The tree as programs see it, and the part of it that is on the disk."""

    before: Path
    live: dict[int, dict[str, int]] = field(default_factory=dict)
    durable: dict[int, dict[str, int]] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    synced: dict[int, bytes] = field(default_factory=dict)
    pending: list[_Change] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.root = self._read(self.before)
        self.durable = {folder: dict(names) for folder, names in self.live.items()}
        self.synced = dict(self.data)

    def _read(self, path: Path) -> int:
        number = next(self.numbers)
        if path.is_dir():
            self.live[number] = {child.name: self._read(child) for child in path.iterdir()}
        else:
            self.data[number] = path.read_bytes()
        return number

    def _find(self, path: str) -> tuple[int, str]:
        """Return the directory that a path's last name is in, and that name."""
        *folders, name = Path(path).parts
        number = self.root
        for folder in folders:
            number = self.live[number][folder]
        return number, name

    def _node(self, path: str) -> int:
        if path == ".":
            return self.root
        folder, name = self._find(path)
        return self.live[folder][name]

    def _change(self, change: _Change) -> None:
        change.apply(self.live)
        self.pending.append(change)

    def apply(self, operation: Operation) -> None:
        getattr(self, f"_{operation.name}")(operation)

    def _open(self, operation: Operation) -> None:
        folder, name = self._find(operation.path)
        if name not in self.live[folder]:
            number = next(self.numbers)
            self.data[number] = self.synced[number] = b""
            self._change(_Change(None, (folder, name, number)))
        if operation.truncates:
            self.data[self.live[folder][name]] = b""

    def _mkdir(self, operation: Operation) -> None:
        folder, name = self._find(operation.path)
        number = next(self.numbers)
        self.live[number], self.durable[number] = {}, {}
        self._change(_Change(None, (folder, name, number)))

    def _unlink(self, operation: Operation) -> None:
        self._change(_Change(self._find(operation.path), None))

    _rmdir = _unlink

    def _rename(self, operation: Operation) -> None:
        number, target = self._node(operation.path), self._find(operation.target)
        self._change(_Change(self._find(operation.path), (*target, number)))

    def _write(self, operation: Operation) -> None:
        number, end = self._node(operation.path), operation.offset + len(operation.data)
        content = self.data[number].ljust(operation.offset, b"\0")
        self.data[number] = content[: operation.offset] + operation.data + content[end:]

    def _truncate(self, operation: Operation) -> None:
        number = self._node(operation.path)
        self.data[number] = self.data[number][: operation.offset].ljust(operation.offset, b"\0")

    def _fsync(self, operation: Operation) -> None:
        number = self._node(operation.path)
        if number in self.data:
            self.synced[number] = self.data[number]
            return
        for change in self.pending:
            if change.touches(number):
                change.apply(self.durable)
        self.pending = [change for change in self.pending if not change.touches(number)]

    def states(self) -> Iterator[Tree]:
        for chosen in _subsets(self.pending):
            entries = {folder: dict(names) for folder, names in self.durable.items()}
            for change in chosen:
                change.apply(entries)
            for fate in ("lost", "kept", "torn", "zeroed"):
                yield dict(self._walk(self.root, "", entries, fate))

    def _walk(
        self, folder: int, prefix: str, entries: dict[int, dict[str, int]], fate: str
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, number in entries[folder].items():
            path = f"{prefix}{name}"
            if number in self.data:
                yield path, self._content(number, fate)
            else:
                yield path, None
                yield from self._walk(number, path + "/", entries, fate)

    def _content(self, number: int, fate: str) -> bytes:
        new, old = self.data[number], self.synced[number]
        if new == old or fate == "lost":
            return old
        if fate == "zeroed":
            return bytes(len(new))
        return new if fate == "kept" else new[: len(new) // 2]


def _subsets(changes: list[_Change]) -> Iterator[list[_Change]]:
    if len(changes) <= ALL_SUBSETS_UP_TO:
        for size in range(len(changes) + 1):
            yield from map(list, itertools.combinations(changes, size))
        return
    for i in range(len(changes) + 1):
        yield changes[:i]
    for i, change in enumerate(changes):
        yield changes[:i] + changes[i + 1 :]
        yield [change]
