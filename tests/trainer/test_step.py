import dataclasses

import numpy as np
import pytest
import torch

from trainer.compute_plan import plan_compute
from trainer.config import RunConfig
from trainer.model import build_model
from trainer.presets import load_preset
from trainer.step import build_optimizer, build_stepper

CPU = torch.device("cpu")


def _config(micro_batch_size: int | None) -> RunConfig:
    preset = load_preset("quickstart")
    small = {"context_length": 8, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 32}
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, **small),
        training=dataclasses.replace(
            preset.training, batch_size=4, micro_batch_size=micro_batch_size
        ),
        optimizer=dataclasses.replace(preset.optimizer, max_grad_norm=None),
    )


def _step(micro_batch_size: int | None) -> list[torch.Tensor]:
    config = _config(micro_batch_size)
    model = build_model(config, vocab_size=32, device=CPU)
    stepper = build_stepper(
        model,
        build_optimizer(model, config.optimizer),
        config=config,
        tokens=np.random.default_rng(0).integers(32, size=200).astype(np.uint16),
        device=CPU,
        plan=plan_compute(config, device=CPU),
    )
    result = stepper.step(1, 1e-3)
    return [result.loss, result.grad_norm, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_micro_batches_add_up_to_the_whole_batch(micro_batch_size: int) -> None:
    for whole, added in zip(_step(None), _step(micro_batch_size), strict=True):
        torch.testing.assert_close(added, whole, rtol=1e-4, atol=1e-6)
