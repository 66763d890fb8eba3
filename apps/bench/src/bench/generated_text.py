"""Measure how generated text changes with temperature, top-p and model.

Stage: runs, texts -> *measures of generated text*, and the same for held-out text. Nothing is
timed, so the machine does not matter. Not here: generating (`trainer.inference.generation`), the
loss.
"""

import argparse
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench.arguments import numbers, positive
from bench.console import new_table, say, table_console
from bench.contestants.models import DISTRIBUTIONS
from bench.contestants.peers import fetch_extras
from bench.durable import write_json
from bench.texts.vocabulary import END_OF_TEXT

if TYPE_CHECKING:
    from trainer.inference.sampling import SamplingConfig
    from trainer.inference.trained_run import LoadedRun

HELP = "Generate at several temperatures and top-ps, and compare the text with held-out text."
FORMAT, VERSION = "bench-generated-text", 1

_WORD = re.compile(r"[^\W\d_]{4,}")
_SHORTEST_LINE = 20
_SEQUENCE = 4
_NOTES = (
    f"repeated: sequences of {_SEQUENCE} words that appeared earlier in the same text",
    "invented: distinct words of four letters or more that do not occur in the training text",
    f"copied: lines of {_SHORTEST_LINE} characters or more that occur in the training text",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Words and lines of the training text."""

    words: frozenset[str]
    lines: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "Known":
        """Collect the words and the lines of `text`."""
        return cls(words=frozenset(_WORD.findall(text)), lines=frozenset(_lines(text)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Shares in [0, 1], over all texts together; None if there is nothing to count."""

    repeated: float | None
    invented: float | None
    copied: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Measures of one run at one setting; `run` is None for held-out text."""

    run: str | None
    temperature: float | None
    top_p: float | None
    measures: Measures
    texts: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="written by `train`")
    add("--train", type=Path, required=True, metavar="FILE", help="training text of the runs")
    add("--validation", type=Path, required=True, metavar="FILE", help="held-out text")
    add(
        "--prompt", action="append", metavar="TEXT", help='repeatable ("def ", "class ", "import ")'
    )
    add(
        "--temperatures",
        type=numbers,
        default=(0.0, 0.5, 0.8, 1.0, 1.3),
        metavar="NUMBERS",
        help="0 is greedy (0,0.5,0.8,1,1.3)",
    )
    add(
        "--top-ps",
        type=numbers,
        default=(1.0, 0.9),
        metavar="NUMBERS",
        help="draw from the likeliest tokens with this total probability; 1: from all (1,0.9)",
    )
    add("--texts", type=positive, default=8, metavar="N", help="texts per prompt (8)")
    add("--max-tokens", type=positive, default=256, metavar="N", help="tokens per text (256)")
    add("--seed", type=int, default=0, metavar="N", help="seed of all draws (0)")
    add("--json", type=Path, metavar="FILE", help="write measures and texts to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Generate at every setting, measure and report."""
    fetch_extras({"models.ours": DISTRIBUTIONS["models.ours"]})
    from trainer.inference.trained_run import load_run

    settings = _settings(arguments)
    known = Known.of(_read(arguments.train))
    held_out = _read(arguments.validation)
    prompts = arguments.prompt or ["def ", "class ", "import "]
    loaded = {str(path): load_run(path) for path in arguments.runs}
    first = next(iter(loaded.values()))
    pieces = _pieces(first, held_out, arguments, number=len(prompts) * arguments.texts)
    measures = measure(pieces, known)
    findings = [Finding(run=None, temperature=None, top_p=None, measures=measures, texts=pieces)]
    for name, model in loaded.items():
        for setting in settings:
            say(f"{name} at {setting.temperature:g}, {setting.top_p:g}")
            texts = _generate(model, prompts, arguments, setting)
            measures = measure(texts, known)
            pair = {"temperature": setting.temperature, "top_p": setting.top_p}
            findings.append(Finding(run=name, **pair, measures=measures, texts=texts))
    if arguments.json:
        content = {"format": FORMAT, "version": VERSION, "prompts": prompts, "seed": arguments.seed}
        content |= {"max_tokens": arguments.max_tokens, "findings": [asdict(f) for f in findings]}
        write_json(arguments.json, content)
    _print(findings)
    return 0


def measure(texts: Sequence[str], known: Known) -> Measures:
    """Measure texts against the training text; see `Measures`.

    >>> known = Known.of("return the value of the parser")
    >>> measure(["return the valeu", "to be or not to be or not"], known)
    Measures(repeated=0.2, invented=0.5, copied=0.0)
    """
    words = {word for text in texts for word in _WORD.findall(text)}
    lines = [line for text in texts for line in _lines(text)]
    repeated = [is_old for text in texts for is_old in _is_repeated(text.split())]
    return Measures(
        repeated=_share(repeated),
        invented=_share([word not in known.words for word in words]),
        copied=_share([line in known.lines for line in lines]),
    )


def _read(path: Path) -> str:
    from trainer.data.text_files import text_error

    data = path.read_bytes()
    if (error := text_error(data, name=path)) is not None:
        raise ValueError(error)
    text = data.decode("utf-8")
    if not text.replace(END_OF_TEXT, "").strip():
        raise ValueError(f"{path} holds no text; name the text that the runs were trained on")
    return text


def _settings(arguments: argparse.Namespace) -> list["SamplingConfig"]:
    from trainer.inference.sampling import SamplingConfig

    return [
        SamplingConfig(temperature=temperature, top_p=top_p)
        for temperature, top_p in product(arguments.temperatures, arguments.top_ps)
        if temperature > 0.0 or top_p == arguments.top_ps[0]  # greedy at any top-p
    ]


def _is_repeated(words: Sequence[str]) -> Iterator[bool]:
    seen = set()
    for start in range(len(words) - _SEQUENCE + 1):
        sequence = tuple(words[start : start + _SEQUENCE])
        yield sequence in seen
        seen.add(sequence)


def _lines(text: str) -> Iterator[str]:
    stripped = (line.strip() for line in text.split("\n"))
    return (line for line in stripped if len(line) >= _SHORTEST_LINE)


def _share(facts: Sequence[bool]) -> float | None:
    return sum(facts) / len(facts) if facts else None


def _generate(
    loaded: "LoadedRun",
    prompts: Sequence[str],
    arguments: argparse.Namespace,
    setting: "SamplingConfig",
) -> list[str]:
    from trainer.inference.generation import generate_texts

    times = 1 if setting.temperature == 0.0 else arguments.texts
    asked = [prompt for prompt in prompts for _ in range(times)]
    found = generate_texts(
        loaded.model,
        loaded.tokenizer,
        asked,
        max_tokens=arguments.max_tokens,
        temperature=setting.temperature,
        top_p=setting.top_p,
        seed=arguments.seed,
        compile="auto",
    )
    return [prompt + text for prompt, text in zip(asked, found, strict=True)]


def _pieces(
    loaded: "LoadedRun", text: str, arguments: argparse.Namespace, *, number: int
) -> list[str]:
    """Draw pieces of held-out text as long as the generated texts."""
    draw = random.Random(arguments.seed)
    documents = [document for document in text.split(END_OF_TEXT) if document.strip()]
    pieces = []
    for document in draw.choices(documents, weights=[len(d) for d in documents], k=number):
        start = draw.randrange(len(document))
        ids = loaded.tokenizer.encode(document[start : start + 64 * arguments.max_tokens])
        pieces.append(loaded.tokenizer.decode(ids[: arguments.max_tokens]))
    return pieces


def _print(findings: Iterable[Finding]) -> None:
    columns = ("text", "temperature", "top-p", "repeated", "invented", "copied")
    table = new_table("generated text", *columns)
    table.columns[0].overflow = "fold"
    for finding in findings:
        shares = asdict(finding.measures).values()
        settings = (finding.temperature, finding.top_p)
        table.add_row(
            finding.run or "held out",
            *("" if setting is None else f"{setting:g}" for setting in settings),
            *("" if share is None else f"{share:.1%}" for share in shares),
        )
    console = table_console(120)
    console.print(table)
    for note in _NOTES:
        console.print(note, highlight=False)
