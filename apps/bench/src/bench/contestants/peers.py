"""Check whether the peers are installed.

Stage: none; checked before the first sample. Not here: how the peers are used (`contestants`).
"""

import os
import sys
from collections.abc import Mapping

from bench.console import say
from bench.contestants import DISTRIBUTIONS
from bench.contestants.models import DISTRIBUTIONS as MODELS
from bench.measurement.machine import installed_version

ACCOUNTANTS = {"accountants.accelerate": "accelerate", "accountants.calflops": "calflops"}
"""The calculators of `bench accounting`, and the distributions that each needs."""
CORPORA = {f"corpora.{name}": name for name in ("django", "pycountry", "sympy")}
"""Packages that are installed only for their text."""
_STARTED_AGAIN = "BENCH_STARTED_AGAIN"


def why_missing(contestant: str) -> str | None:
    """Return why a contestant cannot take part, or None if it can."""
    known = {**DISTRIBUTIONS, **MODELS, **ACCOUNTANTS, **CORPORA}
    if installed_version(known[contestant]) is not None:
        return None
    extra = "models" if contestant in MODELS and contestant != "models.huggingface" else "peers"
    extra = "corpora" if contestant in CORPORA else extra
    return f"not installed; it comes with `--extra {extra}`"


def fetch_extras(contestants: Mapping[str, str] = DISTRIBUTIONS) -> None:
    """Restart with the extras if `uv run` left them out.

    A command that compares with peers is useless without them, and a project cannot declare this to
    `uv run`. The restart is announced, happens once, and uses the lock file.
    """
    missing = sorted(name for name in contestants if why_missing(name))
    uv = os.environ.get("UV")
    if not missing or uv is None or _STARTED_AGAIN in os.environ:
        return
    say(f"{', '.join(missing)}: not installed; restarting with all extras")
    os.environ[_STARTED_AGAIN] = "1"
    command = [uv, "run", "--package", "bench", "--all-extras", "bench", *sys.argv[1:]]
    os.execv(uv, command)
