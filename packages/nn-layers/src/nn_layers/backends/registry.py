"""List the ways to compute attention and the loss, and the position schemes, by name.

Stage: source files -> *names* -> options, help, backends. Names and descriptions are read from the
files, so neither a backend nor torch is imported for them. A new file in `attention/` or `loss/` is
listed because it is there. Not here: which way `auto` takes (`choice`).
"""

import ast
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["attention", "loss"]

RENAMED: dict[tuple[Kind, str], str] = {
    ("attention", "fused"): "sdpa",
    ("loss", "fused"): "in-place, or triton on CUDA",
}


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of all backends of a kind.

    >>> names("attention")
    ('matmul', 'native', 'plain', 'sdpa', 'triton')
    """
    found = pkgutil.iter_modules([str(Path(__file__).with_name(kind))])
    return tuple(module.name.replace("_", "-") for module in found)


def describe(kind: Kind) -> dict[str, str]:
    """Return what each backend does, by name: the first sentence of its file.

    >>> describe("loss")["plain"]
    'Score all logits at once by the written-out formula.'
    """
    folder = Path(__file__).with_name(kind)
    files = {name: folder / f"{name.replace('-', '_')}.py" for name in names(kind)}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in trees.items()}


def require_known(kind: Kind, name: str, *, option: str) -> None:
    """Refuse a name that no backend has, and a former one with its new name.

    Raises:
        ValueError: neither `auto` nor a backend.
    """
    if name == "auto" or name in names(kind):
        return
    if new := RENAMED.get((kind, name)):
        raise ValueError(f"{option} is {name!r}, which has been renamed; use {new}")
    choices = ", ".join(map(repr, ("auto", *names(kind))))
    raise ValueError(f"{option} is {name!r}, but must be one of {choices}")


def class_names(module: str) -> tuple[str, ...]:
    """Return the names of the classes in a module that an option chooses from, in order.

    >>> class_names("positions"), class_names("feed_forward"), class_names("block")
    (('none', 'rope'), ('swiglu', 'silu'), ('pre', 'post', 'none'))
    """
    text = Path(__file__).parents[1].joinpath(f"{module}.py").read_text(encoding="utf-8")
    return tuple(re.findall(r'^    name = "(\w+)"$', text, re.MULTILINE))
