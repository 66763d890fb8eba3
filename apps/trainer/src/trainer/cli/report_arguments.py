"""Turn the arguments of `report`, `compare` and `watch` into requests.

Stage: argv -> *request* -> report. Not here: the pages (`report/`).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trainer.cli.arguments import read_arguments
from trainer.report.export import TABLES
from trainer.report.own_files import is_left_beside_runs

XAxis = Literal["steps", "tokens", "seconds"]
_EXPORT_HELP = f"Also write plots (SVG) and tables ({', '.join(TABLES)}) to this folder."


@dataclass(frozen=True, kw_only=True)
class _PageRequest:
    output: Path | None = None
    """Path of the page; default: report.html in that directory."""
    export: Annotated[Path | None, tyro.conf.arg(help=_EXPORT_HELP)] = None
    png: bool = False
    """With --export: also write plots as PNG; needs the extra `png`."""
    x_axis: XAxis = "steps"
    """With --export: x axis of its plots. The page has a switch for it."""


@dataclass(frozen=True, kw_only=True)
class ReportRequest(_PageRequest):
    """Write an HTML page about a run or a study: findings, curves, samples, settings.

    The page is a single file without external resources; open it in any browser.
    """

    run: tyro.conf.Positional[Path]
    """Run directory or study; it may still be running."""


@dataclass(frozen=True, kw_only=True)
class CompareRequest(_PageRequest):
    """Write an HTML page that compares runs, and print their table."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, at least two; other files of a study are skipped."""
    output: Path = Path("compare.html")
    """Path of the page."""


@dataclass(frozen=True, kw_only=True)
class WatchRequest:
    """Serve the page of a running run or study; Ctrl-C ends the server, not the run."""

    run: tyro.conf.Positional[Path]
    """Run directory or study."""
    host: str = "127.0.0.1"
    """IP address to listen on; the default can be reached only from this machine."""
    port: int = 8336
    """Port to listen on; 0: any free one."""
    every_seconds: int = 5
    """Seconds between updates of the page."""


def parse_report(argv: Sequence[str]) -> ReportRequest:
    """Parse the command line of `report`.

    Raises:
        ValueError: an unknown option, or --png or --x-axis without --export.
    """
    request = tyro.cli(ReportRequest, args=read_arguments(argv, ReportRequest), prog="report")
    _require_folder(request)
    return request


def parse_compare(argv: Sequence[str]) -> CompareRequest:
    """Parse the command line of `compare`.

    Raises:
        ValueError: fewer than two runs, the same one twice, or as `parse_report`.
    """
    request = tyro.cli(CompareRequest, args=read_arguments(argv, CompareRequest), prog="compare")
    _require_folder(request)
    runs = tuple(path for path in request.runs if not is_left_beside_runs(path))
    request = dataclasses.replace(request, runs=runs)
    distinct = {path.resolve() for path in request.runs}
    if len(distinct) < 2 or len(distinct) < len(request.runs):
        raise ValueError(
            f"compare needs at least two runs, each named once, but got "
            f"{', '.join(map(str, request.runs)) or 'none'}; name others, or use report for one"
        )
    return request


def parse_watch(argv: Sequence[str]) -> WatchRequest:
    """Parse the command line of `watch`.

    Raises:
        ValueError: an unknown option, a port or interval out of range.
    """
    request = tyro.cli(WatchRequest, args=read_arguments(argv, WatchRequest), prog="watch")
    if not 0 <= request.port < 65536:
        raise ValueError(f"--port is {request.port}, but must be in [0, 65536); 0: any free one")
    if request.every_seconds < 1:
        raise ValueError(f"--every-seconds is {request.every_seconds}, but must be at least 1")
    return request


def _require_folder(request: _PageRequest) -> None:
    for option, is_given in (("--png", request.png), ("--x-axis", request.x_axis != "steps")):
        if is_given and request.export is None:
            raise ValueError(
                f"{option} belongs to --export FOLDER; name a folder, or leave {option} out"
            )
