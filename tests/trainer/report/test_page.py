"""The page: whole without its script, safe with any text, honest about what it could not read."""

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainer.plan.estimate import Estimate
from trainer.report import read_history, render_page
from trainer.report.estimates import estimate_rows
from trainer.report.plots.series import Sample, build_plots, thin
from trainer.report.plots.svg import BOTTOM, TOP, draw_plot
from trainer.summary import PROCESS, Summary, print_summary

_VOID = {"meta", "input", "br"}


class _Balance(HTMLParser):
    """Insists that every element is closed in order; collects what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parse(page: str) -> _Balance:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_page_is_well_formed_and_loads_nothing(write_run: Callable[..., Path]) -> None:
    one = read_history(write_run("one"))
    two = read_history(write_run("two", learning_rate=1e-3))
    for histories in ([one], [one, two]):
        page = render_page(histories)
        assert _parse(page).loaded == []
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_page_opens_with_what_was_found(write_run: Callable[..., Path]) -> None:
    page = render_page([read_history(write_run("run"))])
    assert page.index("Findings") < page.index("validation loss is 3.1000") < page.index("<svg")


def test_hostile_text_stays_text(write_run: Callable[..., Path]) -> None:
    path = write_run("run <img src=x>")
    page = render_page([read_history(path)])
    assert "<img" not in page and "early </script>" not in page
    assert "early &lt;/script&gt;&lt;b&gt;text&lt;/b&gt;" in page
    assert _parse(page).loaded == []


def test_every_setting_and_sample_is_there(write_run: Callable[..., Path]) -> None:
    history = read_history(write_run("run"))
    page = render_page([history])
    assert all(f"<td>{key}</td>" in page for key in history.settings)
    assert page.index("late &amp; text") < page.index("early &lt;")


def test_what_could_not_be_read_is_shown(write_run: Callable[..., Path]) -> None:
    path = write_run("run")
    with (path / "metrics.jsonl").open("a") as file:
        file.write("{broken\n" * 25)
    page = render_page([read_history(path)])
    assert "Could not be read (25)" in page and "and 5 more" in page


def test_a_run_without_numbers_has_a_page(write_run: Callable[..., Path]) -> None:
    path = write_run("run", num_steps=0, is_finished=False)
    (path / "metrics.jsonl").unlink(missing_ok=True)
    assert "No numbers yet." in render_page([read_history(path)])


def test_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        render_page([])


def test_script_gets_the_numbers_that_are_drawn(write_run: Callable[..., Path]) -> None:
    page = render_page([read_history(write_run("run"))])
    documents = re.findall(r'<script type="application/json">(.*?)</script>', page)
    loss = json.loads(documents[0])
    dots = loss["series"][2]
    assert (dots["style"], dots["steps"]) == ("dots", [20, 40, 60, 80, 100])
    assert dots["seconds"][-1] == 50.0 and dots["tokens"][-1] == 204800
    assert loss["y"]["linear"][2:] == [BOTTOM, TOP]


def test_points_lie_where_the_ticks_say(write_run: Callable[..., Path]) -> None:
    plots = {plot.key: plot for plot in build_plots([read_history(write_run("run"))])}
    root = draw_plot(plots["tokens_per_second"], x_axis="seconds")
    [line] = [g.find("polyline") for g in root.iter("g") if g.get("class") == "smooth run-0"]
    last_x = float(line.get("points").split()[-1].split(",")[0])
    [ticks] = [g for g in root.iter("g") if g.get("data-axis") == "seconds"]
    places = {text.text: float(text.get("x")) for text in ticks.iter("text")}
    assert last_x == pytest.approx(places["50"], abs=0.1)


def test_a_gradient_of_zero_is_drawn_on_a_linear_axis(write_run: Callable[..., Path]) -> None:
    """Where a rate is far too high, everything saturates."""
    history = read_history(write_run("run"))
    history.train[-1]["grad_norm"] = 0.0
    plots = {plot.key: plot for plot in build_plots([history])}
    assert not plots["grad_norm"].is_log
    assert "Gradient norm" in render_page([history])


def test_without_the_script_one_axis_is_shown_and_clouds_are_hidden_among_several(
    write_run: Callable[..., Path],
) -> None:
    histories = [read_history(write_run("a")), read_history(write_run("b", seed=1))]
    for plot in build_plots(histories):
        root = draw_plot(plot)
        shown = [g for g in root.iter("g") if g.get("visibility") != "hidden"]
        assert sum(g.get("class") == "ticks" for g in shown) == 2
        assert not any((g.get("class") or "").startswith("raw") for g in shown)
        assert ElementTree.tostring(root)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400),
    st.integers(2, 60),
)
def test_thinning_keeps_ends_and_extremes(values: list[float], limit: int) -> None:
    samples = [Sample(step, 0, 0.0, value) for step, value in enumerate(values)]
    kept = thin(samples, limit)
    assert len(kept) <= max(limit + 3, 3) or len(kept) == len(samples) <= limit
    assert kept == sorted(kept, key=lambda sample: sample.step)
    assert {kept[0], kept[-1]} == {samples[0], samples[-1]}
    kept_values = [sample.value for sample in kept]
    assert (min(kept_values), max(kept_values)) == (min(values), max(values))


def test_a_bound_has_no_ratio_and_the_process_no_prediction(
    write_run: Callable[..., Path],
) -> None:
    path = write_run("run")
    summary = Summary.load(path / "summary.json")
    foretold = [Estimate("tensors", 300, 200, is_bound=True)]
    dataclasses.replace(
        summary, estimates=foretold, process_bytes=9000, process_start_bytes=8000
    ).save(path / "summary.json")
    assert estimate_rows(read_history(path))[:2] == [
        ["tensors", "at most 300", "200", ""],
        [PROCESS, "", "9,000", ""],
    ]
    console = Console(width=200, record=True)
    print_summary(Summary.load(path / "summary.json"), console)
    shown = console.export_text()
    assert "expected at most 300, found 200\n" in re.sub(" +", " ", shown).replace(" \n", "\n")
    assert "peak 9,000, before the first step 8,000" in shown


def test_estimate_stands_beside_fact(write_run: Callable[..., Path]) -> None:
    path = write_run("run")
    summary = Summary.load(path / "summary.json")
    foretold = [
        Estimate("parameters", 1000, 1000),
        Estimate("training, FLOPs", 5e9, None),
        Estimate("checkpoint, <bytes>", 1.5e6, 1e6),
    ]
    dataclasses.replace(summary, estimates=foretold, mfu=0.25).save(path / "summary.json")
    history = read_history(path)
    assert estimate_rows(history) == [
        ["parameters", "1,000", "1,000", "1.00"],
        ["training, FLOPs", "5,000,000,000", "", ""],
        ["checkpoint, <bytes>", "1,500,000", "1,000,000", "1.50"],
        ["FLOPs per second of training time", "", "100,000,000", ""],
        ["share of the device's peak (MFU)", "", "25.0%", ""],
    ]
    page = render_page([history])
    assert "Expected and measured" in page and "checkpoint, &lt;bytes&gt;" in page
    assert "Expected and measured" not in render_page([read_history(write_run("other"))])
