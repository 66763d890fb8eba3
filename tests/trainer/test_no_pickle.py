"""Nothing that a run does, in whichever dependency, unpickles anything."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from faults.disk import in_fork
from faults.tiny_run import run_tiny, tiny_config

from trainer import load_checkpoint, save_checkpoint
from trainer.doctor import examine
from trainer.inference.generation import generate_text
from trainer.inference.trained_run import load_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def _work(folder: Path) -> None:
    """Prepare, train, stop, go on, verify, load, sample, save and load in one file."""
    config, run_dir = tiny_config(folder), folder / "run"
    run_tiny(config, run_dir)
    (run_dir / "summary.json").unlink()
    run_tiny(tiny_config(folder, training__max_steps=14), run_dir, resume=True)
    assert all(finding.is_whole for finding in examine(run_dir))
    run = load_run(run_dir)
    "".join(generate_text(run.model, run.tokenizer, "line", max_tokens=3))
    optimizer = torch.optim.SGD(run.model.parameters())
    save_checkpoint(run.model, optimizer, 1, folder / "one")
    load_checkpoint(folder / "one", run.model, optimizer)


def _watched(work: Callable[[], object]) -> list[str]:
    """Return what unpickling was seen; for a process of its own, as hooks can't be removed."""
    seen: list[str] = []
    sys.addaudithook(
        lambda event, values: seen.append(repr(values)) if event == "pickle.find_class" else None
    )
    for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load"), (torch, "save")):
        setattr(module, name, _noted(name, getattr(module, name), seen))
    work()
    return seen


def _noted(name: str, function: Callable, seen: list[str]) -> Callable:
    def call(*values: object, **more: object) -> object:
        seen.append(name)
        return function(*values, **more)

    return call


def test_a_run_unpickles_nothing(tmp_path: Path) -> None:
    for name in ("warm", "watched"):
        (tmp_path / name).mkdir()
    run_tiny(tiny_config(tmp_path / "warm"), tmp_path / "warm" / "run")  # kernels are loaded once

    def watch() -> None:
        assert _watched(lambda: _work(tmp_path / "watched")) == []

    assert in_fork(watch) == 0


def test_unpickling_would_be_seen(tmp_path: Path) -> None:
    def watch() -> None:
        data = pickle.dumps(Path)
        assert _watched(lambda: pickle.loads(data)) == ["loads", "('pathlib', 'Path')"]

    assert in_fork(watch) == 0
