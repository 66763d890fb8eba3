"""Print the findings for people.

Stage: findings -> *tables* on stdout, pictures. Not here: what was found (`findings`).
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.console import new_table, table_console
from bench.display.plot import write_marks
from bench.tokenizers.findings import Findings
from bench.tokenizers.tasks import STAGES
from bench.tokenizers.vocabularies import KINDS, shown

_PICTURES = ("compression", "kinds", "stages")


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print all findings in order."""
    console = table_console(150) if console is None else console
    tables = (_texts, _compression, _contents, _longest, _trainings, _encodings)
    for table in tables:
        console.print(table(findings))
    for line in _footnotes(findings):
        console.print(line, markup=False, highlight=False)


def write_pictures(findings: Findings, folder: Path) -> None:
    """Draw compression, kinds of tokens and the stages of training into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"tokenizers-{name}.svg" for name in _PICTURES}
    vocabularies = list(findings.contents)
    write_marks(
        {
            f"{one.corpus}: {one.what}": [one.ratio(name) for name in vocabularies]
            for one in findings.compressed
        },
        paths["compression"],
        title="Compression of held-out text",
        series=vocabularies,
        label="bytes per token",
    )
    write_marks(
        {
            kind: [100 * one.kinds[kind] / one.num_learnt for one in findings.contents.values()]
            for kind in KINDS
        },
        paths["kinds"],
        title="What the tokens are",
        series=vocabularies,
        label="% of the learned tokens",
    )
    results = {
        f"{text.name}, {n} thr": findings.training(text.name, n)
        for text in findings.texts
        for n in findings.threads
    }
    seconds = {
        stage: [getattr(one.summary(stage), "median", None) for one in results.values()]
        for stage in STAGES
    }
    write_marks(
        seconds,
        paths["stages"],
        title="Where training's time goes",
        series=list(results),
        label="seconds",
    )


def _texts(findings: Findings) -> Table:
    columns = ("text", "documents", "MB", "held out", "MB", "share also in training", "sha256")
    table = new_table("texts", *columns)
    for text, corpus in zip(findings.texts, findings.corpora, strict=True):
        table.add_row(
            text.name,
            f"{text.num_train_documents:,}",
            f"{text.train_bytes / 1e6:.1f}",
            f"{len(text.held_out):,}",
            f"{text.held_out_bytes / 1e6:.1f}",
            f"{text.repeated_share:.0%}",
            corpus.sha256[:12],
        )
    return table


def _compression(findings: Findings) -> Table:
    names = list(findings.contents)
    table = new_table("bytes per token", "text", "document", "bytes", *names, left=2)
    previous = None
    for one in findings.compressed:
        if previous is not None and previous != one.corpus:
            table.add_section()
        previous = one.corpus
        ratios = (f"{one.ratio(name):.2f}" for name in names)
        table.add_row(one.corpus, escape(one.what), f"{one.num_bytes:,}", *ratios)
    return table


def _contents(findings: Findings) -> Table:
    every = findings.contents.values()
    table = new_table("what the vocabularies hold", "", *findings.contents)

    def row(what: str, values: Iterator[object]) -> None:
        table.add_row(what, *map(str, values))

    row("tokens learnt", (f"{one.num_learnt:,}" for one in every))
    row("largest id (uint16 ends at 65,535)", (f"{one.largest_id:,}" for one in every))
    row("mean bytes per token", (f"{one.mean_bytes:.2f}" for one in every))
    table.add_section()
    for kind in KINDS:
        row(kind, (f"{one.kinds[kind] / one.num_learnt:.1%}" for one in every))
    table.add_section()
    row("with a space before", (f"{one.with_space_before / one.num_learnt:.1%}" for one in every))
    row("tokens of 1, 2, ... digits", (_lengths(one.digits_by_length) for one in every))
    row("longest token of spaces", (one.longest_spaces for one in every))
    row("white space with 2 spaces or more", (one.indentations for one in every))
    row("white space with a line end", (one.line_ends for one in every))
    return table


def _lengths(counts: dict[int, int]) -> str:
    """Format the counts by length.

    >>> _lengths({1: 10, 3: 4})
    '10 0 4'
    """
    return " ".join(str(counts.get(length, 0)) for length in range(1, max(counts, default=0) + 1))


def _longest(findings: Findings) -> Table:
    columns = ("vocabulary", "token", "bytes", "id", "in training text", "documents")
    table = new_table("longest tokens", *columns, left=2)
    for name, tokens in findings.longest.items():
        for one in tokens:
            numbers = (len(one.token), one.id, one.occurrences, one.documents)
            table.add_row(name, _shortened(one.token), *(f"{number:,}" for number in numbers))
        table.add_section()
    return table


def _shortened(token: bytes) -> str:
    """Format a token; a run of one character with its length.

    >>> _shortened(b"-" * 80)
    "80 x '-'"
    """
    if len(token) > 3 and len(set(token)) == 1:
        return f"{len(token)} x {escape(shown([token[:1]]))}"
    return escape(shown([token]))


def _trainings(findings: Findings) -> Table:
    columns = ("text", "thr", *STAGES, "train, s", "range", "MB/s", "peak MB", "before")
    table = new_table("training: median seconds by stage", *columns)
    for text in findings.texts:
        for num_threads in findings.threads:
            result = findings.training(text.name, num_threads)
            total, peak = result.summary("train"), result.peak()
            if total is None or peak is None:
                table.add_row(text.name, str(num_threads), escape(result.failure[0]))
                continue
            stages = (f"{result.median(stage):.3f}" for stage in STAGES)
            table.add_row(
                text.name,
                str(num_threads),
                *stages,
                f"{total.median:.2f}",
                f"{total.minimum:.2f}-{total.maximum:.2f}",
                f"{text.train_bytes / total.median / 1e6:.0f}",
                f"{peak.median / 1e6:.0f}",
                f"{result.median('bytes before') / 1e6:.0f}",
            )
    return table


def _encodings(findings: Findings) -> Table:
    columns = ("text", "by", "thr", "MB/s", "range", "825 GB take", "as uint16", "as uint32")
    table = new_table("encoding, from a file to ids in memory", *columns, left=2)
    for one in findings.speeds():
        slow, fast = (
            one.size_bytes / seconds / 1e6 for seconds in (one.seconds.maximum, one.seconds.minimum)
        )
        table.add_row(
            one.text,
            one.by,
            str(one.num_threads),
            f"{one.bytes_per_second / 1e6:.0f}",
            f"{slow:.0f}-{fast:.0f}",
            f"{one.pile_seconds / 3600:.2f} h",
            *(f"{width * one.num_ids / one.size_bytes:.0%} of the text" for width in (2, 4)),
        )
    return table


def _footnotes(findings: Findings) -> Iterator[str]:
    results = [*findings.trainings.values(), *findings.encodings.values()]
    found = [sample.foreign_cpus for result in results for sample in result.samples]
    if foreign := [cpus for cpus in found if cpus is not None]:
        yield (
            f"CPUs that other processes kept busy meanwhile: {min(foreign):.1f} to "
            f"{max(foreign):.1f}, median {statistics.median(foreign):.1f}"
        )
    for name, words in findings.words.items():
        yield f"longest tokens of letters, {name}: {shown(words)}"
    for pair, count in findings.shared.items():
        yield f"tokens in both, {pair}: {count:,}"
    for pair, tokens in findings.only.items():
        yield f"earliest complete tokens of {pair}: {shown(tokens)}"
    for corpus in findings.corpora:
        yield f"corpus {corpus.name}: {corpus.size_bytes / 1e6:.1f} MB, {corpus.source}"
    machine = findings.machine
    yield (
        f"{machine['cpu']}, {machine['cpus_allowed']} CPUs, {machine['system']}, Python "
        f"{machine['python']}, {machine['date']}, commit {machine['commit']}"
    )
    yield ", ".join(f"{key}: {value}" for key, value in findings.settings.items())
