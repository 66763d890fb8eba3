"""Time one task of a language model in the process of a sample.

Stage: contestant -> *sample*, like `bench.tokenization.tasks`, for contestants that need torch. All
use the same threads, allocator (from the environment) and float32 matmul precision.
"""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from bench.contestants.models.recipe import Recipe, flops_per_token, read_recipe
from bench.tokenization.tasks import Outcome, own_peak_bytes, peak_bytes

_ROUTE_ERROR = 2e-6  # relative; above it a product is not float32
_PEAK_SECONDS = 0.5


def train(
    contestant: ModuleType, *, num_threads: int, warm_steps: int, num_steps: int, **recipe: Any
) -> Outcome:
    """Take optimizer steps; seconds per token, the median of the steps after warm-up.

    On a GPU steps are not synchronized, so the clock is read once for all of them.
    """
    prepared = _prepare(num_threads, **recipe)
    step = contestant.stepper(prepared)
    first = _timed_steps(step, range(1, 2), prepared.device)
    _timed_steps(step, range(2, 1 + warm_steps), prepared.device)
    block = 1 if prepared.device.type == "cpu" else num_steps
    times = [
        _timed_steps(step, range(n, n + block), prepared.device) / block
        for n in range(1 + warm_steps, 1 + warm_steps + num_steps, block)
    ]
    middle = statistics.median(times)
    metrics = {
        "seconds_per_token": middle / prepared.config.tokens_per_step,
        "first_step": first,
        "compile": max(0.0, first - middle),
        "flops_per_token": getattr(contestant, "flops_per_token", flops_per_token)(prepared),
    }
    return {"metrics": metrics, "digests": {}, "peak_bytes": _peak(prepared.device)}


def peak(contestant: ModuleType, *, num_threads: int, device: str, dtype: str) -> Outcome:
    """Multiply matrices; FLOPs per second at the best size."""
    _set_up(num_threads)
    where, best = torch.device(device), 0.0
    for size in contestant.SIZES[where.type]:
        multiply = contestant.multiplier(size, device=where, dtype=getattr(torch, dtype))
        multiply(0)
        until = time.perf_counter() + _PEAK_SECONDS
        while time.perf_counter() < until:
            seconds = _timed_steps(multiply, range(4), where) / 4
            best = max(best, 2 * size**3 / seconds)
    return {"metrics": {"flops_per_second": best}, "digests": {}, "peak_bytes": None}


def agree(contestant: ModuleType, *, num_threads: int, **recipe: Any) -> Outcome:
    """Take the first step from our weights, with ours and HF: both losses, norms and sizes."""
    from bench.contestants.models import huggingface

    prepared = _prepare(num_threads, **recipe)
    model = contestant.build(prepared)
    llama = huggingface.build(prepared.config.model, model.config.vocab_size)
    loss, norm = contestant.stepper(prepared)(1)
    their_loss, their_norm = huggingface.stepper(prepared, model.state_dict())(1)
    metrics = {
        "loss": float(loss),
        "loss_difference": abs(float(loss) - float(their_loss)),
        "norm_difference": abs(float(norm) / float(their_norm) - 1),
        "num_parameters": model.num_parameters,
        "parameter_difference": abs(model.num_parameters - llama.num_parameters()),
    }
    return {"metrics": metrics, "digests": {}, "peak_bytes": None}


def generate(
    contestant: ModuleType, *, num_threads: int, device: str, weights: str, num_tokens: int
) -> Outcome:
    """Continue a short prompt greedily; seconds per token, including the prompt."""
    _set_up(num_threads)
    run = contestant.generator(weights)
    if (num_found := run(num_tokens)) != num_tokens:  # also loads and compiles everything
        raise RuntimeError(f"{num_found} tokens were generated instead of {num_tokens}")
    where = torch.device(device)
    times = [_timed_steps(lambda _: run(num_tokens), range(1), where) for _ in range(5)]
    metrics = {"seconds_per_token": statistics.median(times) / num_tokens}
    return {"metrics": metrics, "digests": {}, "peak_bytes": peak_bytes()}


def end_to_end(
    contestant: ModuleType, *, num_threads: int, device: str, cache_dir: str, num_steps: int
) -> Outcome:
    """Run the trainer's command; seconds from start-up to the end of the final report."""
    with tempfile.TemporaryDirectory() as folder:
        command = contestant.command(
            run_dir=Path(folder, "run"),
            cache_dir=Path(cache_dir),
            device=device,
            num_steps=num_steps,
        )
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        summary = json.loads(Path(folder, "run", "summary.json").read_text("utf-8"))
    metrics = {"seconds": seconds, "validation_loss": summary["validation_loss"]}
    return {"metrics": metrics, "digests": {}, "peak_bytes": None}


def _prepare(num_threads: int, *, tokens: str, **recipe: Any) -> Recipe:
    _set_up(num_threads)
    return read_recipe(tokens, **recipe)


def _set_up(num_threads: int) -> None:
    """Multiply float32 by oneDNN if that is still float32: on AMX it would be bfloat16."""
    torch.set_num_threads(num_threads)
    # torch replaces the module by an object that has it.
    settings = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    if ((a @ b).double() - exact).norm() / exact.norm() > _ROUTE_ERROR:
        settings.fp32_precision = before


def _timed_steps(step: Callable[[int], object], numbers: range, device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    for number in numbers:
        step(number)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    """Return peak memory, without compilers, which end before the steps."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return own_peak_bytes()
