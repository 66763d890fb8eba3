"""Presets and saved configurations: what TOML says is what the run gets, or an error names why."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn_layers import ModelConfig
from trainer.config import presets
from trainer.config.presets import (
    DEFAULT_PRESET,
    config_from_toml,
    config_to_toml,
    load_preset,
    preset_names,
)
from trainer.config.run_config import CorpusConfig, ModelSection


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_a_round_trip_through_toml(name: str) -> None:
    config = load_preset(name)
    assert config_from_toml(config_to_toml(config), origin="copy.toml") == config


def test_the_presets_are_the_files_in_their_folder_the_default_one_first() -> None:
    folder = Path(presets.__file__).with_name("presets")
    first, *others = preset_names()
    assert first == DEFAULT_PRESET
    assert others == sorted(path.stem for path in folder.glob("*.toml") if path.stem != first)


def test_tinystories_is_the_reference_run() -> None:
    config = load_preset("tinystories")
    model = config.model
    assert config.tokenizer.vocab_size == 10_000
    assert (model.context_length, model.d_model, model.num_layers) == (256, 512, 4)
    assert (model.num_heads, model.d_ff, model.rope_theta) == (16, 1344, 10_000.0)
    assert (config.training.batch_size, config.training.max_steps) == (128, 10_000)
    assert config.total_tokens == 327_680_000
    assert (config.optimizer.adamw.beta1, config.optimizer.adamw.beta2) == (0.9, 0.95)
    assert (config.optimizer.weight_decay, config.optimizer.max_grad_norm) == (0.1, 1.0)
    assert (config.optimizer.learning_rate, config.schedule.final_fraction) == (3e-3, 0.1)
    assert config.evaluation.target_loss == 1.45


def test_tinystories_cpu_differs_in_amount_only() -> None:
    small, full = load_preset("tinystories-cpu"), load_preset("tinystories")
    assert (small.training.batch_size, small.training.max_steps) == (32, 5_000)
    assert small.evaluation.target_loss == 2.00
    assert (small.model, small.tokenizer, small.optimizer) == (
        full.model,
        full.tokenizer,
        full.optimizer,
    )


def test_owt_is_the_same_model_and_steps_with_vocabulary_32000() -> None:
    owt, reference = load_preset("owt"), load_preset("tinystories")
    assert owt.tokenizer.vocab_size == 32_000
    assert (owt.model, owt.training) == (reference.model, reference.training)


def test_owt_leaderboard_stops_by_the_clock_of_2026_and_validates_at_its_context() -> None:
    config = load_preset("owt-leaderboard")
    assert config.training.max_hours * 60 == 45
    assert config.model.context_length == 512


def test_the_leaderboard_of_2025_differs_in_its_time_only() -> None:
    of_2025, of_2026 = load_preset("owt-leaderboard-2025"), load_preset("owt-leaderboard")
    assert of_2025.training.max_hours * 60 == 90
    training = dataclasses.replace(of_2025.training, max_hours=of_2026.training.max_hours)
    assert dataclasses.replace(of_2025, preset="owt-leaderboard", training=training) == of_2026


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown preset 'tinystorys'; did you mean 'tinystories'"):
        load_preset("tinystorys")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_steps = ", "maxsteps = ", "'training.maxsteps'; did you mean 'max_steps'"),
        ("[optimizer]", "[optimiser]", "unknown key 'optimiser'; did you mean 'optimizer'"),
        ("vocab_size = 2048", "", "missing key 'tokenizer.vocab_size'"),
        ("vocab_size = 2048", 'vocab_size = "2048"', "'2048', but must be an integer"),
        ("vocab_size = 2048", "vocab_size = true", "True, but must be an integer"),
        ('source = "stdlib"', 'source = "web"', "must be one of 'stdlib'"),
        ("[corpus]", "[corpus", "not valid TOML"),
        ("train = []", 'train = "a.txt"', "must be a list of paths"),
    ],
)
def test_nonsense_in_toml_is_named(old: str, new: str, message: str) -> None:
    text = config_to_toml(load_preset("quickstart"))
    assert old in text
    with pytest.raises(ValueError, match=r"some\.toml") as caught:
        config_from_toml(text.replace(old, new, 1), origin="some.toml")
    assert message in str(caught.value)


def test_the_model_section_is_model_config_without_the_vocabulary() -> None:
    ours = {spec.name for spec in dataclasses.fields(ModelSection)}
    theirs = {spec.name for spec in dataclasses.fields(ModelConfig)}
    assert ours | {"vocab_size"} == theirs


def test_model_section_defaults_are_model_configs_own() -> None:
    sizes = dict(context_length=8, d_model=16, num_layers=1, num_heads=2, d_ff=32)
    assert ModelSection(**sizes).build(vocab_size=300) == ModelConfig(vocab_size=300, **sizes)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_file_name_survives_toml(name: str) -> None:
    quickstart = load_preset("quickstart")
    corpus = CorpusConfig(source="files", train=(Path(name),))
    config = dataclasses.replace(quickstart, corpus=corpus)
    assert config_from_toml(config_to_toml(config), origin="x").corpus == corpus


def _with(config: Any, path: str, **values: object) -> Any:
    section, _, inner = path.partition(".")
    own = getattr(config, section)
    changed = _with(own, inner, **values) if inner else dataclasses.replace(own, **values)
    return dataclasses.replace(config, **{section: changed})


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"num_heads": 5}, "model.num-heads=5"),
        ("model", {"d_ff": 0}, "model.d-ff is 0"),
        ("training", {"batch_size": 0}, "training.batch-size is 0"),
        ("training", {"micro_batch_size": 5}, "does not divide"),
        ("optimizer", {"learning_rate": -1.0}, "optimizer.learning-rate is -1.0"),
        ("optimizer", {"learning_rate": float("nan")}, "optimizer.learning-rate is nan"),
        ("optimizer.adamw", {"beta1": 1.0}, "optimizer.adamw.beta1"),
        ("optimizer.muon", {"momentum": 1.0}, r"optimizer.muon.momentum is 1.0, .* in \[0, 1\)"),
        ("optimizer.muon", {"learning_rate": 0.0}, "optimizer.muon.learning-rate is 0.0"),
        ("optimizer.muon", {"scale": "spectral"}, "give optimizer.muon.learning-rate"),
        ("training", {"batch_ramp": "1000:3"}, "training.batch-ramp is '1000:3'"),
        ("evaluation", {"sample_temperature": -0.1}, "sample-temperature"),
        ("evaluation", {"sample_top_p": 0.0}, "sample-top-p"),
        ("checkpoint", {"every_steps": 0}, "checkpoint.every-steps"),
        ("schedule", {"final_fraction": 1.5}, "schedule.final-fraction"),
        ("corpus", {"validation": (Path("b.txt"),)}, "corpus.train"),
        ("tokenizer", {"pattern": "(unclosed"}, "pattern"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(
    section: str, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _with(load_preset("quickstart"), section, **values)
