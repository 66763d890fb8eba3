"""The prose is plain English, as far as a script can tell.

The house style's phrases to avoid are absent from documents, docstrings, comments and messages, and
every module docstring opens with one imperative sentence.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Changelogs are history, and this file quotes what it forbids.
EXEMPT = ("CHANGELOG.md", "tests/test_language.py")
COUNTED = (
    "(?:[KMGT]i?B|bit|byte|entry|FLOP|kernel|launch|line|matrix|nat|number|operation|parameter|row|sample"
    "|second|step|token|window)(?:e?s)?"
)
UNITS = (
    "(?:batch|block|byte|command|contest|contestant|document|evaluation|file|head|layer|line"
    "|logging step|machine|module|number|optimizer step|parameter|projection|row|run|second|seed"
    "|step|subject|token|trial|update|weight|window)"
)
PHRASES = {
    rf"{COUNTED} an? {UNITS}": "rates take `per`: nats per token, one matrix per projection",
    "a concept a file": "one concept per file",
    "goes on|going on|went on|gone on|go on (?:from|with)": "resumes, continues",
    "(?:do|does|doing) without": "falls back to, lacks, does not need",
    "(?:is|are|was|were) said": "is reported",
    "(?:is|are|was|were) told": "receives, is given",
    "tells": "reports, shows",
    "behind .{1,20} back": "in a background thread",
    "would have liked": "fallbacks are reported",
    "everybody|everyone|whoever|for nobody": "all runs, every contestant, no method",
    r"all but (?:as|every\w*|the|there)": "dominates, almost",
    "(?:stand|stands|stood) between": "name the cost",
    "is another one": "differs",
    "hears? of": "learns, receives",
    "(?:be|is) had": "is available, obtained",
    "that is to say": "delete it",
    "bears (?:a|the|rates)": "tolerates",
    "an own": "its own",
    "in little": "a small version",
    "anew": "again, rebuilt",
    "passe[sd] over|passing over": "skips",
    "as it is set up": "unchanged",
}
NO_VERBS = {
    *(
        "A",
        "All",
        "An",
        "And",
        "Are",
        "At",
        "By",
        "Do",
        "Does",
        "Each",
        "Every",
        "For",
        "From",
        "How",
    ),
    *(
        "If",
        "In",
        "Is",
        "It",
        "May",
        "On",
        "One",
        "Our",
        "The",
        "These",
        "This",
        "To",
        "What",
        "When",
    ),
    *("Where", "Whether", "Which", "Who", "Why", "With"),
}
ENDS_IN_S = {"Address", "Assess", "Compress", "Discuss", "Express", "Focus", "Pass", "Process"}


def _pattern(phrase: str) -> re.Pattern[str]:
    """Match the phrase across line ends, comment signs and quotes of adjacent literals."""
    gap = r"""(?:[ \t]+|[ \t]*["']?\n[ \t]*(?:\#[ ]?|f?["'])?)"""
    return re.compile(rf"\b(?:{phrase.replace(' ', gap)})\b", re.IGNORECASE)


PATTERNS = {phrase: _pattern(phrase) for phrase in PHRASES}


def _texts() -> list[str]:
    """Return every document, source and configuration that people wrote."""
    found = [
        path.relative_to(ROOT).as_posix()
        for top in ("*.md", "*.toml", "docs/**/*.md", "*/*/*.md", "*/*/*.toml")
        for path in ROOT.glob(top)
    ]
    for folder in ("packages", "apps", "tests"):
        for ending in ("py", "toml"):
            found += [p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob(f"*.{ending}")]
    clean = {name for name in found if "/." not in name and not name.startswith(".")}
    return sorted(name for name in clean if not name.endswith(EXEMPT))


def _modules() -> list[str]:
    return [name for name in _texts() if name.endswith(".py") and not name.startswith("tests/")]


def _complaints(text: str) -> list[str]:
    return [
        f"line {text.count(chr(10), 0, found.start()) + 1}: {found.group()!r}; {PHRASES[phrase]}"
        for phrase, pattern in PATTERNS.items()
        for found in pattern.finditer(text)
    ]


def _objection(docstring: str | None) -> str | None:
    """Return why a module docstring does not open with one imperative sentence, or None.

    >>> _objection("Train a vocabulary.")
    >>> _objection("Trains a vocabulary.")
    'Trains is not an imperative'
    """
    first = (docstring or "").partition("\n")[0]
    word = first.partition(" ")[0].removesuffix(",")
    if not first.endswith(".") or re.search(r"[.?!] [A-Z]", first):
        return "the first line is not one sentence with a full stop"
    is_verb = re.fullmatch("[A-Z][a-z]+", word) and word not in NO_VERBS
    if not is_verb or word.endswith("ing") or (word.endswith("s") and word not in ENDS_IN_S):
        return f"{word} is not an imperative"
    return None


def test_there_are_texts_of_every_kind() -> None:
    texts = _texts()
    for name in ("README.md", "pyproject.toml", "docs/README.md", "packages/optim/README.md"):
        assert name in texts
    assert "packages/optim/src/optim/adamw.py" in _modules()
    assert not [name for name in texts if ".venv" in name]


@pytest.mark.parametrize("name", _texts())
def test_no_phrase_is_one_that_the_house_style_replaces(name: str) -> None:
    assert _complaints((ROOT / name).read_text("utf-8")) == []


@pytest.mark.parametrize("name", _modules())
def test_modules_open_with_an_imperative_sentence(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / name).read_text("utf-8")))
    assert _objection(docstring) is None


@pytest.mark.parametrize(
    "text",
    [
        *("3.1 nats a token", "60 steps a second", "a matrix a\n    # projection", "1 KB a\nbyte"),
        *("a line a logging step", "a line an evaluation", 'seconds "\n    "a step'),
        *("the run goes on", "going on from step 3", "Saved behind the loop's back"),
        *("enough for nobody", "Everybody trains", "whoever comes next", "those before is said"),
        *("what auto has to do without", "what stands between", "products are all but everything"),
    ],
)
def test_phrases_of_these_kinds_are_found(text: str) -> None:
    assert _complaints(text)


@pytest.mark.parametrize(
    "text", ["3.1 nats per token", "one line per step", "TOKENS_A_STEP", "give it a second chance"]
)
def test_plain_english_is_not_complained_about(text: str) -> None:
    assert _complaints(text) == []


@pytest.mark.parametrize(
    "docstring",
    [
        *(
            None,
            "",
            "How fast?",
            "The command: bench.",
            "AdamW, Muon, SGD.",
            "This trains.",
            "Train",
        ),
        *("Trains a model.", "Training a model.", "Train it. Then stop.", "tiktoken: encodes."),
        *("What a model costs.", "OpenAI's tiktoken."),
    ],
)
def test_openings_that_are_no_imperatives_are_found(docstring: str | None) -> None:
    assert _objection(docstring) is not None
