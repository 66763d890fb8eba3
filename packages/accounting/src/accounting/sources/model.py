"""Describe a model that was read, and the programs whose models can be named.

Stage: a name or a path -> *Model* -> every account. Not here: how one is read (`inputs.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accounting.hardware import Device
from accounting.plan import Plan
from accounting.shape import ModelShape
from accounting.sources.weights import Weights
from accounting.step import StepSettings
from accounting.time import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What a source says about training its model."""

    settings: Callable[[Device | None], StepSettings]
    """How a step is computed on a device; None: on this machine."""
    num_steps: int
    """Optimizer steps of the whole run."""
    batch_size: int
    """Windows a step."""
    progress: Sequence[Progress] = ()
    """Measurements of a run under way, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model, and what its source says about training it."""

    name: str
    shape: ModelShape
    training: Training | None = None
    has_spare_ids: bool = False
    """Whether a trained tokenizer may have fewer ids than the shape."""
    checkpoint: Path | None = None
    """The newest weights, where they lie elsewhere than beside the configuration."""
    unknown: tuple[str, ...] = ()
    """Fields of the shape that the source does not say; their values there mean nothing."""
    weights: Weights | None = None
    """What the source holds; None: a source without weights. The shape agrees with them."""
    note: str = ""
    """Why what lies beside the source does not complete it."""

    def require(self, *names: str) -> ModelShape:
        """Return the shape, if it is known as far as it is needed.

        Raises:
            ValueError: one of `names` is unknown.
        """
        missing = [f"--{name.replace('_', '-')}" for name in names if name in self.unknown]
        if missing:
            note = f" ({self.note})" if self.note else ""
            raise ValueError(f"{self.name} does not say it all{note}; give {' and '.join(missing)}")
        return self.shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """A program in whose terms models are named and plans are written."""

    command: str = ""
    """What its users type before the name of one of the commands here, with a space."""
    presets: Mapping[str, Callable[[], Model]]
    """Models by their names."""
    formats: Mapping[str, Callable[[Path], Model]]
    """Readers by the names that configurations have in folders; elsewhere the suffix counts."""
    accepted: str
    """What a model can be named by, for help and errors."""
    plan_to_toml: Callable[[Plan, float, str | None], str] | None = None
    """Return a plan, its hours and the name of a corpus, if one is given, as a configuration; None:
    the program has none."""
