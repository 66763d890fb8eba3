"""The path of a student through the sources: true line counts, short, and without asides."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| \[[\w/.]+\]\(\.\./([\w/.-]+\.py)\) \| (\d+) \|", re.MULTILINE)
LISTED = {path: int(num) for path, num in ROW.findall((ROOT / "docs/pipeline.md").read_text())}
MOST_LINES = 2500
# What serves speed, faults and machines has files of its own.
ASIDES = re.compile(r"\b(kernels?|cuda|triton|gpus?|avx\w*|faults?|crash\w*|power cuts?)\b", re.I)
MOST_ASIDES = 1


def _num_lines(path: str) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def _prose(path: str) -> list[str]:
    """Return the comments and docstrings of a file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    constants = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return comments + [value for value in constants if isinstance(value, str)]


def test_the_path_from_text_to_sample_is_short() -> None:
    assert len(LISTED) > 20
    assert sum(map(_num_lines, LISTED)) <= MOST_LINES


@pytest.mark.parametrize("path", LISTED)
def test_a_listed_file_has_about_the_lines_that_the_page_states(path: str) -> None:
    assert abs(_num_lines(path) - LISTED[path]) <= 5


@pytest.mark.parametrize("path", LISTED)
def test_a_listed_file_has_hardly_a_word_on_speed_and_faults(path: str) -> None:
    found = [word for text in _prose(path) for word in ASIDES.findall(text)]
    assert len(found) <= MOST_ASIDES, found
