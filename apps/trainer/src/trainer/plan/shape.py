"""Translate a run's model into `accounting`'s shape.

Stage: configuration -> *shape* -> every account. Not here: how a step is computed
(`step_settings.py`), and the accounts themselves (`estimate.py`).
"""

import dataclasses

from accounting import ModelShape
from nn_layers.positions import find_scheme
from trainer.config.run_config import RunConfig


def model_shape(config: RunConfig, *, vocab_size: int) -> ModelShape:
    """Return the model's shape for a tokenizer of `vocab_size` ids."""
    names = {spec.name for spec in dataclasses.fields(ModelShape)}
    section = dataclasses.asdict(config.model)
    shared = {name: value for name, value in section.items() if name in names}
    shared["position"] = find_scheme(config.model.position).counts_as
    return ModelShape(vocab_size=vocab_size, **shared)
