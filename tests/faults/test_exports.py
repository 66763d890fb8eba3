"""What `report --export`, `accounting` and `save_checkpoint` write is complete or absent.

Each file by itself: a kill may leave some of an export old and some new.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faults.disk import Disk, Operation, every_fault, killed_at, record
from faults.power import crash_states

from accounting.reports.files import write_text_atomically
from trainer import save_checkpoint
from trainer.config.presets import config_to_toml, load_preset
from trainer.monitoring.metrics import MetricsLog
from trainer.report import read_history, write_exports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layer reads /proc")

Write = Callable[[Path, int], object]
"""Fill a folder with what follows from a whole number."""


def _export(folder: Path, number: int) -> None:
    run = folder.parent / f"run-{number}"
    if not run.exists():
        run.mkdir()
        (run / "config.toml").write_text(
            config_to_toml(replace(load_preset("quickstart"), seed=number))
        )
        log = MetricsLog(run / "metrics.jsonl")
        for step in range(1, 9):
            when = {"step": step, "seconds": step * 0.5, "tokens": step * 64}
            rates = {"learning_rate": 0.01, "grad_norm": 0.5, "tokens_per_second": 128.0}
            log.append({"kind": "train", **when, "loss": number + 4.0 / step, **rates})
            log.append({"kind": "evaluation", **when, "loss": number + 5.0 / step})
    write_exports([read_history(run)], folder)


def _chart(folder: Path, number: int) -> None:
    write_text_atomically(folder / "chart.svg", f"<svg>{number}</svg>\n" * 300)


def _single_file(folder: Path, number: int) -> None:
    torch.manual_seed(number)
    model = torch.nn.Linear(3, 2)
    save_checkpoint(model, torch.optim.SGD(model.parameters()), number, folder / "a.safetensors")


OUTPUTS: dict[str, Write] = {
    "report --export": _export,
    "accounting --chart": _chart,
    "save_checkpoint": _single_file,
}


class Outputs:
    """A folder with old files, what new ones look like, and what is done to write them."""

    def __init__(self, write: Write, tmp_path: Path) -> None:
        self.folder, self.kept, self._write = tmp_path / "out", tmp_path / "kept", write
        self.folder.mkdir()
        write(self.folder, 1)
        self.old = _content(self.folder)
        shutil.copytree(self.folder, self.kept)
        self.operations: list[Operation] = record(self.folder, self.write)
        self.new = _content(self.folder)
        assert self.old.keys() == self.new.keys()
        assert self.old != self.new

    def write(self) -> None:
        self._write(self.folder, 2)

    def copies(self, num: int) -> Iterator[int]:
        """Yield numbers, each time with the folder as it was before."""
        for number in range(num):
            shutil.rmtree(self.folder)
            shutil.copytree(self.kept, self.folder)
            yield number

    def require_whole(self, folder: Path, where: object) -> None:
        found = _content(folder)
        for name in self.old:
            assert found[name] in (self.old[name], self.new[name]), (name, where)

    def require_clean_start(self, where: object) -> None:
        self.write()
        assert _content(self.folder) == self.new, where


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=OUTPUTS)
def outputs(request: pytest.FixtureRequest, tmp_path: Path) -> Outputs:
    return Outputs(OUTPUTS[request.param], tmp_path)


def test_a_kill_leaves_every_file_old_or_new_and_no_litter(outputs: Outputs, is_full: bool) -> None:
    kills = list(every_fault(outputs.operations, "kill", "kill torn"))
    chosen = kills[:: 1 if is_full else max(1, len(kills) // 6)]
    for i in outputs.copies(len(chosen)):
        number, fault = chosen[i]
        assert killed_at(number, outputs.folder, outputs.write, fault=fault)
        outputs.require_whole(outputs.folder, chosen[i])
        outputs.require_clean_start(chosen[i])


@pytest.mark.campaign
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_failing_disk_leaves_every_file_old_or_new(
    outputs: Outputs, is_full: bool, for_good: bool
) -> None:
    faults = list(every_fault(outputs.operations))[:: 1 if is_full else 11]
    for i in outputs.copies(len(faults)):
        number, fault = faults[i]
        told = None
        with Disk(outputs.folder, at=number, fault=fault, for_good=for_good):
            try:
                outputs.write()
            except OSError as error:
                told = error
        assert told is None or str(outputs.folder) in str(told.filename), faults[i]
        assert told is not None or _content(outputs.folder) == outputs.new, faults[i]
        outputs.require_whole(outputs.folder, faults[i])
        outputs.require_clean_start(faults[i])


@pytest.mark.campaign
def test_a_power_cut_leaves_every_file_old_or_new(outputs: Outputs, tmp_path: Path) -> None:
    for state in crash_states(outputs.kept, outputs.operations):
        for name in outputs.old:
            allowed = [outputs.new[name]]
            if state.done < len(outputs.operations):
                allowed.append(outputs.old[name])
            assert state.tree[name] in allowed, (name, state.done)
