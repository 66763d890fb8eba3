"""Run the trainer's commands: about one run, pages about runs, studies of many runs.

Stage: all of them, by command. Progress goes to stderr, results to stdout. A user error ends with
one line and exit code 2; an interrupted command exits with 128 plus the signal's number, as shells
expect. Not here: options (`*_arguments.py`).
"""

import signal
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from bpe.cli.streams import repair_streams, written_output

if TYPE_CHECKING:
    from trainer.cli.study_arguments import StudyRequest

_MISTAKE = 2


def _command(work: Callable[[list[str]], int]) -> Callable[[], NoReturn]:
    """Turn a function from arguments to an exit code into a program."""

    @wraps(work)
    def program() -> NoReturn:
        sys.exit(_guarded(work))

    return program


@_command
def train(argv: list[str]) -> int:
    """Run the whole pipeline: `train [PRESET] [--section.field VALUE ...]`."""
    from rich.console import Console

    from trainer.cli.run_arguments import parse_train
    from trainer.command_hints import command
    from trainer.config.presets import config_to_toml
    from trainer.monitoring.progress import Reporter
    from trainer.run import train as run_training
    from trainer.summary import print_summary

    request = parse_train(argv)
    if request.print_config:
        print(config_to_toml(request.config), end="")
        return 0
    reporter = Reporter()
    for note in request.notes:
        reporter.say(note)
    result = run_training(
        request.config,
        request.run_dir,
        resume=request.resume,
        reporter=reporter,
        profile=request.profile,
    )
    if result.summary is None:
        reporter.say(
            f"interrupted after step {result.step:,}, which is saved; "
            f"resume with: {command('train', '--resume', result.run.path)}"
        )
        return 128 + (result.exit_signal or signal.SIGINT)
    print_summary(result.summary, Console())
    print(f"run: {result.run.path}")
    return 0


@_command
def prepare(argv: list[str]) -> int:
    """Create the tokenizer and token files for `train`, but train no model."""
    from accounting.plural import plural
    from trainer.cli.run_arguments import parse_prepare
    from trainer.config.presets import config_to_toml
    from trainer.data.preparation import prepare as prepare_data
    from trainer.monitoring.progress import Reporter

    request = parse_prepare(argv)
    if request.print_config:
        print(config_to_toml(request.config), end="")
        return 0
    context_length = request.config.model.context_length
    data = prepare_data(request.config, reporter=Reporter(), context_length=context_length)
    for note in data.notes:
        print(f"note: {note}")
    print(f"vocabulary: {plural(data.tokenizer.vocab_size, 'token')}")
    print(f"training: {plural(len(data.train.tokens), 'token')}")
    print(f"validation: {plural(len(data.validation.tokens), 'token')}")
    print(f"prepared: {data.directory}")
    return 0


@_command
def generate(argv: list[str]) -> int:
    """Continue a prompt with the newest model of a run."""
    from trainer.cli.run_arguments import parse_generate
    from trainer.inference.generation import generate_text, generate_texts
    from trainer.inference.trained_run import load_run
    from trainer.monitoring.progress import Reporter

    request = parse_generate(argv)
    loaded, reporter = load_run(request.run, device=request.device), Reporter()
    for reason in loaded.skipped:
        reporter.say(f"skipped {reason}")
    notes: list[str] = []
    same = ("max_tokens", "temperature", "top_p", "top_k", "seed", "weights", "compile")
    how = {name: getattr(request, name) for name in same}
    how |= {"use_cache": request.cache, "on_note": notes.append}
    if len(request.prompt) > 1:
        texts = generate_texts(loaded.model, loaded.tokenizer, request.prompt, **how)
        print("\n---\n".join(map("".join, zip(request.prompt, texts, strict=True))))
        for note in dict.fromkeys(notes):
            reporter.say(note)
        return 0
    prompt = "".join(request.prompt)
    pieces = generate_text(loaded.model, loaded.tokenizer, prompt, **how)
    num_early = len(notes)
    for note in notes:
        reporter.say(note)
    sys.stdout.write(prompt)
    for piece in pieces:
        print(piece, end="", flush=True)
    print(flush=True)
    for note in notes[num_early:]:  # not in the middle of the text
        reporter.say(note)
    return 0


@_command
def evaluate(argv: list[str]) -> int:
    """Score every validation token of a run once."""
    import dataclasses
    import json

    from nn_layers import round_weights
    from trainer.cli.run_arguments import parse_evaluate
    from trainer.evaluation.score import score_run
    from trainer.inference.trained_run import load_run
    from trainer.monitoring.progress import Reporter

    request = parse_evaluate(argv)
    reporter = Reporter()
    loaded = load_run(request.run, device=request.device)
    for reason in loaded.skipped:
        reporter.say(f"skipped {reason}")
    model, config = round_weights(loaded.model, request.weights), loaded.config
    loaded = dataclasses.replace(loaded, model=model, config=request.corpus.applied(config))
    report = score_run(loaded, batch_size=request.batch_size, reporter=reporter)
    if request.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name.replace('_', ' ')}: {value:,}")
    return 0


@_command
def doctor(argv: list[str]) -> int:
    """Verify every file of a run."""
    import json

    from trainer.cli.run_arguments import parse_doctor
    from trainer.doctor import examine

    request = parse_doctor(argv)
    num_damaged = 0
    for finding in examine(request.run):
        num_damaged += not finding.is_whole
        state = "ok" if finding.is_whole else "damaged"
        row = {"path": str(finding.path), "state": state, "text": finding.text}
        print(json.dumps(row) if request.json else f"{state:8}{finding.path}: {finding.text}")
    if not request.json:
        print(f"{num_damaged} damaged" if num_damaged else "all whole")
    return 1 if num_damaged else 0


@_command
def report(argv: list[str]) -> int:
    """Write an HTML page about a run or a study."""
    from trainer.cli.report_arguments import parse_report
    from trainer.report.files import write_report

    request = parse_report(argv)
    for path in write_report(
        request.run,
        output=request.output,
        export=request.export,
        png=request.png,
        x_axis=request.x_axis,
    ):
        print(f"written: {path}")
    return 0


@_command
def compare(argv: list[str]) -> int:
    """Write an HTML page that compares runs, and print their table."""
    from rich.console import Console

    from trainer.cli.report_arguments import parse_compare
    from trainer.report import describe_runs, print_table, read_history, render_page, write_exports
    from trainer.storage.run_directory import write_text_atomically

    request = parse_compare(argv)
    histories = [read_history(path) for path in request.runs]
    write_text_atomically(request.output, render_page(histories))
    exports = []
    if request.export is not None:
        exports = write_exports(histories, request.export, png=request.png, x_axis=request.x_axis)
    for sentence in describe_runs(histories):
        print(sentence)
    print_table(histories, Console())
    print(f"report: {request.output}")
    for path in exports:
        print(f"written: {path}")
    return 0


@_command
def watch(argv: list[str]) -> int:
    """Serve the page of a running run or study."""
    from trainer.cli.report_arguments import parse_watch
    from trainer.report import build_server
    from trainer.report.files import render_path

    request = parse_watch(argv)

    def render() -> str:
        return render_path(request.run, refresh_seconds=request.every_seconds)

    render()  # refuse a wrong path before serving
    with build_server(render, host=request.host, port=request.port) as server:
        host, port = server.server_address[:2]
        print(f"watching {request.run} at http://{host}:{port}/ until Ctrl-C", flush=True)
        server.serve_forever()
    return 0


@_command
def sweep(argv: list[str]) -> int:
    """Train one run per value, or per point of a grid."""
    from trainer.cli.sweep_arguments import parse_sweep

    return _run_study(parse_sweep(argv))


@_command
def ablate(argv: list[str]) -> int:
    """Train a baseline and variants that each lack one thing."""
    from trainer.cli.study_arguments import parse_ablate

    return _run_study(parse_ablate(argv))


@_command
def lr_range(argv: list[str]) -> int:
    """Raise the learning rate until training diverges, to find the usable rates."""
    from trainer.cli.range_arguments import parse_lr_range

    return _run_study(parse_lr_range(argv))


@_command
def costs(argv: list[str]) -> int:
    """Account for presets, configurations and runs before and during training."""
    from accounting.cli.commands import run_named_command
    from trainer.costs import TRAINER

    run_named_command(argv, application=TRAINER)
    return 0


def _run_study(request: "StudyRequest") -> int:
    from rich.console import Console

    from accounting.plural import plural
    from trainer.experiments import print_study
    from trainer.monitoring.progress import Reporter
    from trainer.report.files import write_report
    from trainer.report.findings.ranges import print_range

    reporter = Reporter()
    result = request.run(reporter)
    study = result.study
    # Files first: writing to stdout may fail.
    written = [] if result.exit_signal is not None else list(write_report(study.path))
    show = print_range if study.kind == "lr-range" else print_study
    show(study, Console())
    print(f"study: {study.path}")
    done = f"{result.num_done} of {plural(result.num_trials, 'trial')}"
    rerun = "saved; run the same command again to resume"
    if result.exit_signal is not None:
        reporter.say(f"interrupted after {done}, {rerun}")
        return 128 + result.exit_signal
    for path in written:
        print(f"written: {path}")
    if result.is_out_of_time:
        reporter.say(f"--max-hours {request.max_hours:g} reached after {done}, {rerun}")
    return 0


def _guarded(command: Callable[[list[str]], int]) -> int:
    from trainer.plan.cpu_settings import allowed_threads
    from trainer.plan.yielding_threads import yielding_threads

    repair_streams()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        with written_output(), allowed_threads(), yielding_threads():
            return command(sys.argv[1:])
    except OSError as error:
        print(f"error: {_describe(error)}", file=sys.stderr)
        return _MISTAKE
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt as error:
        print("interrupted; finished work is kept and will be reused", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, _TerminatedError) else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, previous)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived: treated like Ctrl-C, except for the exit code."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _TerminatedError


def _describe(error: OSError) -> str:
    if error.strerror is None or error.filename is None:
        return str(error)
    reason = error.strerror.lower()
    return f"cannot use {error.filename}: {reason}; check the path, its permissions and the disk"
