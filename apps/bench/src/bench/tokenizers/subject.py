"""Compare tokenizers trained on Python source with those trained on English prose.

Stage: options -> texts -> vocabularies -> *compression, contents, speed* -> tables, JSON, pictures.
Not here: comparison of ours with the peers (`tokenization`).
"""

import argparse
import tempfile
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import permutations
from pathlib import Path

from bench.arguments import add_shared_options, positive, thread_counts, whole
from bench.console import print_problems, say
from bench.contestants.peers import CORPORA, fetch_extras
from bench.durable import write_json
from bench.measurement.harness import find_disagreements, run_when_idle
from bench.measurement.machine import describe_machine, num_cpus
from bench.texts.corpora import built_corpus
from bench.tokenizers import vocabularies
from bench.tokenizers.compression import compress
from bench.tokenizers.findings import Findings
from bench.tokenizers.speed import Run, encode_all, tokenizer_folder, train_all
from bench.tokenizers.tables import print_findings, write_pictures
from bench.tokenizers.texts import divide
from bpe import Vocabulary
from bpe.messages.plural import plural
from tokenizer import Tokenizer

HELP = "Train tokenizers on Python source and on English prose, and show how they differ."

_NAMES = ("python", "english")
_NUM_DRAWN, _NUM_LONGEST, _NUM_ONLY = 10, 10, 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    add = parser.add_argument
    add("--keep", type=Path, metavar="FOLDER", help="keep texts and tokenizers in FOLDER")
    add("--texts", action="store_true", help="make the texts in --keep and stop")
    add("--megabytes", type=float, metavar="N", help="size of each corpus (full size)")
    add(
        "--vocab-sizes",
        type=_sizes,
        default=(10_000, 32_000),
        help="sizes of both vocabularies (10000,32000)",
    )
    add("--seed", type=int, default=336, metavar="N", help="seed of all draws (336)")
    add("--rounds", type=positive, default=3, metavar="N", help="samples per contestant (3)")
    add("--threads", type=thread_counts, default=(1, 2), help="numbers (1,2)")
    add_shared_options(parser, json="findings", cache="built corpora")
    add("--svg", type=Path, metavar="FOLDER", help="draw three pictures into FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Make the texts, train, encode, compare; 1 if threads disagree or a sample fails."""
    if arguments.texts and arguments.keep is None:
        raise ValueError("--texts needs a folder for the texts; name one with --keep")
    if max(arguments.threads) > num_cpus():
        raise ValueError(f"--threads {arguments.threads}: there are {num_cpus()} CPUs")
    fetch_extras(CORPORA)
    arguments.cache_dir.mkdir(parents=True, exist_ok=True)
    with _folder(arguments) as place:
        findings = _start(arguments, Path(place))
        if arguments.texts:
            return 0
        _measure(findings, arguments, partial(run_when_idle, arguments.patience))
        if not findings.problems:
            _compare(findings, seed=arguments.seed)
            if arguments.json:
                write_json(arguments.json, findings.to_json())
            if arguments.svg:
                write_pictures(findings, arguments.svg)
            print_findings(findings)
    return print_problems(findings.problems)


def _folder(arguments: argparse.Namespace) -> AbstractContextManager[str | Path]:
    if arguments.keep is not None:
        return nullcontext(arguments.keep)
    return tempfile.TemporaryDirectory(dir=arguments.cache_dir)


def _start(arguments: argparse.Namespace, folder: Path) -> Findings:
    limit = None if arguments.megabytes is None else int(arguments.megabytes * 1e6)
    corpora, texts = [], []
    for name in _NAMES:
        say(f"corpus {name}")
        corpora.append(built_corpus(name, arguments.cache_dir, limit_bytes=limit))
        texts.append(divide(corpora[-1], folder / name, seed=arguments.seed))
        say(
            f"{name}: {plural(texts[-1].num_train_documents, 'document')} to train on, "
            f"{len(texts[-1].held_out):,} held out"
        )
    sizes = dict(zip(_NAMES, arguments.vocab_sizes, strict=True))
    settings = {"seed": arguments.seed, "rounds": arguments.rounds, "vocabulary sizes": sizes}
    machine = describe_machine(["bpe", "tokenizer", "numba", "numpy", *CORPORA.values()])
    found = {"corpora": corpora, "texts": texts, "threads": arguments.threads}
    return Findings(machine=machine, settings=settings, **found)


def _measure(findings: Findings, arguments: argparse.Namespace, run: Run) -> None:
    """Train and encode, each in processes of their own."""
    sizes = findings.settings["vocabulary sizes"]
    shared = {"threads": findings.threads, "num_rounds": arguments.rounds, "run": run, "say": say}
    findings.trainings.update(train_all(findings.texts, sizes, **shared))
    if not _failures(findings):
        findings.encodings.update(encode_all(findings.texts, **shared))
    results = [*findings.trainings.values(), *findings.encodings.values()]
    findings.problems.extend([*_failures(findings), *find_disagreements(results)])


def _failures(findings: Findings) -> list[str]:
    results = [*findings.trainings.values(), *findings.encodings.values()]
    return [f"{one.entry.name}: {one.failure[0]}" for one in results if one.failure]


def _compare(findings: Findings, *, seed: int) -> None:
    """Compare the vocabularies, and as a third the larger one cut to the smaller one's size."""
    trained = {text.name: Vocabulary.load(tokenizer_folder(text)) for text in findings.texts}
    found = {f"{name} {len(one):,}": one for name, one in trained.items()}
    small, large = sorted(found, key=lambda name: len(found[name]))
    cut = vocabularies.truncate(found[large], len(found[small]))
    if len(cut) < len(found[large]):
        found[f"{large.partition(' ')[0]} {len(cut):,}"] = cut
    tokenizers = {name: Tokenizer.from_vocabulary(one) for name, one in found.items()}
    for text, (name, vocabulary) in zip(findings.texts, list(found.items())[:2], strict=True):
        findings.compressed.extend(compress(text, tokenizers, num_drawn=_NUM_DRAWN, seed=seed))
        findings.longest[name] = vocabularies.longest(vocabulary, text.train, count=_NUM_LONGEST)
        findings.words[name] = vocabularies.longest_words(vocabulary, count=_NUM_LONGEST)
    findings.contents.update({name: vocabularies.contents(one) for name, one in found.items()})
    for one, other in permutations(found, 2):
        if one.partition(" ")[0] == other.partition(" ")[0]:
            continue
        pair = f"{one}, not in {other}"
        findings.only[pair] = vocabularies.only_in(found[one], found[other], count=_NUM_ONLY)
        if f"{other} and {one}" not in findings.shared:
            findings.shared[f"{one} and {other}"] = vocabularies.num_shared(
                found[one], found[other]
            )


def _sizes(text: str) -> tuple[int, int]:
    sizes = tuple(whole(word) for word in text.split(","))
    if len(sizes) != 2 or min(sizes) < 258:
        raise argparse.ArgumentTypeError(
            f"{text!r}; name two sizes of 258 or more, of Python's and of English's vocabulary"
        )
    return sizes
