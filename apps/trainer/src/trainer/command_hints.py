"""Write the commands that messages recommend, so that they work when pasted.

Stage: words of a command -> *a line to paste* -> messages. In a workspace, uv runs the commands; it
needs `--project` if the current directory is outside. Not here: the messages.
"""

import shlex
import sys
from functools import cache
from pathlib import Path


def command(*words: object) -> str:
    """Return the line that runs one of the trainer's commands, with quoted arguments."""
    root = _workspace()
    if root is None:
        name, *rest = map(str, words)
        return shlex.join([str(Path(sys.executable).with_name(name)), *rest])
    return shlex.join(["uv", "run", "--package", "trainer", *_project(root), *map(str, words)])


def install_extra(name: str) -> str:
    """Return the line that installs an optional dependency."""
    root = _workspace()
    if root is None:
        return shlex.join(["uv", "pip", "install", f"trainer[{name}]"])
    return shlex.join(["uv", "sync", "--package", "trainer", "--extra", name, *_project(root)])


def _project(root: Path) -> list[str]:
    return [] if Path.cwd().is_relative_to(root) else ["--project", str(root)]


@cache
def _workspace() -> Path | None:
    """Return the workspace that contains this file; None: installed without one."""
    for folder in Path(__file__).resolve().parents:
        file = folder / "pyproject.toml"
        if file.exists() and "[tool.uv.workspace]" in file.read_text(encoding="utf-8"):
            return folder
    return None
