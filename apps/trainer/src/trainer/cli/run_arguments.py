"""Turn the arguments of `train` and of the commands about one run into requests.

Stage: argv -> *preset or saved run, plus overrides* -> RunConfig. Only this module and
`report_arguments.py` know tyro. Not here: what the commands do (`commands.py`), which run is
resumed (`resuming.py`).
"""

import argparse
import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

import tyro

from bpe import PATTERNS
from nn_layers.backends.registry import describe
from trainer.cli.arguments import join_values, read_arguments, with_python_booleans
from trainer.config.presets import DEFAULT_PRESET, load_config, load_preset, preset_names
from trainer.config.resumable import require_resumable
from trainer.config.run_config import EvaluationConfig, ModelSection, RunConfig, TrainingConfig
from trainer.resuming import find_run_to_resume

_Config = TypeVar("_Config", bound=RunConfig)
_DESCRIPTION = """Train a language model from raw text: tokenizer, token files, model, report.

PRESET, the first argument, sets the defaults of all options.
Presets: {presets}.
Split patterns: {patterns}.

  train                              quickstart: Python's own source, no network
  train --corpus.train a.txt --training.max-steps 500              your own text
  train tinystories-cpu              announces and downloads TinyStories
  train --resume auto                the newest run of the preset that can be resumed

{backends}"""


_PREPARE_DESCRIPTION = """Create the tokenizer and token files for `train`, but train no model.

PRESET, the first argument, and all options are those of `train`, which reuses the prepared data.
Presets: {presets}.
Split patterns: {patterns}.

  prepare                            quickstart: Python's own source, no network
  prepare --corpus.train a.txt --tokenizer.vocab-size 1000         your own text
  prepare tinystories                announces and downloads TinyStories

{backends}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """A parsed command line."""

    config: RunConfig
    run_dir: Path | None
    """The run directory; None: the next free one."""
    resume: bool
    """Whether `run_dir` is a run to resume."""
    print_config: bool
    profile: bool
    notes: tuple[str, ...]
    """Reported before the run starts."""


@dataclass(frozen=True, kw_only=True)
class _RunOptions:
    run_dir: Path | None = None
    """Run directory; must not exist unless --resume. Default: runs/PRESET-NNN."""
    resume: Annotated[str | None, tyro.conf.arg(metavar="RUN|auto")] = None
    """Run to resume. auto: --run-dir, else the preset's newest resumable run, else a new run."""
    print_config: bool = False
    """Print the resolved configuration as TOML and exit."""
    profile: bool = False
    """Profile a few early steps; writes a trace and a table of times to RUN/profile."""


@dataclass(frozen=True, kw_only=True)
class _Arguments(RunConfig, _RunOptions):
    """A run as the parser sees it: unchecked, with flags and one positional."""

    preset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PRESET")]
    """The preset that sets the defaults."""
    model: tyro.conf.FlagConversionOff[ModelSection]
    training: tyro.conf.FlagConversionOff[TrainingConfig]
    evaluation: tyro.conf.FlagConversionOff[EvaluationConfig]

    def __post_init__(self) -> None:
        """Leave the checks to the configuration made of it."""


def parse_prepare(argv: Sequence[str]) -> TrainRequest:
    """Parse the command line of `prepare`: the options of `train` that do not need a run.

    Raises:
        ValueError: see `parse_train`; or an option about a run directory.
    """
    request = parse_train(argv, prog="prepare", description=_PREPARE_DESCRIPTION)
    if request.run_dir is not None or request.resume or request.notes:
        raise ValueError(
            "prepare creates no run, so it takes neither --run-dir nor --resume; leave them out, "
            "or use train"
        )
    return request


def parse_train(
    argv: Sequence[str], *, prog: str = "train", description: str = _DESCRIPTION
) -> TrainRequest:
    """Parse the command line of `train`.

    Raises:
        ValueError: an unknown preset, a value out of range, a run that cannot be resumed, or an
            override that would change what a resumed run trains.
        SystemExit: an unknown option or an unreadable value (2), or `--help` (0).
    """
    argv = read_arguments(argv, _Arguments)
    peeked = _peek(argv)
    preset, saved_run, notes = peeked.preset or DEFAULT_PRESET, None, ()
    if peeked.resume is not None:
        saved_run, notes = find_run_to_resume(peeked.resume, preset=preset, run_dir=peeked.run_dir)
    base = load_config(saved_run / "config.toml") if saved_run else load_preset(preset)
    arguments = tyro.cli(
        _Arguments,
        default=_copied(_with_files(base, peeked.train), _Arguments),
        args=list(with_python_booleans(argv, _Arguments)),
        prog=prog,
        description=description.format(
            presets=", ".join(preset_names()),
            patterns=", ".join(PATTERNS),
            backends=_describe_backends(),
        ),
    )
    if saved_run is None and arguments.preset != base.preset:
        load_preset(arguments.preset)  # raises if there is none
        raise ValueError(
            f"preset {arguments.preset!r} comes after options, but it sets their defaults; "
            f"put it first: {prog} {arguments.preset} ..."
        )
    config = _copied(arguments, RunConfig)
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
    """List the backends of attention and the loss, one per line."""
    sections = {"model.attention": describe("attention"), "training.loss": describe("loss")}
    return "\n\n".join(
        "\n".join([f"--{option}", *(f"  {name:9} {text}" for name, text in backends.items())])
        for option, backends in sections.items()
    )


def join_train_values(argv: Sequence[str], *, options: Collection[str]) -> list[str]:
    """Join values to the options of `train`, and to `options` of another command."""
    return join_values(argv, _Arguments, also=options)


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Continue a prompt with the newest model of a run; the text streams to stdout."""

    run: tyro.conf.Positional[Path]
    """Run directory."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text to continue, default: end-of-text. If repeated, texts are separated by a line of ---."""
    temperature: float = 0.8
    """Sampling temperature; 0: greedy, 1: the model's own distribution."""
    top_p: float = 0.95
    """Draw from the smallest set of tokens with this probability, in (0, 1]."""
    top_k: int | None = None
    """Draw only from the k most likely tokens, at least 1."""
    max_tokens: int = 256
    """Stop after this many tokens, unless end-of-text comes first; at least 1."""
    seed: int = 0
    """Equal seeds give equal text; in [0, 2^63)."""
    device: str | None = None
    """Device to compute on. Default: the device in the run's configuration."""
    cache: bool = True
    """Cache keys and values of earlier tokens; without a cache, the same text takes longer."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """Round the matrices first (int8: one scale per row); the compiled step reads these faster."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compiled step (CPU), built once per machine, in seconds; auto: if built or worth building."""


@dataclass(frozen=True, kw_only=True)
class NewPlaces:
    """New paths of the run's text and token files, if they were moved separately."""

    train: tuple[Path, ...] = ()
    """Text files that it trained on. Default: unchanged."""
    validation: tuple[Path, ...] = ()
    """Text files that it validates on. Default: unchanged."""
    cache_dir: Path | None = None
    """Folder of prepared data. Default: unchanged."""

    def applied(self, config: RunConfig) -> RunConfig:
        """Return the run's configuration with these paths.

        Raises:
            ValueError: the run does not train on files.
        """
        named = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, **named))


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """Score every validation token of a run once; print nats per token and bits per byte."""

    run: tyro.conf.Positional[Path]
    """Run directory."""
    batch_size: int = 32
    """Windows scored at once; changes memory, not the result."""
    device: str | None = None
    """Device to compute on. Default: the device in the run's configuration."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """Round the matrices first, like `generate --weights`, to measure what it costs."""
    json: bool = False
    """Print a JSON object instead of a table."""
    corpus: NewPlaces = dataclasses.field(default_factory=NewPlaces)


@dataclass(frozen=True, kw_only=True)
class DoctorRequest:
    """Verify every file of a run; exit with code 1 if one is damaged."""

    run: tyro.conf.Positional[Path]
    """Run directory."""
    json: bool = False
    """Print one JSON object per line instead of text."""


def parse_doctor(argv: Sequence[str]) -> DoctorRequest:
    """Parse the command line of `doctor`, or raise ValueError for an unknown option."""
    return tyro.cli(DoctorRequest, args=read_arguments(argv, DoctorRequest), prog="doctor")


def parse_generate(argv: Sequence[str]) -> GenerateRequest:
    """Parse the command line of `generate`, or raise ValueError for an unusable one."""
    request = tyro.cli(GenerateRequest, args=read_arguments(argv, GenerateRequest), prog="generate")
    if not 0 <= request.seed < 2**63:
        raise ValueError(f"--seed is {request.seed}, but must be in [0, 2^63)")
    return request


def parse_evaluate(argv: Sequence[str]) -> EvaluateRequest:
    """Parse the command line of `evaluate`, or raise ValueError for an unusable one."""
    request = tyro.cli(EvaluateRequest, args=read_arguments(argv, EvaluateRequest), prog="evaluate")
    if request.batch_size < 1:
        raise ValueError(f"--batch-size is {request.batch_size}, but must be at least 1")
    return request


class _SilentParser(argparse.ArgumentParser):
    """A parser whose errors are ValueErrors."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def _peek(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options that set the defaults of all others."""
    parser = _SilentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run-dir", "--run_dir", type=Path)
    parser.add_argument("--resume")
    parser.add_argument("--corpus.train", dest="train", type=Path, nargs="+")
    peeked, _ = parser.parse_known_args(argv)
    peeked.preset = argv[0] if argv and not argv[0].startswith("-") else None
    return peeked


def _with_files(config: RunConfig, train: list[Path] | None) -> RunConfig:
    """Set the source to `files` if the command line names any."""
    if train is None:
        return config
    corpus = dataclasses.replace(config.corpus, source="files", train=tuple(train))
    return dataclasses.replace(config, corpus=corpus)


def _copied(config: RunConfig, cls: type[_Config]) -> _Config:
    return cls(**{spec.name: getattr(config, spec.name) for spec in dataclasses.fields(RunConfig)})
