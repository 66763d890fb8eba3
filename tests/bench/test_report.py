"""From samples to rows, table, JSON and chart."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.display.chart import write_chart
from bench.display.table import print_table
from bench.measurement.harness import Entry, Order, Result, Sample, Summary
from bench.measurement.report import VERSION, Report, write_report
from bench.measurement.rows import Comparison, Row
from bench.measurement.targets import FIGURES, Figure
from bench.texts.corpora import Corpus

CORPUS = Corpus(
    name="tiny",
    path=Path("tiny.txt"),
    size_bytes=1000,
    sha256="0" * 64,
    num_documents=3,
    wanted_bytes=5000,
    source="made up",
)


def _result(name: str, *seconds: float, failure: str | None = None) -> Result:
    samples = [
        Sample(metrics={"cold": value}, digests={"ids": "abc"}, peak_bytes=10**8)
        for value in seconds
    ]
    return Result(
        Entry(name=name, order=Order(contestant=name, task="encode")),
        samples,
        [] if failure is None else [failure],
    )


def _results(*results: Result) -> dict[str, Result]:
    return {result.entry.name: result for result in results}


def _row(*results: Result, peers: tuple[str, ...] = ("peer",), **more: object) -> Row:
    at = Comparison(results=_results(*results), corpus=CORPUS, num_threads=1)
    return at.row("encode-cold", "cold", peers, **more)


@pytest.fixture
def report() -> Report:
    results = _results(_result("ours", 1.0, 2.0, 3.0), _result("peer", 5.0, 3.0, 9.0))
    row = Comparison(results=results, corpus=CORPUS, num_threads=1).row(
        "encode-cold", "cold", ["peer"], text_bytes=1000, floor_seconds=0.5
    )
    return Report(
        subject="tokenization",
        machine={"cpu": "a", "system": "b", "python": "c", "date": "d", "commit": "e"}
        | {"versions": {"bpe": "1"}},
        settings={"vocabulary": "f", "rounds": 3, "quick": False},
        bandwidth={1: 1e10},
        corpora=[CORPUS],
        rows=[row],
        contests=[("encode", "tiny", results)],
    )


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.0, "missed"), (1.3, "must"), (1.7, "aim"), (None, "reported")]
)
def test_larger_ratios_reach_more(value: float | None, verdict: str) -> None:
    assert FIGURES["encode-cold"].judge(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.6, "missed"), (0.5, "must"), (0.25, "aim")])
def test_smaller_times_reach_more(value: float, verdict: str) -> None:
    assert FIGURES["start"].judge(value) == verdict


def test_a_figure_without_targets_is_reported() -> None:
    assert Figure(what="any", unit="x").judge(0.1) == "reported"


def test_the_ratio_is_that_of_the_medians() -> None:
    row = _row(_result("ours", 1.0, 2.0, 9.0), _result("peer", 3.0, 5.0, 4.0))
    assert row.value == 2.0
    assert row.verdict == "aim"


def test_ours_is_set_against_the_fastest_way_of_a_peer() -> None:
    results = (_result("ours", 1.0), _result("peer", 5.0), _result("peer, fast", 1.25))
    row = _row(*results, peers=("peer", "peer, fast"))
    assert (row.peer, row.value, row.verdict) == ("peer, fast", 1.25, "missed")


def test_a_row_without_its_peer_says_why() -> None:
    row = _row(_result("ours", 1.0), _result("peer", failure="not installed"))
    assert (row.value, row.verdict, row.note) == (None, "reported", "peer: not installed")


def test_targets_for_another_size_are_not_applied() -> None:
    row = _row(_result("ours", 1.0), _result("peer", 9.0), is_judged=False)
    assert (row.value, row.verdict) == (9.0, "reported")


def test_growth_is_twice_against_once() -> None:
    twice, once = Summary(4.2, 4.2, 4.2, 1), Summary(2.0, 2.0, 2.0, 1)
    row = Row(key="growth", ours=twice, theirs=once)
    assert (row.value, row.verdict) == (2.1, "missed")


def test_memory_is_told_in_gigabytes() -> None:
    row = Row(key="train-memory", ours=Summary(3e8, 3e8, 3e8, 1))
    assert (row.value, row.verdict) == (0.3, "must")


def test_json_holds_machine_rows_and_all_samples(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "x.json")
    content = json.loads((tmp_path / "x.json").read_text())
    assert (content["format"], content["version"]) == ("bench-tokenization", VERSION)
    assert set(content) == {
        *("format", "version", "machine", "settings", "memcpy_bytes_per_second"),
        *("corpora", "notes", "rows", "contests", "problems"),
    }
    (row,) = content["rows"]
    assert (row["value"], row["verdict"], row["limit_share"]) == (2.5, "aim", 0.25)
    assert (row["target_must"], row["target_aim"]) == (1.3, 1.7)
    assert row["theirs"] == {"median": 5.0, "minimum": 3.0, "maximum": 9.0, "num_samples": 3}
    (contest,) = content["contests"]
    assert contest["agree_on"] == {"ids": ["ours", "peer"]}
    assert [len(entry["samples"]) for entry in contest["entries"]] == [3, 3]
    assert "path" not in content["corpora"][0]


def test_the_table_shows_ratio_targets_and_verdict(report: Report) -> None:
    console = Console(file=io.StringIO(), width=200)
    print_table(report, console)
    text = console.file.getvalue()
    assert re.search(r"encode, cold cache / gigatoken .* 2.50 .* 1.3 .* 1.7 .* aim .* 25%", text)
    assert "of 0 MB wanted" in text
    assert "all compared ids, texts and merges agree" in text


def test_the_table_does_not_hide_problems(report: Report) -> None:
    report.problems.append("ids differ")
    console = Console(file=io.StringIO(), width=200)
    print_table(report, console)
    assert "1 PROBLEMS" in console.file.getvalue()


def test_the_chart_has_a_bar_a_ratio(report: Report, tmp_path: Path) -> None:
    rows = [*report.rows, Row(key="train-memory", ours=Summary(3e8, 3e8, 3e8, 1))]
    write_chart(rows, tmp_path / "x.svg")
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    bars = [node for node in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in node.attrib]
    assert [bar.get("class") for bar in bars] == ["aim"]


def test_a_chart_of_nothing_is_still_a_chart(tmp_path: Path) -> None:
    write_chart([], tmp_path / "x.svg")
    ElementTree.parse(tmp_path / "x.svg")
