"""The trainer's commands: train, prepare, generate, evaluate.

Progress goes to stderr, results to stdout. A user's mistake ends with one clear line and exit
code 2; an interrupted command ends with 128 plus the signal's number, as shells expect.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

_INTERRUPTED = 128 + signal.SIGINT
_MISTAKE = 2


def train() -> None:
    """Run the whole pipeline: `train [PRESET] [--section.field VALUE ...]`."""
    sys.exit(_guarded(_train))


def prepare() -> None:
    """Train the tokenizer and write the token files, as `train` would; train no model."""
    sys.exit(_guarded(_prepare))


def generate() -> None:
    """Continue a prompt with the newest model of a run."""
    sys.exit(_guarded(_generate))


def evaluate() -> None:
    """Score every validation token of a run once."""
    sys.exit(_guarded(_evaluate))


def _train(argv: list[str]) -> int:
    from rich.console import Console

    from trainer.command_line import parse_train
    from trainer.presets import config_to_toml
    from trainer.progress import Reporter
    from trainer.run import train as run_training
    from trainer.run_directory import next_free_run
    from trainer.summary import print_summary

    request = parse_train(argv)
    if request.print_config:
        print(config_to_toml(request.config), end="")
        return 0
    reporter = Reporter()
    if request.note is not None:
        reporter.say(request.note)
    run_dir = request.run_dir or next_free_run(request.config.preset)
    result = run_training(request.config, run_dir, resume=request.resume, reporter=reporter)
    if result.summary is None:
        return _say_interrupted(result.run.path, result.step, result.exit_signal, reporter.say)
    print_summary(result.summary, Console())
    print(f"run: {run_dir}")
    return 0


def _prepare(argv: list[str]) -> int:
    from trainer.command_line import parse_train
    from trainer.prepare import prepare as prepare_data
    from trainer.progress import Reporter

    request = parse_train(argv, prog="prepare")
    data = prepare_data(request.config, reporter=Reporter())
    for note in data.notes:
        print(f"note: {note}")
    print(f"vocabulary: {data.tokenizer.vocab_size:,} tokens")
    print(f"training: {len(data.train.tokens):,} tokens")
    print(f"validation: {len(data.validation.tokens):,} tokens")
    print(f"prepared: {data.directory}")
    return 0


def _generate(argv: list[str]) -> int:
    from trainer.command_line import parse_generate
    from trainer.generate import generate_text
    from trainer.load import load_run
    from trainer.progress import Reporter

    request = parse_generate(argv)
    loaded, reporter = load_run(request.run, device=request.device), Reporter()
    for reason in loaded.skipped:
        reporter.say(f"skipped {reason}")
    pieces = generate_text(
        loaded.model,
        loaded.tokenizer,
        request.prompt,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        use_cache=request.cache,
        on_note=reporter.say,
    )
    sys.stdout.write(request.prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def _evaluate(argv: list[str]) -> int:
    import json

    from trainer.command_line import parse_evaluate
    from trainer.load import load_run
    from trainer.progress import Reporter
    from trainer.score import score_run

    request = parse_evaluate(argv)
    reporter = Reporter()
    loaded = load_run(request.run, device=request.device)
    for reason in loaded.skipped:
        reporter.say(f"skipped {reason}")
    report = score_run(loaded, batch_size=request.batch_size, reporter=reporter)
    if request.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name.replace('_', ' ')}: {value:,}")
    return 0


def _say_interrupted(path: Path, step: int, number: int | None, say: Callable[[str], None]) -> int:
    say(f"interrupted after step {step:,}; saved. Go on with: train --resume {path}")
    return 128 + (number or signal.SIGINT)


def _guarded(command: Callable[[list[str]], int]) -> int:
    try:
        return command(sys.argv[1:])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept and reused", file=sys.stderr)
        return _INTERRUPTED
