"""Answer the commands: models, options -> text, JSON, charts.

Stage: parsed words -> *an account* -> stdout. Not here: which options there are (`commands.py`).
"""

import argparse
import json
from collections.abc import Sequence

from accounting.cli import arguments as options
from accounting.cli.measure_peak import measure_peak
from accounting.inference import inference
from accounting.parameters import count_parameters
from accounting.plan import Budget, propose
from accounting.plural import plural
from accounting.presets import COURSE_PRESETS, describe_model
from accounting.reports.chart import stacked_bars
from accounting.reports.costs import describe, flops_bars, render
from accounting.reports.files import write_text_atomically
from accounting.reports.layout import Section, render_sections, sections_json
from accounting.reports.memory import memory_sections
from accounting.reports.runs import (
    allocation_section,
    duration_section,
    inference_section,
    parameter_section,
    plan_section,
)
from accounting.sources.inputs import TRAINERS
from accounting.sources.model import Application, Model
from accounting.step import StepSettings
from accounting.time import remaining_time, training_time

DEFAULT_MODEL = "gpt2-xl"


def answer_flops(arguments: argparse.Namespace, application: Application) -> str:
    """Return parameters and FLOPs, component by component."""
    models = options.read_models(arguments, application, default=COURSE_PRESETS)
    shapes = {name: model.require("context_length") for name, model in models.items()}
    if arguments.chart:
        title = "Forward FLOPs of one sequence, shares (counter convention)"
        chart = stacked_bars(title, flops_bars(shapes), unit="TFLOP", share=True)
        write_text_atomically(arguments.chart, chart)
    if arguments.json:
        return json.dumps({name: describe(name, shape) for name, shape in shapes.items()}, indent=2)
    return render(shapes, explain=arguments.explain)


def answer_params(arguments: argparse.Namespace, application: Application) -> str:
    """Return parameters."""
    models = options.read_models(arguments, application, default=[DEFAULT_MODEL])
    sections = []
    for name, model in models.items():
        title, parameters = describe_model(name, model.shape), count_parameters(model.shape)
        sections.append(parameter_section(title, parameters, model.weights))
    return _shown(arguments, sections)


def answer_memory(arguments: argparse.Namespace, application: Application) -> str:
    """Return the memory of a training step, tensor by tensor, and the largest batch."""
    models = options.read_models(arguments, application, default=[DEFAULT_MODEL])
    memory_bytes = options.memory_of(arguments, default_gb=80)
    sections, bars = [], {}
    for name, model in models.items():
        shape = model.require("context_length", "num_heads")
        settings = options.read_settings(arguments, model)
        found = memory_sections(shape, settings, memory_bytes=memory_bytes)
        title = describe_model(name, shape)
        bars[title] = _bar(found[2])
        for index, one in enumerate(found):
            is_named = index == 0 or len(models) > 1
            heading = f"{title}: {one.title}" if is_named else one.title
            sections.append(Section(heading, one.rows, one.note))
    if arguments.chart:
        title = "Memory at the peak of a training step"
        write_text_atomically(arguments.chart, stacked_bars(title, bars, unit="GB"))
    return _shown(arguments, sections)


def _bar(section: Section) -> dict[str, float]:
    """Sum the tensors at the peak by kind, the part of a label before the colon."""
    bar: dict[str, float] = {}
    for row in section.rows:
        kind = row.name.partition(":")[0]
        assert isinstance(row.value, int)
        bar[kind] = bar.get(kind, 0.0) + row.value / 1e9
    largest = sorted(bar, key=lambda kind: -bar[kind])[:6]
    rest = sum(value for kind, value in bar.items() if kind not in largest)
    return {kind: bar[kind] for kind in largest} | {"other": rest}


def answer_inference(arguments: argparse.Namespace, application: Application) -> str:
    """Return what generating text costs."""
    sections = []
    device = options.read_device(arguments)
    for name, model in options.read_models(arguments, application, default=[DEFAULT_MODEL]).items():
        shape = model.require("context_length")
        prompt = arguments.prompt_tokens or shape.context_length - arguments.new_tokens
        found = inference(
            shape,
            prompt_tokens=prompt,
            new_tokens=arguments.new_tokens,
            batch_size=arguments.batch_size,
            weight_bytes=arguments.weight_bytes,
            cache_bytes=arguments.cache_bytes,
            bytes_per_second=device.bytes_per_second if device else None,
        )
        sequences = plural(arguments.batch_size, "sequence")
        how = f"{sequences} of {prompt} + {plural(arguments.new_tokens, 'token')}"
        sections.append(inference_section(describe_model(name, shape), found, how=how))
    return _shown(arguments, sections)


def answer_plan(arguments: argparse.Namespace, application: Application) -> str:
    """Return a proposal for a budget, or how long given models take."""
    models = options.read_models(arguments, application, default=[])
    if not models:
        return _proposal(arguments, application)
    found = [_durations(arguments, name, model) for name, model in models.items()]
    return _shown(arguments, [section for sections in found for section in sections])


def _proposal(arguments: argparse.Namespace, application: Application) -> str:
    if arguments.hours is None:
        raise ValueError("pass --hours and --device for a proposal, or a model to time")
    if application.plan_to_toml is None and (arguments.write or arguments.corpus):
        raise ValueError(f"accounting writes no configurations; use `{TRAINERS} plan` for that")
    dtype = arguments.dtype or "bfloat16"
    budget = Budget(
        hours=arguments.hours,
        peak_flops_per_second=options.peak_of(arguments, dtype),
        memory_bytes=options.memory_of(arguments, default_gb=16),
        utilization=arguments.mfu,
    )
    step = StepSettings(dtype="bfloat16" if dtype == "bfloat16" else "float32", loss="chunked")
    how = {"approach": arguments.approach, "unique_tokens": arguments.unique_tokens}
    proposed = propose(budget, settings=step, **how)
    sections = [allocation_section(budget.flops), plan_section(proposed, budget)]
    if application.plan_to_toml is None:
        return _shown(arguments, sections)
    toml = application.plan_to_toml(proposed, arguments.hours, arguments.corpus)
    if arguments.write:
        write_text_atomically(arguments.write, toml)
    if arguments.json:
        content = sections_json(sections, explain=arguments.explain)
        return json.dumps({**content, "toml": toml}, indent=2)
    return f"{_shown(arguments, sections)}\n\n{toml}".rstrip()


def _durations(arguments: argparse.Namespace, name: str, model: Model) -> list[Section]:
    price, training = arguments.price, model.training
    shape = model.require("context_length")
    device = options.read_device(arguments)
    steps = arguments.steps or (training and training.num_steps)
    batch_size = arguments.batch_size or (training and training.batch_size)
    if steps is None or batch_size is None:
        raise ValueError(f"{name} does not state how long it trains; pass --steps and --batch-size")
    tokens = steps * batch_size * shape.context_length
    if training and training.progress:
        left = remaining_time(training.progress, total_tokens=tokens)
        title = f"{name}: what is left, by its own metrics"
        return [duration_section(title, left, device=device, price=price)]
    peak = options.peak_of(arguments, arguments.dtype or "bfloat16")
    title = f"{describe_model(name, shape)}: {plural(tokens, 'token')} at {arguments.mfu:.0%} of "
    sections = []
    for convention in ("counter", "model"):
        duration = training_time(
            shape,
            tokens,
            flops_per_second=peak * arguments.mfu,
            convention=convention,
            evaluation_tokens=arguments.evaluation_tokens,
            warm_up_seconds=arguments.warm_up_seconds,
        )
        speed = f"{peak / 1e12:g} TFLOP/s, FLOPs by the {convention} convention"
        sections.append(duration_section(f"{title}{speed}", duration, device=device, price=price))
    return sections


def answer_measure_peak(arguments: argparse.Namespace, application: Application) -> str:
    """Return the FLOP/s that matrix products reach."""
    speed, size = measure_peak(arguments.device, arguments.dtype)
    if arguments.json:
        return json.dumps({"flops_per_second": speed, "size": size})
    why = f"  best of matrix products, at {size} x {size}" if arguments.explain else ""
    return f"{arguments.device}, {arguments.dtype}: {speed / 1e12:.3f} TFLOP/s{why}"


def _shown(arguments: argparse.Namespace, sections: Sequence[Section]) -> str:
    if arguments.json:
        return json.dumps(sections_json(sections, explain=arguments.explain), indent=2)
    return render_sections(sections, explain=arguments.explain)
