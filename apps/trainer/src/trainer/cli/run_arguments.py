"""Turn the arguments of `train` and `prepare` into a run configuration.

Stage: argv -> *preset or saved run, plus overrides* -> RunConfig. Only this module and
`report/command_line.py` know tyro. Not here: what the commands do (`cli.py`), where run directories
live (`run_directory.py`).
"""

import argparse
import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro

from bpe import PATTERNS
from nn_layers.backends.registry import describe
from trainer.cli.arguments import (
    join_values,
    path_list_options,
    path_options,
    read_arguments,
    text_options,
    with_python_booleans,
)
from trainer.config.presets import DEFAULT_PRESET, load_config, load_preset, preset_names
from trainer.config.resumable import require_resumable
from trainer.config.run_config import (
    CheckpointConfig,
    CorpusConfig,
    EvaluationConfig,
    LoggingConfig,
    ModelSection,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TokenizerConfig,
    TrainingConfig,
)
from trainer.resuming import find_run_to_resume

_DESCRIPTION = """Train a language model from raw text: tokenizer, token files, model, report.

PRESET, the first argument, names a set of values; every one can be overridden.
Presets: {presets}.
Split patterns: {patterns}.

  train                              quickstart: Python's own source, no network
  train --corpus.train a.txt --training.max-steps 500              your own text
  train tinystories-cpu              downloads TinyStories, announced before
  train --resume auto                resume the newest run of the preset that can be

{backends}"""


_PREPARE_DESCRIPTION = """Make tokenizer and token files as `train` would, but train no model.

PRESET, the first argument, and all options are those of `train`, which then finds the data ready.
Presets: {presets}.
Split patterns: {patterns}.

  prepare                            quickstart: Python's own source, no network
  prepare --corpus.train a.txt --tokenizer.vocab-size 1000         your own text
  prepare tinystories                downloads TinyStories, announced before

{backends}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """What the command line asked for."""

    config: RunConfig
    run_dir: Path | None
    """Where the run lives; None: the next free directory."""
    resume: bool
    """Whether `run_dir` is a run to go on with."""
    print_config: bool
    """Only print the configuration."""
    profile: bool = False
    """Record a few early steps."""
    notes: tuple[str, ...] = ()
    """What the user should know before the run starts."""


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """The parser's view of a run; the sections again, in help order, behind one positional."""

    preset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PRESET")]
    """Which preset to start from."""
    run_dir: Path | None = None
    """Directory of the run; must not exist yet unless --resume. Default: runs/PRESET-NNN."""
    resume: Annotated[str | None, tyro.conf.arg(metavar="RUN|auto")] = None
    """Run directory to resume; auto: --run-dir, or else the newest run of the preset that can be
    resumed, or else a new one."""
    print_config: bool = False
    """Print the resolved configuration as TOML and stop."""
    profile: bool = False
    """Record a few early steps: a trace and a table of where their time went, in RUN/profile."""
    seed: int = 0
    """Initial weights, training windows and samples follow from it; in [0, 2^63)."""
    device: str = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda, cuda:1, ..., mps (Apple's GPU)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type: auto, float32 or bfloat16; weights stay float32."""
    deterministic: bool = False
    """CUDA: only operations that add in a fixed order; slower. On the CPU that is so anyway."""
    corpus: CorpusConfig
    tokenizer: TokenizerConfig
    model: tyro.conf.FlagConversionOff[ModelSection]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    training: tyro.conf.FlagConversionOff[TrainingConfig]
    evaluation: tyro.conf.FlagConversionOff[EvaluationConfig]
    checkpoint: CheckpointConfig
    logging: LoggingConfig


def parse_prepare(argv: Sequence[str]) -> TrainRequest:
    """Parse the command line of `prepare`: that of `train`, as far as it makes sense without a run.

    Raises:
        ValueError: see `parse_train`; or an option that is about a run.
    """
    request = parse_train(argv, prog="prepare", description=_PREPARE_DESCRIPTION)
    if request.run_dir is not None or request.resume or request.notes:
        raise ValueError(
            "prepare makes no run, so it takes neither --run-dir nor --resume; name a preset or "
            "files, or use train"
        )
    return request


def parse_train(
    argv: Sequence[str], *, prog: str = "train", description: str = _DESCRIPTION
) -> TrainRequest:
    """Parse the command line of `train`.

    Raises:
        ValueError: an unknown preset, a value out of range, a run that cannot be resumed, or an
            override that a resumed run does not admit.
        SystemExit: an unknown option or an unreadable value (2), or `--help` (0).
    """
    argv = read_arguments(argv, _Arguments)
    peeked = _peek(argv)
    saved_run, notes = None, ()
    if peeked.resume is not None:
        saved_run, notes = find_run_to_resume(
            peeked.resume,
            preset=peeked.preset or DEFAULT_PRESET,
            run_dir=peeked.run_dir,
        )
    base = _base_config(peeked, saved_run)
    arguments = tyro.cli(
        _Arguments,
        default=_arguments_from(_with_files(base, peeked.train)),
        args=list(with_python_booleans(argv, _Arguments)),
        prog=prog,
        description=description.format(
            presets=", ".join(preset_names()),
            patterns=", ".join(PATTERNS),
            backends=_describe_backends(),
        ),
    )
    if saved_run is None and arguments.preset != base.preset:
        load_preset(arguments.preset)  # raises where there is none
        raise ValueError(
            f"preset {arguments.preset!r} comes after options, but it decides what their defaults "
            f"are; put it first: {prog} {arguments.preset} ..."
        )
    config = _config_from(arguments)
    if saved_run is not None:
        require_resumable(base, config, run_dir=saved_run)
    return TrainRequest(
        config=config,
        run_dir=saved_run or arguments.run_dir,
        resume=saved_run is not None,
        print_config=arguments.print_config,
        profile=arguments.profile,
        notes=notes,
    )


def _describe_backends() -> str:
    """Return the ways to compute attention and the loss, a line each."""
    sections = {"model.attention": describe("attention"), "training.loss": describe("loss")}
    return "\n\n".join(
        "\n".join([f"--{option}", *(f"  {name:9} {what}" for name, what in ways.items())])
        for option, ways in sections.items()
    )


def join_train_values(argv: Sequence[str], *, options: Collection[str]) -> list[str]:
    """Join values to the options of `train`, and to some of another command, see `join_values`."""
    return join_values(
        argv,
        options=text_options(_Arguments).union(options),
        paths=path_options(_Arguments),
        lists=path_list_options(_Arguments),
    )


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Continue a prompt with the newest model of a run; the text streams to stdout."""

    run: tyro.conf.Positional[Path]
    """Run directory, as `train` leaves it."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text to continue; none: start from end-of-text. Several times: all at once, a line of ---
    between the texts."""
    temperature: float = 0.8
    """Sharpness: 0 is greedy, 1 the model's own distribution."""
    top_p: float = 0.95
    """Draw from the smallest set of tokens with this probability, in (0, 1]."""
    top_k: int | None = None
    """Draw from the k likeliest tokens only, at least 1."""
    max_tokens: int = 256
    """Stop after this many tokens, if end-of-text does not come first; at least 1."""
    seed: int = 0
    """Equal seeds give equal text; in [0, 2^63)."""
    device: str | None = None
    """Where to compute; default: as the run's configuration says."""
    cache: bool = True
    """Keep keys and values of earlier tokens; without, the same text, slower."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """What the matrices are rounded to first; int8 has a scale a row. Narrow ones are read faster
    by the compiled step."""
    compile: Literal["auto", "on", "off"] = "auto"
    """The compiled step of the CPU, built once a machine in seconds by its C++ compiler; auto:
    where it is there, or where that many tokens pay for it."""


@dataclass(frozen=True, kw_only=True)
class NewPlaces:
    """Where the run's text and token files are now, if they were moved apart from it."""

    train: tuple[Path, ...] = ()
    """Text files that it trained on; none: where they were."""
    validation: tuple[Path, ...] = ()
    """Text files that it is validated on; none: where they were."""
    cache_dir: Path | None = None
    """Where prepared data live; default: where they did."""

    def applied(self, config: RunConfig) -> RunConfig:
        """Return the run's configuration with these places.

        Raises:
            ValueError: the run trains on other text than files.
        """
        named = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, **named))


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """Score every validation token of a run once; prints nats a token and bits per byte."""

    run: tyro.conf.Positional[Path]
    """Run directory, as `train` leaves it."""
    batch_size: int = 32
    """Windows scored at once; changes memory, not the result."""
    device: str | None = None
    """Where to compute; default: as the run's configuration says."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """What the matrices are rounded to first, as `generate --weights` does: what it costs."""
    json: bool = False
    """Print a JSON object instead of a table."""
    corpus: NewPlaces = dataclasses.field(default_factory=NewPlaces)


@dataclass(frozen=True, kw_only=True)
class DoctorRequest:
    """Verify every file of a run; exit code 1 where one is damaged."""

    run: tyro.conf.Positional[Path]
    """Run directory, as `train` leaves it."""
    json: bool = False
    """Print a JSON object a line instead of text."""


def parse_doctor(argv: Sequence[str]) -> DoctorRequest:
    """Parse the command line of `doctor`."""
    return tyro.cli(DoctorRequest, args=read_arguments(argv, DoctorRequest), prog="doctor")


def parse_generate(argv: Sequence[str]) -> GenerateRequest:
    """Parse the command line of `generate`.

    Raises:
        ValueError: an unknown option, or a seed out of range.
    """
    request = tyro.cli(GenerateRequest, args=read_arguments(argv, GenerateRequest), prog="generate")
    if not 0 <= request.seed < 2**63:
        raise ValueError(f"--seed is {request.seed}, but must be in [0, 2^63)")
    return request


def parse_evaluate(argv: Sequence[str]) -> EvaluateRequest:
    """Parse the command line of `evaluate`.

    Raises:
        ValueError: an empty batch.
    """
    request = tyro.cli(EvaluateRequest, args=read_arguments(argv, EvaluateRequest), prog="evaluate")
    if request.batch_size < 1:
        raise ValueError(f"--batch-size is {request.batch_size}, but must be at least 1")
    return request


class _SilentParser(argparse.ArgumentParser):
    """A parser whose complaints are left to the real one."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def _peek(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options that decide what the defaults of all others are."""
    parser = _SilentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run-dir", "--run_dir", type=Path)
    parser.add_argument("--resume")
    parser.add_argument("--corpus.train", dest="train", type=Path, nargs="+")
    peeked, _ = parser.parse_known_args(argv)
    is_preset = bool(argv) and not argv[0].startswith("-")
    peeked.preset = argv[0] if is_preset else None
    return peeked


def _base_config(peeked: argparse.Namespace, saved_run: Path | None) -> RunConfig:
    if saved_run is not None:
        return load_config(saved_run / "config.toml")
    return load_preset(peeked.preset or DEFAULT_PRESET)


def _with_files(config: RunConfig, train: list[Path] | None) -> RunConfig:
    """Make the source `files` where the command line names some."""
    if train is None:
        return config
    corpus = dataclasses.replace(config.corpus, source="files", train=tuple(train))
    return dataclasses.replace(config, corpus=corpus)


def _arguments_from(config: RunConfig) -> _Arguments:
    return _Arguments(
        **{spec.name: getattr(config, spec.name) for spec in dataclasses.fields(RunConfig)}
    )


def _config_from(arguments: _Arguments) -> RunConfig:
    return RunConfig(
        **{spec.name: getattr(arguments, spec.name) for spec in dataclasses.fields(RunConfig)}
    )
