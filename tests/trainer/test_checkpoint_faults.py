"""Checkpoints under every fault: kills, refusals, power cuts, flipped bits, truncation.

One save is tried: two checkpoints and a metrics file are there, a third is written, the first is
pruned. Whatever happens, the next start finds the third or the second, whole, and nothing else. The
bounded versions try an even sample; `--full` tries everything.
"""

import itertools
import os
import random
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from faults.disk import Disk, every_fault, in_fork, killed_at, record
from faults.mount import mount_small
from faults.power import crash_states
from torch import nn

from trainer.checkpoint.background import CheckpointSaver, SaveError
from trainer.checkpoint.run_checkpoint import (
    Checkpoint,
    Snapshot,
    inspect_checkpoint,
    load_into,
    newest_checkpoint,
    prune_checkpoints,
    take_snapshot,
    write_checkpoint,
)
from trainer.storage.run_directory import RunDirectory, hold_run, temporary_files

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(sys.platform != "linux", reason="the fault layer reads /proc"),
]

T = TypeVar("T")
RANDOM_FLIPS = 10_000
_CANNOT_MOUNT = 77


def _build(step: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(step)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def _snapshot(step: int) -> Snapshot:
    model, optimizer = _build(step)
    state = {"step": step, "tokens": 64 * step, "seconds": 0.5}
    return take_snapshot(
        step=step, model=model, optimizer=optimizer, state=state, config_toml="seed = 0\n"
    )


SNAPSHOTS = {step: _snapshot(step) for step in (1, 2, 3)}


def _save(run: Path) -> None:
    write_checkpoint(run, SNAPSHOTS[3])
    prune_checkpoints(run, 2)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A run as it is before the save."""
    run = tmp_path / "before"
    run.mkdir()
    (run / "metrics.jsonl").write_text("{}\n")
    for step in (1, 2):
        write_checkpoint(run, SNAPSHOTS[step])
    return run


def _copies(before: Path, num: int) -> Iterator[Path]:
    """Yield `num` copies of a run, one at a time."""
    for _ in range(num):
        copy = before.with_name("run")
        shutil.copytree(before, copy)
        yield copy
        shutil.rmtree(copy)


def _sample(items: Iterable[T], *, one_in: int, is_full: bool) -> list[T]:
    return list(itertools.islice(items, 0, None, 1 if is_full else one_in))


def _require_recovery(run: Path, *, is_saved: bool) -> None:
    """Start again: the run must resume from what was saved, with nothing left over."""
    with hold_run(RunDirectory(run), say=lambda line: None):
        assert temporary_files(RunDirectory(run)) == []
        assert [path for path in run.rglob("*") if path.name.endswith((".tmp", ".part"))] == []
        found, skipped = newest_checkpoint(run)
        assert skipped == []
        assert found.step in ((3,) if is_saved else (2, 3))
        for name, parts in SNAPSHOTS[found.step].files.items():
            assert (found.path / name).read_bytes() == b"".join(parts), name
        model, optimizer = _build(step=9)
        load_into(found, model, optimizer)
        assert torch.equal(model.weight, _build(found.step)[0].weight)


def test_a_save_killed_at_any_operation_loses_nothing(before: Path, is_full: bool) -> None:
    recorded = before.with_name("recorded")
    shutil.copytree(before, recorded)
    operations = record(recorded, lambda: _save(recorded))
    assert len(operations) > 30
    kills = _sample(every_fault(operations, "kill", "kill torn"), one_in=2, is_full=is_full)
    for (number, fault), copy in zip(kills, _copies(before, len(kills)), strict=True):
        assert killed_at(number, copy, lambda copy=copy: _save(copy), fault=fault)
        _require_recovery(copy, is_saved=False)


@pytest.mark.parametrize("for_good", [False, True])
def test_a_save_that_the_disk_refuses_anywhere_loses_nothing(
    before: Path, is_full: bool, for_good: bool
) -> None:
    recorded = before.with_name("recorded")
    shutil.copytree(before, recorded)
    operations = record(recorded, lambda: _save(recorded))
    faults = _sample(every_fault(operations), one_in=3, is_full=is_full)
    for (number, fault), copy in zip(faults, _copies(before, len(faults)), strict=True):
        is_saved = True
        try:
            with Disk(copy, at=number, fault=fault, for_good=for_good):
                _save(copy)
        except OSError as error:
            is_saved = False
            assert error.filename is not None, (number, fault)
        assert is_saved or fault != "short", "a short write is accepted"
        _require_recovery(copy, is_saved=is_saved)


def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(
    before: Path, tmp_path: Path, is_full: bool
) -> None:
    recorded = before.with_name("recorded")
    shutil.copytree(before, recorded)
    writing = record(recorded, lambda: write_checkpoint(recorded, SNAPSHOTS[3]))
    pruning = record(recorded, lambda: prune_checkpoints(recorded, 2))
    states = crash_states(before, writing + pruning)
    num_states = 0
    for state in itertools.islice(states, 0, None, 1 if is_full else 4):
        state.write(tmp_path / "state")
        _require_recovery(tmp_path / "state", is_saved=state.done >= len(writing))
        shutil.rmtree(tmp_path / "state")
        num_states += 1
    assert num_states > 100
    print(f"{num_states} states")


def _flipped(data: bytes, bit: int) -> bytes:
    byte = bytearray(data)
    byte[bit // 8] ^= 1 << bit % 8
    return bytes(byte)


def _require_detected(path: Path, checkpoint: Path, damaged: Iterable[bytes]) -> int:
    """Put each content in the place of a file; return how many, all of them detected."""
    original, tried = path.read_bytes(), 0
    for data in damaged:
        path.write_bytes(data)
        assert isinstance(inspect_checkpoint(checkpoint), str), (
            f"undetected: {path.name} as {data!r}"
        )
        tried += 1
    path.write_bytes(original)
    assert isinstance(inspect_checkpoint(checkpoint), Checkpoint)
    return tried


def test_every_flipped_bit_is_detected(before: Path, is_full: bool) -> None:
    checkpoint = before / "checkpoints" / "step-2"
    generator, tried = random.Random(6), 0
    for path in sorted(checkpoint.iterdir()):
        data = path.read_bytes()
        # Of tensors the header, of all else everything.
        end = 8 + int.from_bytes(data[:8], "little") if path.suffix == ".safetensors" else len(data)
        bits = _sample(range(8 * end), one_in=13, is_full=is_full)
        num_random = RANDOM_FLIPS // 5 if is_full else 50
        bits += [generator.randrange(8 * len(data)) for _ in range(num_random)]
        tried += _require_detected(path, checkpoint, (_flipped(data, bit) for bit in bits))
    print(f"{tried} flips")


def test_every_other_length_is_detected(before: Path, is_full: bool) -> None:
    checkpoint = before / "checkpoints" / "step-2"
    for path in sorted(checkpoint.iterdir()):
        data = path.read_bytes()
        lengths = _sample(range(len(data)), one_in=7, is_full=is_full)
        damaged = [data[:length] for length in lengths] + [data + b"\0", data + data]
        _require_detected(path, checkpoint, damaged)


def test_a_damaged_newest_checkpoint_is_passed_over_and_named(before: Path) -> None:
    (before / "checkpoints" / "step-2" / "config.toml").write_bytes(b"seed = 1\n")
    found, skipped = newest_checkpoint(before)
    assert found.step == 1
    assert "config.toml is damaged" in skipped[0]


def test_a_disk_that_is_really_full_loses_nothing(before: Path, tmp_path: Path) -> None:
    """In a user namespace of its own, on a file system of 64 kB with no space left."""
    small = tmp_path / "small"
    small.mkdir()

    def fill_and_save() -> None:
        if not mount_small(small, size="64k"):
            os._exit(_CANNOT_MOUNT)
        run, filler = small / "run", small / "filler"
        shutil.copytree(before, run)
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1 << 17))
        with pytest.raises(OSError, match="No space"):
            _save(run)
        _require_recovery(run, is_saved=False)
        filler.unlink()
        _save(run)
        _require_recovery(run, is_saved=True)

    status = in_fork(fill_and_save)
    if status == _CANNOT_MOUNT:
        pytest.skip("no file system can be mounted here")
    assert status == 0


def test_a_limit_on_file_size_loses_nothing(before: Path) -> None:
    def save_within(limit: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(OSError, match="File too large"):
            _save(before)

    for limit in (0, 100, 1000):
        assert in_fork(lambda limit=limit: save_within(limit)) == 0
        _require_recovery(before, is_saved=False)


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_failed_save_stops_the_run_or_is_said_and_tried_again(
    before: Path, on_failure: str
) -> None:
    said: list[str] = []
    saver = CheckpointSaver(before, keep=2, on_failure=on_failure, say=said.append)

    def save_twice() -> None:
        with saver:
            with Disk(before, at=0, fault="ENOSPC", for_good=True):
                saver.start(SNAPSHOTS[3])
                saver.finish()
            saver.start(SNAPSHOTS[3])

    _expect(SaveError if on_failure == "stop" else None, save_twice)
    message = "the checkpoint of step 3 could not be saved: [Errno 28] No space left on device"
    if on_failure == "continue":
        assert message in said[0]
        assert "step-2, step-1 in" in said[0]
    _require_recovery(before, is_saved=on_failure == "continue")


def _expect(error: type[Exception] | None, action: Callable[[], None]) -> None:
    if error is None:
        action()
        return
    with pytest.raises(error, match=r"step 3 could not be saved: .*No space"):
        action()


def test_the_last_save_must_succeed_whatever_the_policy(before: Path) -> None:
    saver = CheckpointSaver(before, keep=2, on_failure="continue", say=pytest.fail)
    with Disk(before, at=0, fault="EIO", for_good=True), pytest.raises(SaveError), saver:
        saver.start(SNAPSHOTS[3])


def test_nothing_is_written_after_a_failure_in_the_background_goes_unseen(before: Path) -> None:
    saver = CheckpointSaver(before, keep=2, on_failure="stop", say=pytest.fail)
    with Disk(before, at=0, fault="EIO", for_good=True):
        saver.start(SNAPSHOTS[3])
        saver._thread.join()
        with pytest.raises(SaveError):
            saver.check()


def test_modes_of_a_checkpoint_follow_the_umask(tmp_path: Path) -> None:
    for umask in (0o022, 0o027, 0o077):
        previous = os.umask(umask)
        try:
            path = write_checkpoint(tmp_path / str(umask), SNAPSHOTS[1])
        finally:
            os.umask(previous)
        assert path.stat().st_mode & 0o777 == 0o777 & ~umask
        assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o666 & ~umask}
