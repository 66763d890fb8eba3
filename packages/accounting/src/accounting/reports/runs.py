"""Report what a run takes, what generating takes, and what is best for a budget."""

from accounting.hardware import Device
from accounting.inference import Inference
from accounting.parameters import Parameters, count_parameters
from accounting.plan import Budget, Plan
from accounting.plural import plural
from accounting.reports.layout import Row, Section, count, in_units, size
from accounting.scaling import APPROACHES, optimal_allocation
from accounting.sources.weights import Weights
from accounting.time import Duration


def parameter_section(name: str, parameters: Parameters, weights: Weights | None) -> Section:
    """Return parameters by component, and what files take that hold them."""
    stored = [] if weights is None else [_stored_row(weights)]
    return Section(
        f"{name}: parameters",
        [
            count("embedding", parameters.embedding, "v d, and c d where positions are learned"),
            count("attention", parameters.attention, "L (2 d h k + 2 d g k), and biases"),
            count("feed-forward", parameters.feed_forward, "L 3 d f (SwiGLU) or L 2 d f"),
            count("norms", parameters.norms, "(2 L + 1) d, and 2 L k with QK-norm"),
            count("head", parameters.head, "v d, or 0 where it is tied"),
            count("total", parameters.total, "N"),
            count("without embedding and head", parameters.non_embedding),
            size("in float32", 4 * parameters.total, "4 N"),
            size("in bfloat16", 2 * parameters.total, "2 N"),
            *stored,
        ],
    )


def _stored_row(weights: Weights) -> Row:
    num_bytes, files = weights.num_bytes, weights.num_files
    return Row(
        "as stored",
        num_bytes,
        f"{num_bytes:,} bytes = {in_units(num_bytes)}, {' and '.join(weights.dtypes)}",
        f"headers of {files} files" if files > 1 else "the file's header",
    )


def duration_section(
    title: str, duration: Duration, *, device: Device | None, price: float | None
) -> Section:
    """Return time, energy and price of a run."""
    rows = [
        Row("days", duration.days, f"{duration.days:,.1f}", "FLOPs / (peak * utilization)"),
        Row("hours", 24 * duration.days, f"{24 * duration.days:,.1f}"),
        Row(
            "tokens/s",
            duration.tokens_per_second,
            f"{duration.tokens_per_second:,.0f}",
            "in training alone",
        ),
    ]
    if device is not None:
        energy = duration.kilowatt_hours(device.watts)
        rows.append(Row("kWh", energy, f"{energy:,.1f}", f"at most {device.watts:g} W"))
    if price is not None:
        cost = duration.cost(price)
        rows.append(Row("cost", cost, f"{cost:,.2f}", f"at {price:g} an hour"))
    return Section(title, rows)


def inference_sections(name: str, found: Inference, *, how: str) -> list[Section]:
    """Return what generating takes."""
    speed = found.tokens_per_second
    return [
        Section(
            f"{name}: {how}",
            [
                size("cache of keys and values", found.cache_bytes, "2 L g k * tokens * bytes"),
                count(
                    "prefill FLOPs (counter)",
                    found.prefill_flops,
                    "the forward pass of the prompts",
                ),
                count(
                    "decode FLOPs a step (counter)",
                    found.decode_flops,
                    "2 N_matmul + 4 L h k * tokens, a sequence",
                ),
                size("bytes read a step", found.read_bytes, "weights, and the cache"),
                Row(
                    "tokens/s, bandwidth-bound",
                    speed,
                    "unknown: give --device" if speed is None else f"at most {speed:,.0f}",
                    "batch * bandwidth / bytes read",
                ),
            ],
        )
    ]


def allocation_section(flops: float) -> Section:
    """Return what each fit says about a budget, and how far they disagree."""
    found = [optimal_allocation(flops, approach) for approach in APPROACHES]
    sizes = [one.parameters for one in found]
    rows = [
        Row(
            one.approach,
            one.parameters,
            f"{one.parameters:,.0f} parameters, {one.tokens:,.0f} tokens",
            f"{one.tokens_per_parameter:.0f} tokens a parameter",
        )
        for one in found
    ]
    rows.append(
        Row("range of sizes", max(sizes) / min(sizes), f"{max(sizes) / min(sizes):.1f}-fold")
    )
    return Section(f"Chinchilla's three fits for {flops:.3g} FLOPs (C = 6 N D)", rows)


def plan_section(plan: Plan, budget: Budget) -> Section:
    """Return the proposal, for people."""
    shape = plan.shape
    parameters = count_parameters(shape).total
    rows = [
        Row(
            "model",
            parameters,
            f"{plural(parameters, 'parameter')}: {shape.num_layers} layers of {shape.d_model}",
            f"the shape that the fit {plan.approach!r} likes best",
        ),
        count("tokens", plan.num_tokens, "budget / FLOPs a token (model convention)"),
        count("steps", plan.num_steps),
        Row(
            "batch",
            plan.batch_size,
            f"{plan.batch_size} windows of {shape.context_length}, {plan.micro_batch_size} at once",
            "0.2920 C^0.3271 tokens, rounded to a power of two",
        ),
        Row("learning rate", plan.learning_rate, f"{plan.learning_rate:g}", "0.3118 C^-0.125"),
        Row(
            "peak memory",
            plan.peak_memory_bytes,
            f"{in_units(plan.peak_memory_bytes)} of {in_units(budget.memory_bytes)}",
        ),
        Row(
            "loss by the parametric fit",
            plan.predicted_loss,
            f"{plan.predicted_loss:.2f} nats a token, of other text and tokens than yours",
        ),
    ]
    note = ""
    if plan.epochs is not None:
        rows.append(Row("epochs", plan.epochs, f"{plan.epochs:.2f}"))
        if plan.epochs > 4:
            note = "more than 4 epochs: fresh text would help more than these repeats"
    return Section(f"plan for {budget.hours:g} hours, {budget.flops:.3g} FLOPs (model)", rows, note)
