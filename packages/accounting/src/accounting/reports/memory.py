"""Report the memory of a training step, tensor by tensor, and what fits.

Stage: accounts -> *tables* -> stdout. Not here: predicting.
"""

from collections.abc import Iterable

from accounting.autograd.tape import Line
from accounting.course_memory import COURSE_YEARS, CourseYear, listed_activations, listed_memory
from accounting.disk import weights_file_bytes
from accounting.memory import largest_batch, linear_in_batch, memory
from accounting.parameters import count_parameters
from accounting.plural import plural
from accounting.reports.layout import Row, Section, count, in_units, size
from accounting.shape import ModelShape
from accounting.step import StepSettings


def memory_sections(
    shape: ModelShape, settings: StepSettings, *, memory_bytes: float
) -> list[Section]:
    """Return all that `memory` prints for one model."""
    found = memory(shape, settings)
    parameters = count_parameters(shape).total
    state = f"{found.optimizer_state / parameters:.3g} N"
    how = (
        f"{plural(settings.batch_size, 'window')}, {settings.dtype}, attention "
        f"{settings.attention}, loss {settings.loss}"
        f"{', checkpointing' if settings.checkpointing else ''}"
    )
    persistent = [
        size("weights", found.weights, f"4 N = 4 * {parameters:,}"),
        size("gradients", found.gradients, f"4 N = 4 * {parameters:,}"),
        size(f"optimizer state ({settings.optimizer})", found.optimizer_state, state),
        size("activations kept for the backward pass", found.activations),
        size("peak of the step", found.peak, f"at {found.peak_phase}"),
    ]
    files = [
        size("model.safetensors", weights_file_bytes(shape), "8 + header + 4 N"),
        size("optimizer state", found.optimizer_state, state),
    ]
    beside = "beside them a few kB of text: names, settings, progress"
    return [
        Section(f"memory of a training step: {how}", persistent),
        Section("kept for the backward pass", _line_rows(found.kept_lines)),
        Section(f"alive at the peak ({found.peak_phase})", _line_rows(found.peak_lines)),
        *batch_sections(shape, settings, memory_bytes=memory_bytes),
        Section("a checkpoint on disk", files, beside),
    ]


def batch_sections(
    shape: ModelShape, settings: StepSettings, *, memory_bytes: float
) -> list[Section]:
    """Return a * batch + b and the largest batch, by CS336's lists and by all that is kept."""
    line = linear_in_batch(shape, settings)
    ours = largest_batch(shape, settings, memory_bytes=int(memory_bytes))
    rows = [
        size("a, per window", line.bytes_per_window),
        size("b", line.constant_bytes, "weights, moments, and other constant parts"),
        count("holds from batch", line.from_batch),
        count(f"largest batch in {in_units(memory_bytes)}", ours),
    ]
    listed = [_listed_sections(shape, year, memory_bytes=memory_bytes) for year in COURSE_YEARS]
    title = "a * batch + b, with all that this project's model keeps"
    return [*(section for year in listed for section in year), Section(title, rows)]


def _listed_sections(shape: ModelShape, year: CourseYear, *, memory_bytes: float) -> list[Section]:
    a, b = listed_memory(shape, year=year)
    terms = [
        count(term.name, term.count, term.formula) for term in listed_activations(shape, year=year)
    ]
    largest = max(int((memory_bytes - b) // a), 0)
    rows = [
        size("a, per window", a, "4 bytes * the sum of the list"),
        size("b", b, "16 N: weights 4, gradients 4, moments 8"),
        count(f"largest batch in {in_units(memory_bytes)}", largest, "(memory - b) / a"),
    ]
    title = f"a * batch + b, with the activations that CS336 lists in {year} (float32, AdamW)"
    listed = f"activations that CS336 lists in {year}, numbers per window"
    return [Section(listed, terms), Section(title, rows)]


def _line_rows(lines: Iterable[Line]) -> list[Row]:
    """Return one row per label; tensors with several dimensions under one label are summed."""
    alike: dict[str, list[Line]] = {}
    for line in lines:
        alike.setdefault(line.label, []).append(line)
    rows = [
        size(label, sum(one.total_bytes for one in same), " + ".join(one.formula for one in same))
        for label, same in alike.items()
    ]
    return sorted(rows, key=lambda row: -int(row.value or 0))
