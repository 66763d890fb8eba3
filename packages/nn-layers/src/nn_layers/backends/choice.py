"""Decide which backend runs: the one that is named, or the first of the registry that can.

Stage: name, setting -> *backend* -> layer, step. This is the only place that knows what `auto`
means. A named backend that cannot run is an error; fallbacks of `auto` are reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Generic, TypeVar

from nn_layers.backends.interface import AttentionBackend, Backend, LossBackend, Say, Setting
from nn_layers.backends.registry import Kind, names, require_known

B = TypeVar("B", bound=Backend)


@dataclass(frozen=True, slots=True)
class Choice(Generic[B]):
    """The backend that runs."""

    name: str
    backend: B
    notes: tuple[str, ...] = ()
    """The fallback of `auto`, if any, and its reasons."""


@cache
def attention_backends() -> dict[str, AttentionBackend]:
    """Return every way to compute attention, by name."""
    return _load("attention")


@cache
def loss_backends() -> dict[str, LossBackend]:
    """Return every way to compute the loss, by name."""
    return _load("loss")


def choose_attention(
    asked: str, setting: Setting, *, option: str = "attention", say: Say | None = None
) -> Choice[AttentionBackend]:
    """Return the backend of attention that is named, or that `auto` takes; see `_choose`."""
    require_known("attention", asked, option=option)
    return _choose(asked, attention_backends(), setting, option, say)


def choose_loss(
    asked: str, setting: Setting, *, option: str = "loss", say: Say | None = None
) -> Choice[LossBackend]:
    """Return the backend of the loss that is named, or that `auto` takes; see `_choose`."""
    require_known("loss", asked, option=option)
    return _choose(asked, loss_backends(), setting, option, say)


def auto_order(backends: Mapping[str, Backend], setting: Setting) -> list[str]:
    """Return the names that `auto` tries in a setting, in order."""
    ranks = {name: one.rank(setting) for name, one in backends.items()}
    return [name for _, name in sorted((rank, name) for name, rank in ranks.items() if rank)]


def _choose(
    asked: str, backends: Mapping[str, B], setting: Setting, option: str, say: Say | None
) -> Choice[B]:
    """Walk the backends in the order of their ranks up to the first that can run.

    `say` reports what is built; None: nothing may be built, so what needs building is skipped.

    Raises:
        ValueError: the backend that is named cannot run.
    """
    if asked != "auto":
        if reason := _why_not(backends[asked], setting, say):
            raise ValueError(f"{option} is {asked}, but {reason}; use auto")
        return Choice(asked, backends[asked])
    reasons: dict[str, None] = {}
    for name in auto_order(backends, setting):
        backend = backends[name]
        if say is None and backend.is_built_first:
            continue
        if (reason := _why_not(backend, setting, say)) is None:
            why = "; ".join(reasons)
            note = f"{option.rpartition('.')[2]}: falling back to {name}, which is slower: {why}"
            return Choice(name, backend, (note,) if why else ())
        reasons[reason] = None
    raise AssertionError(f"no backend for {option} runs in {setting}")


def _why_not(backend: Backend, setting: Setting, say: Say | None) -> str | None:
    reason = backend.why_not(setting)
    return reason if reason or say is None else backend.prepare(setting, say)


def _load(kind: Kind) -> dict:
    folder = f"{__name__.rpartition('.')[0]}.{kind}"
    modules = {name: import_module(f"{folder}.{name.replace('-', '_')}") for name in names(kind)}
    return {name: module.Backend() for name, module in modules.items()}
