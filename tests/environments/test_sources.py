"""What sources take for granted: no module that a build may lack, no encoding of the locale."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("packages", "apps") for path in (ROOT / folder).glob("*/src/**/*.py")
)
# Modules of the standard library that import, at once, what a build of Python may lack.
OPTIONAL = {
    *("lzma", "bz2", "zlib", "gzip", "zipfile", "tarfile", "sqlite3", "dbm", "ssl", "compression"),
    *("readline", "curses", "tkinter", "fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"),
    *("syslog", "multiprocessing", "ctypes", "msvcrt", "winreg"),
}
NEEDED_BY_TORCH = {"zlib", "gzip", "ctypes"}
"""Without them torch and Numba cannot be imported, so what is beside those may import them."""
WITH_TORCH = {"trainer", "nn_layers", "optim", "_kernels"}


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a module is imported, but for what a `try` or an `if` guards."""
    for child in ast.iter_child_nodes(node):
        if isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Try | ast.If
        ):
            continue
        yield child
        yield from _at_import(child)


def _imported_at_once(tree: ast.Module) -> set[str]:
    names: list[str] = []
    for node in _at_import(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_module_imports_at_once_what_python_may_lack() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in _imported_at_once(_tree(path)) & OPTIONAL
        if not (name in NEEDED_BY_TORCH and WITH_TORCH & set(path.parts))
    }
    assert found == set()


def test_an_import_that_nothing_guards_is_found() -> None:
    code = (
        "import lzma\nclass A:\n    from os import path\n    import bz2\ndef f():\n    import ssl"
    )
    assert _imported_at_once(ast.parse(code)) & OPTIONAL == {"lzma", "bz2"}


def _is_text_without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the user's locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    named = {keyword.arg for keyword in call.keywords}
    words = [one.value for one in ast.walk(call) if isinstance(one, ast.Constant)]
    if "encoding" in named:
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    if name in ("run", "Popen", "check_output"):
        return bool(named & {"text", "universal_newlines"})
    if name == "NamedTemporaryFile":
        return "mode" in named
    if name == "fdopen" or (name == "open" and not isinstance(call.func, ast.Attribute)):
        return not any(isinstance(word, str) and "b" in word for word in words)
    # Path.open: other classes here have a method of that name, which take no mode.
    return name == "open" and any(word in ("r", "w", "a", "x", "r+", "w+", "a+") for word in words)


def test_a_call_that_leaves_the_encoding_out_is_found() -> None:
    code = "p.read_text(); p.write_text('a'); open(p); p.open('w'); run(c, text=True)"
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert all(map(_is_text_without_encoding, calls))


def test_text_has_its_encoding_named() -> None:
    own = ("piece.read_text", "Piece")  # a piece of a corpus is UTF-8 by definition
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and _is_text_without_encoding(node)
        if not ast.unparse(node.func).startswith(own)
    ]
    assert found == []
