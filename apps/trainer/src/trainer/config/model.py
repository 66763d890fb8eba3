"""Configure the model as `nn_layers` does, without the vocabulary.

Stage: a section of a run's configuration. Not here: the fields (`nn_layers.config`).
"""

import re
from dataclasses import asdict, dataclass, fields

from nn_layers import ModelConfig
from nn_layers.backends.registry import require_known
from nn_layers.config import Architecture
from trainer.config.field_checks import option_name, require_kinds, require_multiplier


@dataclass(frozen=True)
class ModelSection(Architecture):
    """The Transformer (`nn_layers.ModelConfig`); the tokenizer sets the vocabulary size."""

    def __post_init__(self) -> None:
        """Run the model's own checks before any text is read, and report options by name."""
        require_kinds("model", self)
        require_known("attention", self.attention, option="model.attention")
        try:
            super().__post_init__()
        except ValueError as error:
            names = "|".join(spec.name for spec in fields(self) if "_" in spec.name)
            message = re.sub(rf"\b({names})\b", _as_option, str(error))
            raise ValueError(message) from error
        require_multiplier("model", self, "rope_theta")

    def build(self, *, vocab_size: int) -> ModelConfig:
        """Return the model's configuration for a tokenizer of `vocab_size` ids."""
        return ModelConfig(vocab_size=vocab_size, **asdict(self))


def _as_option(name: re.Match[str]) -> str:
    return option_name("model", name[1])
