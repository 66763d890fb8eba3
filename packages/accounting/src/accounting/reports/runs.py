"""Report the cost of a run and of generation, and the best use of a budget.

Stage: accounts -> *sections* -> `layout`. Not here: computing them.
"""

from accounting.hardware import Device
from accounting.inference import Inference
from accounting.parameters import Parameters, count_parameters
from accounting.plan import Budget, Plan
from accounting.plural import plural
from accounting.reports.layout import Row, Section, count, figure, in_units, size
from accounting.scaling import APPROACHES, optimal_allocation
from accounting.sources.weights import Weights
from accounting.time import Duration


def parameter_section(name: str, parameters: Parameters, weights: Weights | None) -> Section:
    """Return parameters by component, and the size of files that hold them."""
    rows = [
        count("embedding", parameters.embedding, "v d, and c d if positions are learned"),
        count("attention", parameters.attention, "L (2 d h k + 2 d g k), and biases"),
        count("feed-forward", parameters.feed_forward, "L 3 d f (SwiGLU) or L 2 d f"),
        count("norms", parameters.norms, "(2 L + 1) d, and 2 L k with QK-norm"),
        count("head", parameters.head, "v d, or 0 if tied"),
        count("total", parameters.total, "N"),
        count("without embedding and head", parameters.non_embedding),
        size("in float32", 4 * parameters.total, "4 N"),
        size("in bfloat16", 2 * parameters.total, "2 N"),
    ]
    if weights is not None:
        num_bytes, files = weights.num_bytes, weights.num_files
        shown = f"{num_bytes:,} bytes = {in_units(num_bytes)}, {' and '.join(weights.dtypes)}"
        why = f"headers of {files} files" if files > 1 else "the file's header"
        rows.append(Row("as stored", num_bytes, shown, why))
    return Section(f"{name}: parameters", rows)


def duration_section(
    title: str, duration: Duration, *, device: Device | None, price: float | None
) -> Section:
    """Return time, energy and price of a run."""
    rows = [
        figure("days", duration.days, ",.1f", "FLOPs / (peak * utilization)"),
        figure("hours", 24 * duration.days, ",.1f"),
        figure("tokens/s", duration.tokens_per_second, ",.0f", "in training only"),
    ]
    if device is not None:
        energy = duration.kilowatt_hours(device.watts)
        rows.append(figure("kWh", energy, ",.1f", f"at most {device.watts:g} W"))
    if price is not None:
        rows.append(figure("cost", duration.cost(price), ",.2f", f"at {price:g} per hour"))
    return Section(title, rows)


def inference_section(name: str, found: Inference, *, how: str) -> Section:
    """Return the cost of generation."""
    speed = found.tokens_per_second
    shown = "unknown: pass --device" if speed is None else f"at most {speed:,.0f}"
    decode = "2 N_matmul + 4 L h k * tokens, per sequence"
    rows = [
        size("cache of keys and values", found.cache_bytes, "2 L g k * tokens * bytes"),
        count("prefill FLOPs (counter)", found.prefill_flops, "the forward pass of the prompts"),
        count("decode FLOPs per step (counter)", found.decode_flops, decode),
        size("bytes read per step", found.read_bytes, "weights, and the cache"),
        Row("tokens/s, bandwidth-bound", speed, shown, "batch * bandwidth / bytes read"),
    ]
    return Section(f"{name}: {how}", rows)


def allocation_section(flops: float) -> Section:
    """Return the proposal of each fit for a budget, and how far they disagree."""
    rows = []
    for approach in APPROACHES:
        one = optimal_allocation(flops, approach)
        shown = f"{one.parameters:,.0f} parameters, {one.tokens:,.0f} tokens"
        ratio = f"{one.tokens_per_parameter:.0f} tokens per parameter"
        rows.append(Row(approach, one.parameters, shown, ratio))
    spread = max(row.value for row in rows) / min(row.value for row in rows)
    rows.append(Row("range of sizes", spread, f"{spread:.1f}-fold"))
    return Section(f"Chinchilla's three fits for {flops:.3g} FLOPs (C = 6 N D)", rows)


def plan_section(plan: Plan, budget: Budget) -> Section:
    """Return the proposal for people."""
    shape = plan.shape
    parameters = count_parameters(shape).total
    rows = [
        Row(
            "model",
            parameters,
            f"{plural(parameters, 'parameter')}: {shape.num_layers} layers of {shape.d_model}",
            f"the best shape by the fit {plan.approach!r}",
        ),
        count("tokens", plan.num_tokens, "budget / FLOPs per token (model convention)"),
        count("steps", plan.num_steps),
        Row(
            "batch",
            plan.batch_size,
            f"{plan.batch_size} windows of {shape.context_length}, {plan.micro_batch_size} at once",
            "0.2920 C^0.3271 tokens, rounded to a power of two",
        ),
        figure("learning rate", plan.learning_rate, "g", "0.3118 C^-0.125"),
        Row(
            "peak memory",
            plan.peak_memory_bytes,
            f"{in_units(plan.peak_memory_bytes)} of {in_units(budget.memory_bytes)}",
        ),
        Row(
            "loss by the parametric fit",
            plan.predicted_loss,
            f"{plan.predicted_loss:.2f} nats per token, on other text and tokens than yours",
        ),
    ]
    note = ""
    if plan.epochs is not None:
        rows.append(figure("epochs", plan.epochs, ".2f"))
        if plan.epochs > 4:
            note = "more than 4 epochs: new text would help more than repeating this one"
    return Section(f"plan for {budget.hours:g} hours, {budget.flops:.3g} FLOPs (model)", rows, note)
