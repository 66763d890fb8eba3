"""Hold a model that was read, and the programs that can name models.

Stage: a name or a path -> *Model* -> every account. Not here: reading one (`inputs.py`).
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
    """Training of the model, as its source describes it."""

    settings: Callable[[Device | None], StepSettings]
    """Settings of a step on a device; None: on this machine."""
    num_steps: int
    """Optimizer steps of the whole run."""
    batch_size: int
    """Windows per step."""
    progress: Sequence[Progress] = ()
    """Measurements of a run under way, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model and its training, as far as its source describes them."""

    name: str
    shape: ModelShape
    training: Training | None = None
    has_spare_ids: bool = False
    """Whether a trained tokenizer may have fewer ids than the shape."""
    checkpoint: Path | None = None
    """The newest weights, if they are not beside the configuration."""
    unknown: tuple[str, ...] = ()
    """Fields of the shape that the source does not state; their values are placeholders."""
    weights: Weights | None = None
    """None: the source holds no weights. The shape agrees with them."""
    note: str = ""
    """Why the files beside the source do not complete it."""

    def require(self, *names: str) -> ModelShape:
        """Return the shape, if the fields in `names` are known.

        Raises:
            ValueError: one of `names` is unknown.
        """
        missing = [f"--{name.replace('_', '-')}" for name in names if name in self.unknown]
        if missing:
            note = f" ({self.note})" if self.note else ""
            raise ValueError(f"{self.name} is incomplete{note}; pass {' and '.join(missing)}")
        return self.shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """A program that names models and writes plans in its own terms."""

    command: str = ""
    """Prefix of the commands here in this program, with a space."""
    presets: Mapping[str, Callable[[], Model]]
    """Models by name."""
    formats: Mapping[str, Callable[[Path], Model]]
    """Readers by the file name of configurations in folders; for other files the suffix counts."""
    accepted: str
    """Accepted names of models, for help and errors."""
    plan_to_toml: Callable[[Plan, float, str | None], str] | None = None
    """Return a plan, its hours and the name of a corpus, if one is given, as a configuration; None:
    the program has none."""
