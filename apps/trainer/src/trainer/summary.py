"""Report a finished run: loss, bits per byte beside simple compressors, aim and cost.

Stage: trained model -> *summary.json, loss.svg, a table*. Not here: scores (`evaluation/`), pages
(`report/`).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from accounting import count_parameters, training_flops
from accounting.plural import plural
from trainer.checkpoint.run_checkpoint import newest_checkpoint
from trainer.checkpoint.sittings import describe_changes, read_sittings
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.evaluation.baselines import Baseline, compare_baselines, why_no_xz
from trainer.evaluation.curve import write_loss_curve
from trainer.evaluation.loss import StreamScore
from trainer.evaluation.score import end_of_text_id, token_bytes
from trainer.monitoring.metrics import read_metrics
from trainer.plan.estimate import Estimate, Expectation, compare_with_facts, process_bytes
from trainer.plan.shape import model_shape
from trainer.storage.file_format import require_format
from trainer.storage.run_directory import (
    RunDirectory,
    read_json,
    write_json_atomically,
    write_text_atomically,
)
from trainer.training.loop import TrainingLoop

_FORMAT, _VERSION = "run-summary", 1
TRAINING_FLOPS = "training, FLOPs"
PROCESS = "whole process, bytes (with its libraries)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The final report of a run."""

    preset: str
    step: int
    training_tokens: int
    training_seconds: float
    tokens_per_second: float
    mfu: float | None
    """None: the device's peak is unknown."""
    scored_tokens: int
    scored_bytes: int
    """UTF-8 bytes of exactly the scored tokens' text."""
    validation_loss: float
    """Nats per token; each scored token counts once."""
    comparisons: list[Baseline]
    """The model first."""
    target_loss: float | None
    curve: str
    sample: str
    notes: list[str]
    loop_costs: dict[str, float] = dataclasses.field(default_factory=dict)
    """Shares of the last sitting's wall clock spent outside the steps, in [0, 1]."""
    estimates: list[Estimate] = dataclasses.field(default_factory=list)
    """Predictions made before the run, beside the facts."""
    process_bytes: int | None = None
    """Peak resident memory of the last sitting's process, including libraries; CPU only."""
    process_start_bytes: int | None = None
    """Resident memory before its first step."""
    sittings: list[dict[str, object]] = dataclasses.field(default_factory=list)
    """How each sitting computed, see `Sitting`."""

    @property
    def aim(self) -> str | None:
        """Whether the target loss was reached, in words; None: the preset has none."""
        if self.target_loss is None:
            return None
        reached = "reached" if self.validation_loss <= self.target_loss else "missed"
        return f"{reached}: validation loss {self.validation_loss:.4f}, aim {self.target_loss:g}"

    @classmethod
    def load(cls, path: Path) -> "Summary":
        """Read `summary.json`.

        Raises:
            ValueError: the file is damaged, or of another version.
        """
        document = read_json(path)
        try:
            require_format(document, name=_FORMAT, version=_VERSION, source=path)
            content = {key: document[key] for key in document.keys() - {"format", "version"}}
            rows = [Baseline(**row) for row in content.pop("comparisons")]
            estimates = [Estimate(**row) for row in content.pop("estimates", [])]
            return cls(comparisons=rows, estimates=estimates, **content)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a complete summary ({error}); remove it") from error

    def save(self, path: Path) -> None:
        """Write `summary.json`."""
        document = {"format": _FORMAT, "version": _VERSION, **dataclasses.asdict(self)}
        write_json_atomically(path, document)


def summarize(
    run: RunDirectory, data: PreparedData, loop: TrainingLoop, expectation: Expectation
) -> Summary:
    """Score the model on the validation text, compare, sample, plot; write all to the run."""
    config, evaluator, throughput = loop.config, loop.evaluator, loop.learner.throughput
    score = evaluator.final_score()
    sample = ""
    if config.evaluation.sample_tokens:
        sample = evaluator.sample()
        write_text_atomically(run.sample(loop.state.step), sample)
    write_loss_curve(
        read_metrics(run.metrics),
        run.curve,
        title=run.path.name,
        target_loss=config.evaluation.target_loss,
    )
    speed = throughput.average()
    start, highest = process_bytes(expectation)
    sittings = read_sittings(run.sittings)
    no_xz = why_no_xz() if config.evaluation.baselines else None
    summary = Summary(
        preset=config.preset,
        step=loop.state.step,
        training_tokens=loop.state.tokens,
        training_seconds=round(loop.state.seconds, 3),
        tokens_per_second=round(speed.tokens_per_second, 1),
        mfu=speed.mfu,
        scored_tokens=score.num_tokens,
        scored_bytes=score.num_bytes,
        validation_loss=score.nats_per_token,
        comparisons=_compare(data, score, config=config, say=loop.reporter.say),
        target_loss=config.evaluation.target_loss,
        curve=str(run.curve),
        sample=sample,
        notes=[*data.notes, *([no_xz] if no_xz else ()), *describe_changes(sittings)],
        loop_costs={name: round(share, 6) for name, share in throughput.cost_shares().items()},
        estimates=_estimates(run, loop, expectation),
        process_bytes=highest,
        process_start_bytes=start,
        sittings=[dataclasses.asdict(one) for one in sittings],
    )
    summary.save(run.summary)
    return summary


def print_summary(summary: Summary, console: Console) -> None:
    """Print the report for people."""
    console.print(_comparison_table(summary))
    facts = Table(show_header=False, box=None, pad_edge=False)
    mfu = "unknown" if summary.mfu is None else f"{summary.mfu:.1%}"
    facts.add_row("validation loss", f"{summary.validation_loss:.4f} nats per token")
    steps, tokens = plural(summary.step, "step"), plural(summary.training_tokens, "token")
    facts.add_row("training", f"{steps}, {tokens}")
    minutes, seconds = divmod(round(summary.training_seconds), 60)
    duration = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    speed = f"{summary.tokens_per_second:,.0f} tokens/s, MFU {mfu}"
    facts.add_row("time", f"{duration} in the training loop, {speed}")
    if summary.loop_costs:
        costs = ", ".join(f"{name} {share:.1%}" for name, share in summary.loop_costs.items())
        facts.add_row("outside the steps", f"{sum(summary.loop_costs.values()):.1%}: {costs}")
    if summary.aim is not None:
        facts.add_row("aim", summary.aim)
    for one in summary.estimates:
        found = "unknown" if one.found is None else f"{one.found:,.0f}"
        found += "" if one.error is None else f" ({one.error:+.1%})"
        bound = "at most " if one.is_bound else ""
        facts.add_row(one.what, f"expected {bound}{one.expected:,.0f}, found {found}")
    if summary.process_bytes is not None and summary.process_start_bytes is not None:
        before, most = summary.process_start_bytes, summary.process_bytes
        facts.add_row(PROCESS, f"peak {most:,}, before the first step {before:,}")
    facts.add_row("loss curve", summary.curve)
    console.print(facts)
    for note in summary.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if summary.sample:
        console.rule("sample")
        console.print(summary.sample, markup=False, highlight=False, soft_wrap=True)


def _comparison_table(summary: Summary) -> Table:
    tokens = plural(summary.scored_tokens, "validation token")
    table = Table(title=f"{tokens}, {plural(summary.scored_bytes, 'byte')}")
    table.add_column("predictor")
    table.add_column("bits per byte", justify="right")
    table.add_column("nats per token", justify="right")
    for row in summary.comparisons:
        nats = "" if row.nats_per_token is None else f"{row.nats_per_token:.4f}"
        table.add_row(row.name, f"{row.bits_per_byte:.4f}", nats)
    return table


def _estimates(run: RunDirectory, loop: TrainingLoop, expectation: Expectation) -> list[Estimate]:
    model = loop.learner.model
    shape = model_shape(loop.config, vocab_size=model.config.vocab_size)
    flops = training_flops(shape, num_tokens=loop.state.tokens)
    checkpoint, _ = newest_checkpoint(run.path)
    return [
        Estimate("parameters", count_parameters(shape).total, model.num_parameters),
        Estimate(TRAINING_FLOPS, flops, None),
        *compare_with_facts(expectation, checkpoint and checkpoint.path),
    ]


def _compare(
    data: PreparedData, score: StreamScore, *, config: RunConfig, say: Callable[[str], None]
) -> list[Baseline]:
    nats = score.nats_per_token
    model = Baseline(name="this model", bits_per_byte=score.bits_per_byte, nats_per_token=nats)
    if not config.evaluation.baselines:
        return [model]
    xz = "xz -9, " if why_no_xz() is None else ""
    say(f"comparing with {xz}a unigram and a smoothed bigram")
    rows = compare_baselines(
        data.train.tokens,
        data.validation.tokens[: score.num_tokens],
        vocab_size=data.tokenizer.vocab_size,
        token_bytes=token_bytes(data.tokenizer),
        end_of_text_id=end_of_text_id(data.tokenizer),
    )
    return [model, *rows]
