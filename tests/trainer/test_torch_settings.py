"""Every public name of the trainer, and what it draws and decodes by, under torch's settings."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.tiny_run import outcome, run_tiny, tiny_config
from torch import Tensor
from torch_settings import SETTINGS, Run, assert_same, changes_products, marks_of, observe

import trainer
from nn_layers import ModelConfig, TransformerLM
from nn_layers.backends.cpu.build import find_compiler
from optim import AdamW
from trainer import generate, get_batch, load_checkpoint, load_preset, save_checkpoint
from trainer.data.device_batches import DeviceWindows, PinnedWindows
from trainer.evaluation.loss import score_stream
from trainer.inference.generation import generate_batch
from trainer.inference.sampling import SamplingConfig, draw, sample
from trainer.inference.trained_run import load_run
from trainer.plan.compute import ComputePlan
from trainer.plan.cpu_settings import product_error
from trainer.plan.devices import deterministic_operations
from trainer.plan.model import build_model
from trainer.run import RunResult
from trainer.storage.run_directory import RunDirectory
from trainer.training.device_step import DeviceStepper
from trainer.training.learner import build_stepper

Row = Callable[[], tuple[Run, Sequence[Tensor]]]

CPU = torch.device("cpu")
TOKENS = np.random.default_rng(0).integers(31, size=200).astype(np.uint16)
PLAN = ComputePlan(dtype=torch.float32, attention="matmul", loss="plain", compile=False)


def _model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(ModelConfig(31, 12, 16, 2, 2, 24)).eval()


def _generated(**how: Any) -> Row:
    def row() -> tuple[Run, Sequence[Tensor]]:
        model = _model()
        settings = {"max_tokens": 5, "end_of_text_id": 0, **how}
        return lambda: [list(generate(model, [3, 4, 5], **settings))], []

    return row


def _generated_batch() -> tuple[Run, Sequence[Tensor]]:
    model = _model()
    how = {"max_tokens": 3, "end_of_text_id": 0}
    return lambda: [generate_batch(model, [[3], [4, 5]], **how)], []


def _drawn(function: Callable[..., int]) -> Row:
    logits = torch.randn(900, generator=torch.Generator().manual_seed(0))
    sampling = SamplingConfig(temperature=0.8, top_p=0.9)

    def run() -> list[int]:
        generator = torch.Generator("cpu").manual_seed(0)
        return [function(logits, sampling, generator=generator) for _ in range(9)]

    return lambda: (run, [])


def _batch() -> list[Tensor]:
    return list(get_batch(TOKENS, 4, 12, "cpu", rng=np.random.default_rng(0)))


def _windows(kind: type, **more: int) -> Row:
    def run() -> list[Tensor]:
        windows = kind(TOKENS, seed=5, context_length=12, device=CPU, **more)
        windows.prepare(3, 4)
        step = torch.full((), 3, dtype=torch.int64, device=CPU)
        return list(windows.cut(step, range(4)))

    return lambda: (run, [])


def _scored() -> tuple[Run, Sequence[Tensor]]:
    model, lengths = _model(), np.ones(31, dtype=np.int64)
    how = {"context_length": 12, "batch_size": 4, "end_of_text_id": 0, "device": CPU}
    return lambda: repr(score_stream(model, TOKENS, token_lengths=lengths, **how)), []


def _config() -> trainer.RunConfig:
    config = load_preset("quickstart")
    small = {"context_length": 8, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 32}
    small["attention"] = "matmul"
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **small),
        training=dataclasses.replace(config.training, batch_size=4, micro_batch_size=2),
    )


def _built() -> list[Tensor]:
    model = build_model(_config(), vocab_size=31, device=CPU)
    return [parameter.detach() for parameter in model.parameters()]


def _stepped() -> tuple[Run, Sequence[Tensor]]:
    config = _config()
    model = build_model(config, vocab_size=31, device=CPU)
    optimizer = config.optimizer.build(model)
    stepper = build_stepper(model, optimizer, config=config, tokens=TOKENS, device=CPU, plan=PLAN)

    def run() -> list[Tensor]:
        with torch.inference_mode(False), torch.enable_grad():  # as `train` has it
            result = stepper.step(1, 1e-3)
        return [result.loss, result.grad_norm, *(one.detach() for one in model.parameters())]

    return run, []


def _device_stepped() -> tuple[Run, Sequence[Tensor]]:
    model = _model().train()
    stepper = DeviceStepper(
        model,
        AdamW(model.parameters()),
        windows=DeviceWindows(TOKENS, seed=0, context_length=12, device=CPU),
        micro_batches=lambda step: [range(2), range(2, 4)],
        plan=PLAN,
        max_norm=1.0,
    )

    def run() -> list[Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            result = stepper.step(1, 1e-3)
        return [result.loss, result.grad_norm, *(one.detach() for one in model.parameters())]

    return run, []


def _saved() -> tuple[Run, Sequence[Tensor]]:
    model = _model()
    optimizer = AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()

    def run() -> list[Any]:
        file, twin = io.BytesIO(), TransformerLM(model.config, device="cpu", dtype=torch.float32)
        save_checkpoint(model, optimizer, 7, file)
        file.seek(0)
        restored = AdamW(twin.parameters())
        iteration = load_checkpoint(file, twin, restored)
        state = [value for one in restored.state.values() for value in one.values()]
        return [iteration, file.getvalue(), *(one.detach() for one in twin.parameters()), *state]

    return run, []


ROWS: dict[str, Row] = {
    "RunConfig": lambda: (lambda: repr(_config()), []),
    "RunResult": lambda: (lambda: repr(RunResult(RunDirectory(Path("r")), 1, None)), []),
    "load_preset": lambda: (lambda: repr(load_preset("quickstart")), []),
    "get_batch": lambda: (_batch, []),
    "generate cached": _generated(),
    "generate plain": _generated(use_cache=False),
    "generate compiled": _generated(compile="on"),
    "generate narrow": _generated(weights="int8", temperature=0.5, top_p=0.9),
    "save_checkpoint": _saved,
    "load_checkpoint": _saved,
    # What these are made of.
    "generate_batch": _generated_batch,
    "sample": _drawn(sample),
    "draw": _drawn(draw),
    "DeviceWindows": _windows(DeviceWindows),
    "PinnedWindows": _windows(PinnedWindows, max_windows=4),
    "score_stream": _scored,
    "build_model": lambda: (_built, []),
    "EagerStepper": _stepped,
    "DeviceStepper": _device_stepped,
    "product_error": lambda: (lambda: product_error() < 1e-5, []),
}
# Where the setting is asked for by who sets it: it rounds the products of the model that generates.
WITH_PRODUCTS = ("generate", "score_stream", "EagerStepper", "DeviceStepper", "product_error")
EXACT_UNDER_AUTOCAST = ("score_stream", "generate compiled")
"""What says its type itself, or computes outside of torch."""


def test_every_public_name_has_a_row() -> None:
    """`train` and `load_run`, which need a run, have tests of their own below."""
    assert set(trainer.__all__) - {"train", "load_run", "LoadedRun"} <= {
        name.partition(" ")[0] for name in ROWS
    }


def _is_rounded(name: str, setting: str) -> bool:
    is_exact = setting == "autocast" and name in EXACT_UNDER_AUTOCAST
    return changes_products(setting) and name.startswith(WITH_PRODUCTS) and not is_exact


PAIRS = [
    pytest.param(
        name,
        setting,
        marks=[pytest.mark.matrix] if _is_rounded(name, setting) else marks_of(setting),
    )
    for name in ROWS
    for setting in SETTINGS
]


@pytest.mark.parametrize(("name", "setting"), PAIRS)
def test_what_was_built_before_a_setting_computes_the_same_under_it(name, setting) -> None:
    """Where its products are rounded, it just runs."""
    if name == "generate compiled" and find_compiler() is None:
        pytest.skip("there is no C++ compiler")
    run, leaves = ROWS[name]()
    found = observe(run, leaves, setting=setting)
    if not _is_rounded(name, setting):
        assert_same(found, observe(*ROWS[name](), setting=None))


def test_no_function_of_the_trainer_disturbs_the_default_generator() -> None:
    names = ("get_batch", "generate cached", "draw", "build_model", "EagerStepper", "score_stream")
    runs = [ROWS[name]()[0] for name in names]
    before = torch.get_rng_state()
    for run in runs:
        run()
    assert torch.equal(torch.get_rng_state(), before)


def _trained(folder: Path, name: str) -> tuple[Any, ...]:
    run_tiny(tiny_config(folder), folder / name)
    loaded = load_run(folder / name)
    how = {"max_tokens": 5, "end_of_text_id": loaded.tokenizer.end_of_text_id, "temperature": 0}
    return outcome(folder / name), list(generate(loaded.model, [1, 2], **how))


def test_a_run_is_the_same_in_a_program_that_sets_all_it_can(tmp_path: Path) -> None:
    expected = _trained(tmp_path, "plain")
    names = ("default type bfloat16", "default device meta", "autocast", "inference mode")
    with ExitStack() as settings:
        for name in names:
            settings.enter_context(SETTINGS[name]())
        run_tiny(tiny_config(tmp_path), tmp_path / "set")
        loaded = load_run(tmp_path / "set")
    assert outcome(tmp_path / "set") == expected[0]
    plain = load_run(tmp_path / "plain").model.state_dict()
    assert all(torch.equal(plain[name], one) for name, one in loaded.model.state_dict().items())


@pytest.mark.matrix
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_run_and_what_it_generates_are_the_same_under_a_setting(setting, tmp_path: Path) -> None:
    expected = _trained(tmp_path, "plain")
    with SETTINGS[setting]():
        found = _trained(tmp_path, "set")
    assert found == expected or setting == "medium precision"


def test_determinism_is_given_back_as_strict_as_it_was() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic_operations(torch.device("cuda"), is_asked=True):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
