"""Compare encoding, decoding and training with every peer.

Stage: options -> corpora and vocabulary -> contests -> *table, JSON, chart*. Not here: how anything
is measured (`measurement`, `tasks`), and which figures there are (`contests`, `targets`).
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from bench.arguments import thread_counts
from bench.console import say
from bench.contestants import DISTRIBUTIONS
from bench.contestants.peers import fetch_extras
from bench.contests import add_contest_options, num_rounds, publish, run_and_keep
from bench.measurement.harness import Result, find_disagreements, run_order
from bench.measurement.machine import copy_bandwidth, describe_machine, num_cpus
from bench.measurement.report import Report
from bench.texts.corpora import KINDS, built_corpus, named_corpus
from bench.texts.vocabulary import share_vocabulary
from bench.tokenization.contests import calls, decode, disk, encode, growth, jit, start, train
from bench.tokenization.contests.setting import Setting

HELP = "Compare encoding, decoding and training with gigatoken, tiktoken, HF and rustbpe."

_CONTESTS: dict[str, ModuleType] = {
    "encode": encode,
    "disk": disk,
    "calls": calls,
    "decode": decode,
    "train": train,
    "start": start,
    "jit": jit,
    "growth": growth,
}
_ONCE = ("start", "jit", "growth")  # only on the first corpus; all others on each
_FULL = {"train_vocab_size": 32_000, "growth_bytes": 8_000_000, "ids_bytes": 1 << 24}
_QUICK = {"train_vocab_size": 2_000, "growth_bytes": 250_000, "ids_bytes": 1 << 20}
_QUICK_CORPUS_BYTES = 2_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    parser.add_argument(
        "corpora", nargs="*", metavar="CORPUS", help=f"file, or one of {', '.join(KINDS)} (all)"
    )
    quick = "2 MB: check that it works, no valid figures"
    add_contest_options(parser, _CONTESTS, quick=quick, cache="built corpora")
    parser.add_argument("--threads", type=thread_counts, default=(1, 2), help="numbers (1,2)")
    parser.add_argument(
        "--gpt2-dir",
        type=Path,
        default=os.environ.get("GPT2_DIR"),
        help="folder of GPT-2's vocab.json and merges.txt (GPT2_DIR; else trains one)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the contests and report; 1 if results differ or ours fails."""
    fetch_extras()
    threads = tuple(n for n in arguments.threads if n <= num_cpus())
    if not threads:
        raise ValueError(f"--threads {arguments.threads}: there are {num_cpus()} CPUs")
    report = Report(
        subject="tokenization",
        machine=describe_machine(["bpe", "numba", "numpy", *DISTRIBUTIONS.values()]),
        settings={"rounds": num_rounds(arguments), "threads": threads, "quick": arguments.quick},
        bandwidth={n: copy_bandwidth(n) for n in threads},
    )
    arguments.cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.cache_dir) as folder:
        for setting in _settings(arguments, report, Path(folder), threads):
            _run_corpus(arguments, setting, report)
    return publish(report, arguments)


def _settings(
    arguments: argparse.Namespace, report: Report, folder: Path, threads: tuple[int, ...]
) -> Iterator[Setting]:
    quick = _QUICK_CORPUS_BYTES if arguments.quick else None
    names = arguments.corpora or (["python"] if arguments.quick else list(KINDS))
    vocabulary = None
    for name in names:
        say(f"corpus {name}")
        if name in KINDS:
            corpus = built_corpus(name, arguments.cache_dir, limit_bytes=quick)
        else:
            corpus = named_corpus(Path(name), arguments.cache_dir)
        if vocabulary is None:
            gpt2 = arguments.gpt2_dir and Path(arguments.gpt2_dir)
            vocabulary, words = share_vocabulary(gpt2, arguments.cache_dir, train_on=corpus.path)
            report.settings["vocabulary"] = words
        report.corpora.append(corpus)
        yield Setting(
            corpus=corpus,
            vocabulary=vocabulary,
            thread_counts=threads,
            work_dir=folder,
            bandwidth=report.bandwidth,
            **(_QUICK if arguments.quick else _FULL),
        )


def _run_corpus(arguments: argparse.Namespace, setting: Setting, report: Report) -> None:
    is_first = len(report.corpora) == 1
    if is_first:
        say("kernels: compiling those that are not cached")
        run_order(jit.compiling(setting).order)
    chosen = [n for n in _CONTESTS if arguments.only is None or n in arguments.only]
    everything: list[Result] = []
    for name in chosen:
        if name in _ONCE and not is_first:
            continue
        entries = _CONTESTS[name].entries(setting)
        results = run_and_keep(report, arguments, name, place=setting.corpus.name, entries=entries)
        report.rows.extend(_CONTESTS[name].rows(setting, results))
        everything += results.values()
    problems = find_disagreements(everything)
    report.problems.extend(f"{setting.corpus.name}: {problem}" for problem in problems)
