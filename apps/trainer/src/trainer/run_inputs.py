"""Get what a run needs before it is begun, and refuse what cannot work.

Stage: configuration -> *plan, tokenizer, token files* -> run directory. What follows from the
configuration and the machine is refused before any text is read, what follows from the text as soon
as enough of it is known.
"""

from accounting.plural import agree, plural
from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData, prepare
from trainer.data.relocation import prepare_again
from trainer.monitoring.progress import Reporter
from trainer.plan.compute import ComputePlan, plan_compute
from trainer.plan.devices import resolve_device
from trainer.plan.estimate import require_memory
from trainer.storage.run_directory import RunDirectory
from trainer.tracking import require_trackers


def plan_run(config: RunConfig, *, reporter: Reporter) -> ComputePlan:
    """Decide how a run computes, before any text is read.

    Raises:
        ValueError: a tracker, a device or a path of computation that is not to be had here, or more
            memory in a step than the device has.
    """
    require_trackers(config.logging.track)
    device = resolve_device(config.device)
    plan = plan_compute(config, device=device, say=reporter.say)  # says what can't be used
    require_memory(config, plan=plan, device=device)
    return plan


def prepare_run(
    config: RunConfig, *, reporter: Reporter, begun: RunDirectory | None = None
) -> tuple[ComputePlan, PreparedData]:
    """Decide how a run computes, and get its tokenizer and token files.

    Args:
        config: the run.
        reporter: hears what is done.
        begun: the run that is resumed; None: it is a new one.

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
    return plan, data


def require_windows(data: PreparedData, config: RunConfig) -> None:
    """Insist on text for a window to train on and one to validate on.

    Raises:
        ValueError: there is too little, or nothing to score.
    """
    needed = config.model.context_length + 1
    for name, file in (("training", data.train), ("validation", data.validation)):
        if len(file.tokens) < needed:
            raise ValueError(
                f"the {name} text is {plural(len(file.tokens), 'token')}, but model.context-length "
                f"{config.model.context_length} needs at least {needed:,}; shorten the context or "
                "give more text"
            )
    num_validation, asked = len(data.validation.tokens), config.evaluation.num_windows
    if asked > num_validation:
        raise ValueError(
            f"evaluation.num-windows is {asked:,}, more than the validation text has tokens "
            f"({num_validation:,}); lower it or give more text to validate on"
        )
    scored = data.validation.tokens[: config.evaluation.final_tokens]
    if (scored == data.tokenizer.end_of_text_id).all():
        raise ValueError(
            f"the {plural(len(scored), 'validation token')} to score "
            f"{agree(len(scored), 'holds', 'hold')} no text, so there are no bits per byte; give "
            "more text to validate on, or raise evaluation.final-tokens"
        )
