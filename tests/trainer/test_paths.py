"""Paths as text: whatever takes a path takes a string, as `open` does."""

import inspect
import re
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from faults.tiny_run import tiny_config

from trainer import load_run, train

KINDS = (types.FunctionType, types.MethodType)
LIBRARIES = ("accounting", "bpe", "nn_layers", "optim", "tokenizer", "trainer")


def _functions(library: str) -> dict[str, Callable[..., object]]:
    """Every public function and method of a library by its name."""
    module, found = import_module(library), {}
    for name in module.__all__:
        public = getattr(module, name)
        if inspect.isfunction(public):
            found[name] = public
        elif inspect.isclass(public):
            own = [m for m in vars(public) if not m.startswith("_")]
            methods = {f"{name}.{m}": getattr(public, m) for m in own}
            found |= {m: one for m, one in methods.items() if isinstance(one, KINDS)}
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_public_function_that_takes_a_path_takes_a_string(library: str) -> None:
    for name, function in _functions(library).items():
        for parameter in inspect.signature(function).parameters.values():
            words = set(re.findall(r"\w+", str(parameter.annotation)))
            assert "Path" not in words or "str" in words, f"{name}: {parameter}"


def test_a_run_is_trained_resumed_and_loaded_by_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_config(tmp_path, training__max_steps=2, evaluation__every_steps=2)
    assert train(config, "folder").run.path == Path("folder")
    assert train(config, "folder", resume=True).step == 2
    assert load_run("folder").step == 2
