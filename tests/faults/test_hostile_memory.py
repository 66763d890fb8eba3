"""Text from a stranger takes memory in proportion to the file, however it is nested."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from accounting.sources.inputs import read_model
from bpe import Vocabulary
from tokenizer import TokenFile, Tokenizer
from tokenizer.formats import load_tiktoken, load_vocabulary
from trainer.checkpoint.manifest import read_manifest
from trainer.checkpoint.run_checkpoint import inspect_checkpoint
from trainer.config.presets import load_config
from trainer.costs import TRAINER
from trainer.monitoring.metrics import read_metrics
from trainer.storage.run_directory import read_json
from trainer.storage.toml_text import MAX_CHARACTERS, MAX_PARTS, parse_toml
from trainer.summary import Summary

JSON_BYTES_A_BYTE, TOML_BYTES_A_BYTE = 64, 512
SPARE_BYTES = 1 << 20
NUM = 20_000


def _checkpoint(path: Path) -> None:
    found = inspect_checkpoint(path.parent)
    assert isinstance(found, str)
    raise ValueError(found)


def _token_file(path: Path) -> None:
    for name in ("a.npy", "a.documents.npy"):
        path.with_name(name).touch()
    TokenFile.open(path.with_name("a.npy"))


LOADERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "run's JSON": ("data.json", read_json),
    "summary": ("summary.json", Summary.load),
    "manifest": ("manifest.json", lambda path: read_manifest(path.parent)),
    "checkpoint": ("manifest.json", _checkpoint),
    "metrics": ("metrics.jsonl", read_metrics),
    "vocabulary": ("bpe.json", lambda path: Vocabulary.load(path.parent)),
    "tokenizer.json": ("tokenizer.json", load_vocabulary),
    "vocab.json": ("vocab.json", lambda path: Tokenizer.from_files(path, _merges(path))),
    "tiktoken": ("a.tiktoken", lambda path: load_tiktoken(path, pattern="gpt2")),
    "sidecar": ("a.json", _token_file),
    "config.json": ("config.json", lambda path: read_model(str(path))),
}


def _merges(vocab: Path) -> Path:
    path = vocab.with_name("merges.txt")
    path.write_text("")
    return path


def _objects(inner: str) -> str:
    return '{"a":[' + f"{inner}," * NUM + f"{inner}]}}"


JSON = {
    "lists": _objects("[]"),
    "objects": _objects("{}"),
    "named objects": _objects('{"":0}'),
    "names": "{" + ",".join(f'"{i}":[]' for i in range(NUM)) + "}",
    "wide characters": _objects('"\U0001f600"'),
    "deep": "[" * NUM,
    "lines": "{}\n" * NUM,
}


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
    except (ValueError, OSError):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", LOADERS)
def test_json_takes_a_stated_multiple_of_its_size(name: str, tmp_path: Path) -> None:
    file, load = LOADERS[name]
    for text in ("{}", *JSON.values()):  # the first one imports what is needed
        (tmp_path / file).write_text(text, encoding="utf-8")
        size = (tmp_path / file).stat().st_size
        peak = _peak(lambda: load(tmp_path / file))
        assert text == "{}" or peak < JSON_BYTES_A_BYTE * size + SPARE_BYTES, text[:30]


TOML = {
    "tables": "".join(f"[{i}]\n" for i in range(3000)),
    "deep tables": "".join(f"[{i}{'.a' * (MAX_PARTS - 1)}]\n" for i in range(1000)),
    "deep keys": "".join(f"{i}{'.a' * (MAX_PARTS - 1)}=1\n" for i in range(1000)),
    "inline": "a=[" + "{a.a.a.a=1}," * 1000 + "]",
    "dotted key": "a." * 20_000 + "b=1",
    "quoted key": "[" + '"a" . ' * 20_000 + "b]",
    "literal key": "x={ " + "'a'." * 20_000 + "b=1}",
    "escapes": 'a="' + '\\"' * 20_000,
    "too long": "#" * (MAX_CHARACTERS + 1),
}


@pytest.mark.parametrize("kind", TOML)
@pytest.mark.parametrize(
    "load", [load_config, lambda path: read_model(str(path), application=TRAINER)]
)
def test_toml_takes_a_stated_multiple_of_its_size(
    load: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TOML[kind])
    peak = _peak(lambda: load(path))
    assert peak < TOML_BYTES_A_BYTE * len(TOML[kind]) + SPARE_BYTES
    with pytest.raises(ValueError, match=r"config\.toml"):
        load(path)


@pytest.mark.parametrize(
    "text",
    ["a.b.c.d.e.f.g.h=1", 'path="a.b.c.d.e.f.g.h.i.j.txt"', "x=[1.5,2.5, 3.5]", "a='b.c.d.e.f.g'"],
)
def test_what_configurations_hold_is_read(text: str) -> None:
    assert parse_toml(text, origin="here")
