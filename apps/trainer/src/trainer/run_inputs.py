"""Prepare a run's plan and data, refuse what cannot work, and record and announce the rest.

Stage: configuration -> *plan, tokenizer, token files* -> run directory. Problems of configuration
and machine are reported before any text is read, problems of the text as early as possible. Not
here: the preparation itself (`data/preparation.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from accounting.plural import agree, plural
from nn_layers import TransformerLM
from tokenizer import Tokenizer
from trainer.config.presets import config_to_toml
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData, prepare
from trainer.data.relocation import DIRECTORY, prepare_again
from trainer.monitoring.progress import Reporter
from trainer.plan.compute import ComputePlan, plan_compute
from trainer.plan.devices import device_name, resolve_device
from trainer.plan.estimate import require_memory
from trainer.storage.durable import TEMPORARY, remove, rename_durably
from trainer.storage.run_directory import (
    RunDirectory,
    write_json_atomically,
    write_text_atomically,
)
from trainer.tracking import require_trackers


def plan_run(config: RunConfig, *, reporter: Reporter) -> ComputePlan:
    """Decide how a run computes, before any text is read.

    Raises:
        ValueError: a tracker, device or backend is unavailable here, or a step needs more memory
            than the device has.
    """
    require_trackers(config.logging.track)
    device = resolve_device(config.device)
    plan = plan_compute(config, device=device, say=reporter.say)
    require_memory(config, plan=plan, device=device)
    return plan


@dataclass(frozen=True, slots=True)
class RunInputs:
    """A run, ready to be built."""

    config: RunConfig
    plan: ComputePlan
    data: PreparedData


def prepare_run(
    config: RunConfig, *, reporter: Reporter, begun: RunDirectory | None = None
) -> RunInputs:
    """Decide how a run computes, and prepare its tokenizer and token files.

    Args:
        config: the run.
        reporter: shows progress.
        begun: the run to resume; None: a new one.

    Raises:
        ValueError: see `plan_run`, `prepare`, `prepare_again` and `require_windows`.
    """
    plan = plan_run(config, reporter=reporter)
    if begun is None:
        context_length = config.model.context_length
        data = prepare(config, reporter=reporter, context_length=context_length)
    else:
        data = prepare_again(begun, config, reporter=reporter)
    require_windows(data, config)
    return RunInputs(config, plan, data)


def require_windows(data: PreparedData, config: RunConfig) -> None:
    """Require text for one training window and one validation window.

    Raises:
        ValueError: there is too little text, or nothing to score.
    """
    needed = config.model.context_length + 1
    for name, file in (("training", data.train), ("validation", data.validation)):
        if len(file.tokens) < needed:
            raise ValueError(
                f"the {name} text has {plural(len(file.tokens), 'token')}, but "
                f"model.context-length {config.model.context_length} needs at least {needed:,}; "
                "shorten the context or give more text"
            )
    num_validation, asked = len(data.validation.tokens), config.evaluation.num_windows
    if asked > num_validation:
        raise ValueError(
            f"evaluation.num-windows is {asked:,}, but the validation text has only "
            f"{plural(num_validation, 'token')}; lower it or give more text to validate on"
        )
    scored = data.validation.tokens[: config.evaluation.final_tokens]
    if (scored == data.tokenizer.end_of_text_id).all():
        raise ValueError(
            f"the {plural(len(scored), 'validation token')} to score "
            f"{agree(len(scored), 'holds', 'hold')} no text, so there are no bits per byte; give "
            "more text to validate on, or raise evaluation.final-tokens"
        )


def record_inputs(run: RunDirectory, inputs: RunInputs, *, say: Callable[[str], None]) -> None:
    """Save tokenizer, hashes and, last because it completes the run, the configuration."""
    _copy_tokenizer(run, inputs.data.tokenizer, say=say)
    document = {"format": "run-data", "version": 1, **inputs.data.hashes()}
    write_json_atomically(run.data, {**document, DIRECTORY: str(run.path.absolute())})
    write_text_atomically(run.config, config_to_toml(inputs.config))


def announce_run(
    run: RunDirectory, inputs: RunInputs, model: TransformerLM, *, say: Callable[[str], None]
) -> None:
    """Report the model, how it computes, and how much it trains on."""
    config, plan, data = inputs.config, inputs.plan, inputs.data
    say(f"run directory: {run.path}")
    say(
        f"model: {plural(model.num_parameters, 'parameter')}, vocabulary "
        f"{data.tokenizer.vocab_size:,}; {device_name(resolve_device(config.device))}, "
        f"{plan.describe()}"
    )
    for note in plan.notes:
        say(note)
    say(
        f"training: {plural(config.training.max_steps, 'batch', 'batches')} of "
        f"{plural(config.tokens_per_step, 'token')} = {plural(config.total_tokens, 'token')}, "
        f"{config.total_tokens / len(data.train.tokens):.2f} times the training text"
    )
    for stage in config.batch_stages if config.training.batch_ramp else ():
        tokens = stage.first_window * config.model.context_length
        say(
            f"batch ramp: {plural(stage.batch_size, 'window')} per step from step "
            f"{stage.first_step + 1:,}, after {plural(tokens, 'token')}"
        )
    if config.schedule.warmup_steps >= config.schedule_steps:
        say(
            f"warning: the run ends during its warm-up of "
            f"{plural(config.schedule.warmup_steps, 'step')}, so the learning rate never reaches "
            "its peak"
        )


def _copy_tokenizer(run: RunDirectory, tokenizer: Tokenizer, *, say: Callable[[str], None]) -> None:
    """Make the run directory self-contained; a damaged copy is replaced."""
    if run.tokenizer.exists():
        try:
            if Tokenizer.load(run.tokenizer).fingerprint == tokenizer.fingerprint:
                return
            reason = "it holds another tokenizer"
        except (ValueError, OSError) as error:
            reason = str(error)
        say(f"{run.tokenizer} is damaged and is copied again: {reason}")
        remove(run.tokenizer)
    beside = run.path / f"tokenizer{TEMPORARY}"
    tokenizer.save(beside)
    rename_durably(beside, run.tokenizer)
