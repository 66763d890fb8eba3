"""Sentences follow from the numbers, and only from them."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.monitoring.metrics import MetricsLog
from trainer.report import describe_run, describe_runs, read_history, table_rows
from trainer.report.findings.runs import final_training_loss


def test_a_run_is_told_with_its_loss_its_rivals_and_its_trend(
    write_run: Callable[..., Path],
) -> None:
    found = describe_run(read_history(write_run("run")))
    assert found[0] == (
        f"The validation loss is 3.1000 nats per token ({3.1 / 3 / math.log(2):.3f} bits per byte) "
        "after 100 steps, 204,800 training tokens and 50.0 s of training."
    )
    assert "In bits per byte, the model beats xz -9 (1.700)." in found
    assert any("does not yet beat" in line and "bigram" in line for line in found)
    assert "Median speed: 4,096 tokens per second." in found
    assert any(line.startswith("The validation loss was still falling: by 0.") for line in found)


def test_a_rise_after_the_best_evaluation_is_told(write_run: Callable[..., Path]) -> None:
    path = write_run("run")
    MetricsLog(path / "metrics.jsonl").append(
        {"kind": "evaluation", "step": 120, "seconds": 60.0, "tokens": 245760, "loss": 3.5}
    )
    found = describe_run(read_history(path))
    assert any(
        "was lowest at step 100" in line and "since risen to 3.5000" in line for line in found
    )


def test_a_run_under_way_and_a_diverged_one_are_called_so(write_run: Callable[..., Path]) -> None:
    path = write_run("run", is_finished=False)
    assert "The run has not finished: 100 of 400 steps are done." in describe_run(
        read_history(path)
    )
    log = MetricsLog(path / "metrics.jsonl")
    log.append({"kind": "train", "step": 101, "tokens": 1, "seconds": 51.0, "loss": math.nan})
    history = read_history(path)
    assert history.diverged_at == 101
    assert "diverged: its loss is not finite from step 101 on" in describe_run(history)[0]
    assert all(math.isfinite(row["loss"]) for row in history.train)


def test_a_step_that_was_skipped_is_no_divergence_and_a_rise_for_good_is(
    write_run: Callable[..., Path],
) -> None:
    skipped, risen = write_run("skipped"), write_run("risen", end=2.0)
    for path, losses in ((skipped, [math.nan, 3.0]), (risen, [5.0] * 30)):
        log = MetricsLog(path / "metrics.jsonl")
        for step, loss in enumerate(losses, start=101):
            log.append({"kind": "train", "step": step, "tokens": 1, "seconds": 51.0, "loss": loss})
    histories = [read_history(risen), read_history(skipped), read_history(write_run("c", end=4.0))]
    assert [history.divergence is None for history in histories] == [False, True, True]
    reason = "diverged: the training loss fell to 2.03 and ended at 5.00."
    assert describe_run(histories[0])[0] == f"The run {reason}"
    found = describe_runs(histories)
    assert found[1].startswith("skipped is best") and f"risen {reason}" in found
    assert [row[0] for row in table_rows(histories)[1:]] == ["skipped", "c", "risen"]


def test_seeds_are_summed_up_and_the_best_run_comes_first(write_run: Callable[..., Path]) -> None:
    paths = [
        write_run("slow", learning_rate=1e-4, end=4.0),
        write_run("a", end=3.0),
        write_run("b", end=3.2, seed=1),
    ]
    histories = [read_history(path) for path in paths]
    found = describe_runs(histories)
    assert found[0] == "The runs differ in seed, optimizer.learning-rate."
    assert found[1] == "a is best, at 3.1000 nats per token; b is next, 0.2000 higher."
    assert found[2] == "slow is last, 1.0000 above the best."
    assert found[3].startswith("a, b differ only in their seed: mean 3.2000 nats per token, ")
    head, *rows = table_rows(histories)
    assert [row[0] for row in rows] == ["a", "b", "slow"]
    assert head[-2:] == ["seed", "optimizer.learning-rate"]
    assert rows[2][-2:] == ["0", "0.0001"]


def test_runs_with_other_tokens_are_compared_by_bits(write_run: Callable[..., Path]) -> None:
    few = read_history(write_run("few", vocab_size=1000, end=2.0))
    many = read_history(write_run("many", end=3.0))
    assert "bits per byte; many is next" in describe_runs([many, few])[1]


def test_tokens_to_the_same_loss_are_compared_between_two(write_run: Callable[..., Path]) -> None:
    better, worse = write_run("better", end=2.0), write_run("worse", end=2.2)
    found = describe_runs([read_history(worse), read_history(better)])
    [line] = [line for line in found if "reached" in line]
    reached = next(
        step
        for step in range(20, 101, 20)
        if 2 + 4 * math.exp(-step / 20) <= 2.2 + 4 * math.exp(-5)
    )
    assert (
        f"with {reached / 100:.2f} times the tokens and {reached / 100:.2f} times the time" in line
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{broken", "is not JSON"),
        ("[1]", "is not a JSON object"),
        (
            json.dumps({"format": "trainer.metrics", "version": 1, "kind": "train"}),
            "has no step",
        ),
        (json.dumps({"format": "other", "version": 1}), "format"),
        ("\x00\x00", "is not JSON"),
    ],
)
def test_a_damaged_line_is_left_out_counted_and_named(
    write_run: Callable[..., Path], line: str, named: str
) -> None:
    path = write_run("run")
    metrics = path / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:10], line, *lines[11:]]) + "\n")
    history = read_history(path)
    assert len(history.train) == 99
    [problem] = history.problems
    assert "line 11" in problem and named in problem


def test_the_training_loss_at_the_end_is_not_that_of_one_batch(
    write_run: Callable[..., Path],
) -> None:
    history = read_history(write_run("a"))
    before = final_training_loss(history)
    history.train[-1]["loss"] += 1.0
    assert final_training_loss(history) - before < 0.6
