"""Checkpoints of a run: written whole, found by validity, loaded bit for bit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from faults.forgery import reseal
from safetensors.torch import load_file
from torch import nn

from trainer.checkpoint import run_checkpoint as checkpoints
from trainer.checkpoint.manifest import manifest_bytes
from trainer.checkpoint.run_checkpoint import (
    Checkpoint,
    load_into,
    load_model,
    newest_checkpoint,
    prune_checkpoints,
    take_snapshot,
    write_checkpoint,
)

Pair = tuple[nn.Module, torch.optim.Optimizer]


def _build(width: int = 4, *, seed: int = 0) -> Pair:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def _step(pair: Pair) -> None:
    model, optimizer = pair
    optimizer.zero_grad()
    model(torch.ones(5, 3)).square().sum().backward()
    optimizer.step()


def _write(run_dir: Path, step: int, pair: Pair | None = None, **state: object) -> Path:
    model, optimizer = pair or _build()
    snapshot = take_snapshot(
        step=step, model=model, optimizer=optimizer, state=state, config_toml="a = 1\n"
    )
    return write_checkpoint(run_dir, snapshot)


def test_round_trip_is_bitwise(tmp_path: Path) -> None:
    pair, other = _build(), _build(seed=1)
    for _ in range(3):
        _step(pair)
    _write(tmp_path, 3, pair, tokens=12, seconds=0.1)
    found, skipped = newest_checkpoint(tmp_path)
    assert skipped == []
    assert load_into(found, *other) == {"tokens": 12, "seconds": 0.1}
    for _ in range(3):
        _step(pair)
        _step(other)
    for ours, theirs in zip(pair[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_directory_holds_what_it_promises(tmp_path: Path) -> None:
    pair = _build()
    path = _write(tmp_path, 7, pair, tokens=1)
    names = {"model.safetensors", "optimizer.safetensors", "state.json", "config.toml"}
    names |= {"manifest.json"}
    assert path == tmp_path / "checkpoints" / "step-7"
    assert {file.name for file in path.iterdir()} == names
    state = json.loads((path / "state.json").read_text())
    assert (state["format"], state["version"], state["step"]) == (
        "trainer.checkpoint",
        2,
        7,
    )
    assert (path / "config.toml").read_text() == "a = 1\n"
    assert set(load_file(path / "model.safetensors")) == set(pair[0].state_dict())


def test_equal_state_gives_equal_bytes(tmp_path: Path) -> None:
    pair = _build()
    _step(pair)
    a, b = (_write(tmp_path / name, 1, pair, tokens=1) for name in "ab")
    for file in a.iterdir():
        assert file.read_bytes() == (b / file.name).read_bytes(), file.name


def test_model_alone_can_be_loaded(tmp_path: Path) -> None:
    pair, other = _build(), _build(seed=1)
    _write(tmp_path, 1, pair)
    load_model(newest_checkpoint(tmp_path)[0], other[0])
    assert torch.equal(pair[0][0].weight, other[0][0].weight)


def test_run_without_checkpoints_has_no_newest(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == (None, [])


def test_newest_is_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        _write(tmp_path, step)
    found, _ = newest_checkpoint(tmp_path)
    assert found.step == 100


def _truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _flip(path: Path) -> None:
    file = path / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _rewrite(path: Path, **changes: object) -> None:
    file = path / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    reseal(path)


def _write_state(path: Path, text: str) -> None:
    (path / "state.json").write_text(text)
    reseal(path)


def _unlist_model(path: Path) -> None:
    (path / "model.safetensors").rename(path / "other")
    reseal(path)


DAMAGE = {
    "truncated": (_truncate, r"model\.safetensors has \d+ bytes and not \d+"),
    "flipped bit": (_flip, r"optimizer\.safetensors is damaged"),
    "no model": (lambda p: (p / "model.safetensors").unlink(), "No such file"),
    "no state": (lambda p: (p / "state.json").unlink(), "No such file"),
    "torn state": (lambda p: _write_state(p, '{"step": '), "Expecting value"),
    "list as state": (lambda p: _write_state(p, "[1]"), "state.json is incomplete"),
    "no step": (lambda p: _write_state(p, "{}"), "of format None"),
    "altered state": (lambda p: (p / "state.json").write_text(""), "state.json has 0 bytes"),
    "later version": (lambda p: _rewrite(p, version=9), "version 9, but .* version 2 is needed"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "No such file"),
    "torn manifest": (lambda p: (p / "manifest.json").write_text('{"'), "is not valid JSON"),
    "list as manifest": (lambda p: (p / "manifest.json").write_text("[]"), "not a JSON object"),
    "link": (lambda p: _link(p / "model.safetensors"), "model.safetensors is a link"),
    "foreign name": (lambda p: _list(p, "../../x"), "'../../x', which is not a file beside it"),
    "unlisted model": (_unlist_model, "does not name model.safetensors"),
    "other step": (lambda p: _rewrite(p, step=3), "state.json is of step 3"),
}


def _link(path: Path) -> None:
    path.symlink_to(path.rename(path.parents[2] / "elsewhere"))


def _list(path: Path, name: str) -> None:
    (path / "manifest.json").write_bytes(manifest_bytes({name: [b"x"]}))


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_checkpoint_is_skipped_and_named(tmp_path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    _write(tmp_path, 10)
    damage(_write(tmp_path, 20))
    found, skipped = newest_checkpoint(tmp_path)
    assert found.step == 10
    assert len(skipped) == 1
    assert skipped[0].startswith(str(tmp_path / "checkpoints" / "step-20"))
    with pytest.raises(ValueError, match=reason):
        raise ValueError(skipped[0])


def test_valid_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    path = _write(tmp_path, 5, _build(seed=0))
    before = (path / "model.safetensors").read_bytes()
    assert _write(tmp_path, 5, _build(seed=1)) == path
    assert (path / "model.safetensors").read_bytes() == before


def test_damaged_checkpoint_is_replaced(tmp_path: Path) -> None:
    _flip(_write(tmp_path, 5))
    _write(tmp_path, 5)
    assert newest_checkpoint(tmp_path)[1] == []


@pytest.mark.parametrize("name", ["write_durably", "sync_directory"])
def test_interrupted_write_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _write(tmp_path, 5)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            _write(tmp_path, 6)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-5"]


def test_leftovers_of_a_killed_process_are_ignored_and_cleaned(tmp_path: Path) -> None:
    path = _write(tmp_path, 5)
    shutil.copytree(path, path.with_name("step-9.tmp"))
    shutil.copytree(path, path.with_name("step-6.tmp"))
    assert newest_checkpoint(tmp_path)[0].step == 5
    _write(tmp_path, 6)
    assert {p.name for p in path.parent.iterdir()} == {"step-5", "step-6"}


def test_pruning_keeps_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 10, 11):
        _write(tmp_path, step)
    prune_checkpoints(tmp_path, 2)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"step-10", "step-11"}


def test_pruning_never_counts_a_damaged_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        _write(tmp_path, step)
    _flip(tmp_path / "checkpoints" / "step-3")
    prune_checkpoints(tmp_path, 1)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"step-2"}


def test_pruning_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0"):
        prune_checkpoints(tmp_path, 0)


def test_checkpoint_of_another_model_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    _write(tmp_path, 1, _build(4))
    other = _build(5)
    before = [parameter.clone() for parameter in other[0].parameters()]
    found, _ = newest_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"another model: 0\.weight is \(4, 3\) and not \(5, 3\)"):
        load_into(found, *other)
    assert all(map(torch.equal, before, other[0].parameters()))


def test_model_file_that_was_made_elsewhere_needs_no_metadata(tmp_path: Path) -> None:
    # A Checkpoint is only a path: a reader of other projects may have rewritten the model file.
    from safetensors.torch import save_file

    pair, other = _build(), _build(seed=1)
    save_file(dict(pair[0].state_dict()), tmp_path / "model.safetensors")
    load_model(Checkpoint(tmp_path, 1, {}), other[0])
    assert torch.equal(pair[0][0].weight, other[0][0].weight)
