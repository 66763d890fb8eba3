import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nn_layers.backends.cpu.build import find_compiler
from trainer.config.optimizers import MuonSection
from trainer.config.presets import load_preset
from trainer.config.run_config import RunConfig
from trainer.plan.compute import plan_compute
from trainer.plan.learning_rate import set_learning_rate
from trainer.plan.model import build_model
from trainer.training.learner import build_stepper
from trainer.training.model_loss import build_loss
from trainer.training.step import EagerStepper

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
        config.optimizer.build(model),
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


@pytest.mark.parametrize(("muon_rate", "ratio"), [(None, 1.0), (0.04, 10.0)])
def test_hidden_matrices_have_the_learning_rate_of_muon(
    muon_rate: float | None, ratio: float
) -> None:
    config = _config(None)
    settings = dataclasses.replace(
        config.optimizer,
        name="muon",
        learning_rate=0.004,
        muon=MuonSection(learning_rate=muon_rate),
    )
    optimizer = settings.build(build_model(config, vocab_size=32, device=CPU))
    set_learning_rate(optimizer, 0.001)  # a quarter of the peak
    rates = {group["rule"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"adamw": 0.001, "muon": 0.001 * ratio})


def test_a_ramp_takes_its_fewer_windows_in_micro_batches_that_fit() -> None:
    config = _config(4)
    training = dataclasses.replace(config.training, batch_ramp="32:2")
    config = dataclasses.replace(config, training=training)
    model, seen = build_model(config, vocab_size=32, device=CPU), []

    def windows(step: int, indices: range) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((step, len(indices)))
        return torch.zeros(len(indices), 8, dtype=torch.int64), torch.ones(
            len(indices), 8, dtype=torch.int64
        )

    stepper = EagerStepper(
        model,
        config.optimizer.build(model),
        config=config,
        windows=windows,
        loss_of=build_loss(model, plan=plan_compute(config, device=CPU), device=CPU),
    )
    for step in (1, 2, 3):
        stepper.step(step, 1e-3)
    assert seen == [(1, 2), (2, 2), (3, 4)]


@pytest.mark.skipif(find_compiler() is None, reason="torch.compile needs a C++ compiler")
def test_what_is_compiled_on_the_cpu_keeps_its_claims() -> None:
    # Without the shape checks of the other tests, which torch.compile does not look through.
    plain = ["-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-W", "default"]
    claims = Path(__file__).with_name("compiled_claims.py")
    command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", *plain, str(claims)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
