"""Report each contestant's own figures.

Stage: results of the speed contests -> *lines*, a table and JSON. Not here: ratios (`rows`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from bench.console import new_table
from bench.measurement.harness import Result
from bench.training.contests.setting import NAMES, Way

_COLUMNS = ("device", "type", "contestant", "tokens/s", "TFLOP/s", "of peak", "memory", "compile")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Figures of one contestant in its best way."""

    device: str
    dtype: str
    contestant: str
    way: str
    tokens_per_second: float
    flops_per_second: float
    peak_share: float
    """Share of the matmul peak in the same run."""
    peak_bytes: float
    """Peak resident set, or peak allocation on the GPU."""
    compile_seconds: float
    """Additional seconds of the first step: an upper bound."""


def read_speeds(
    device: str, dtype: str, ways: Mapping[str, Way], results: Mapping[str, Result]
) -> list[Speed]:
    """Return one line for each contestant with samples."""
    peak = results[NAMES["models.matmul"]].summary("flops_per_second")
    speeds = []
    for contestant, way in ways.items():
        result = results[NAMES[contestant]]
        seconds, memory = result.summary("seconds_per_token"), result.peak()
        compiling = result.summary("compile")
        if seconds is None or memory is None or peak is None or compiling is None:
            continue
        flops = result.samples[0].metrics["flops_per_token"] / seconds.median
        speeds.append(
            Speed(
                device=device,
                dtype=dtype,
                contestant=NAMES[contestant],
                way=str(way),
                tokens_per_second=1 / seconds.median,
                flops_per_second=flops,
                peak_share=flops / peak.median,
                peak_bytes=memory.median,
                compile_seconds=compiling.maximum,
            )
        )
    return speeds


def print_speeds(speeds: list[Speed], console: Console) -> None:
    """Print a table if there are lines."""
    if not speeds:
        return
    table = new_table("each in its best way: medians", *_COLUMNS, left=3)
    for one in speeds:
        table.add_row(
            one.device,
            one.dtype,
            f"{one.contestant}; {one.way}",
            f"{one.tokens_per_second:,.0f}",
            f"{one.flops_per_second / 1e12:.3g}",
            f"{one.peak_share:.0%}",
            f"{one.peak_bytes / 1e9:.2f} GB",
            f"{one.compile_seconds:.0f} s",
        )
    console.print(table)
