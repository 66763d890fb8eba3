"""The READMEs and docs tell the truth: their code runs, their commands exist as written.

Every fenced block is covered: `python` is run in an empty directory and `pycon` is doctested;
of a `console` line the package, the command, its options and the links are checked, the commands
of the quickstart being run by `test_quickstart.py` and `.ci/run`. The recipes of docs/extending.md
are changes to sources; `test_extending.py` applies them.
"""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "docs/**/*.md", "packages/*/README.md", "apps/*/README.md")
    for path in ROOT.glob(pattern)
)
RECIPES = "docs/extending.md"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HIDES_COLOUR = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}


def _blocks(*languages: str) -> list[tuple[str, str]]:
    found = [
        (page, *match) for page in PAGES for match in _FENCE.findall((ROOT / page).read_text())
    ]
    return [(page, text) for page, language, text in found if language in languages]


def _commands() -> list[tuple[str, list[str]]]:
    lines = [
        (page, shlex.split(line, comments=True))
        for page, text in _blocks("console", "sh")
        for line in text.replace("\\\n", "").splitlines()
    ]
    return [(page, words) for page, words in lines if words]


@cache
def _scripts(package: str) -> dict[str, str]:
    for path in ROOT.glob("*/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        if project["name"] == package:
            return project["scripts"]
    raise AssertionError(f"no package {package}")


@cache
def _help(package: str, command: str) -> str:
    module, function = _scripts(package)[command].split(":")
    code = (
        f"import sys; sys.argv = [{command!r}, '--help']; from {module} import {function} as f; f()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=_HIDES_COLOUR, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_member_and_page_is_covered() -> None:
    members = [path.parent for path in ROOT.glob("*/*/pyproject.toml")]
    assert {f"{path.relative_to(ROOT).as_posix()}/README.md" for path in members} <= set(PAGES)
    for page in ("README.md", "docs/answers.md", "docs/formats.md", "docs/pipeline.md"):
        assert page in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text.count("\n```") == 2 * len(_FENCE.findall(text))
    for language, _ in _FENCE.findall(text):
        known = ("python", "pycon", "console", "sh", *(["toml"] if page == RECIPES else []))
        assert language in known, language


@pytest.mark.parametrize(
    ("page", "code"), [(page, code) for page, code in _blocks("python") if page != RECIPES]
)
def test_python_runs_and_prints_what_it_says(page: str, code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"print\(.*\)  # (.+)$|^# (.+)$", code, re.MULTILINE)
    expected = ["".join(pair) for pair in said]
    if expected:
        assert done.stdout.splitlines() == expected


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != RECIPES and ">>> " in (ROOT / page).read_text()],
)
def test_sessions_show_what_came_out(page: str) -> None:
    result = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("page", "words"), _commands(), ids=lambda value: str(value)[:60])
def test_commands_exist_with_their_options(page: str, words: list[str]) -> None:
    if words == ["pip", "install", "uv"] or words[:4] == ["uv", "run", "--all-packages", "pytest"]:
        return
    assert words[:3] == ["uv", "run", "--package"], words
    package, command, *arguments = words[3:]
    shown = _help(package, command)
    if "every option of `train` works here, too" in shown:
        shown += _help("trainer", "train")
    for argument in arguments:
        if argument.startswith("--"):
            assert re.search(rf"{re.escape(argument)}\b", shown), argument


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def _linked(page: str) -> set[str]:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    resolved = ((ROOT / page).parent.joinpath(target).resolve() for target in targets)
    return {path.relative_to(ROOT.resolve()).as_posix() for path in resolved}


def test_the_indexes_link_every_page_and_member() -> None:
    members = {
        f"{path.parent.relative_to(ROOT).as_posix()}/README.md"
        for path in ROOT.glob("*/*/pyproject.toml")
    }
    assert members | {"docs/README.md"} <= _linked("README.md")
    assert members <= _linked("docs/README.md")
    pages = {page for page in PAGES if page.startswith("docs/")}
    assert pages - {"docs/README.md"} <= _linked("docs/README.md") | _linked(
        "docs/experiments/README.md"
    )


def test_flops_command_prints_the_readmes_figures() -> None:
    code = "import sys; sys.argv = ['flops', 'gpt2-xl', '--json']"
    code += "; from accounting.cli.commands import flops"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; flops()"], capture_output=True, text=True, check=True
    )
    readme = (ROOT / "packages/accounting/README.md").read_text()
    (total,) = re.findall(r"([\d,]+) FLOPs", readme)
    assert str(json.loads(done.stdout)).count(total.replace(",", "")) == 1
