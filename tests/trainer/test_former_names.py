"""Options and keys that have moved: what is saved loads, what is written is refused by name."""

import dataclasses
import re
from pathlib import Path

import pytest

from trainer.cli.run_arguments import parse_train
from trainer.config.former_names import _NEW_NAMES
from trainer.config.optimizers import AdamWSection, MuonSection
from trainer.config.presets import (
    config_from_toml,
    config_to_toml,
    flat_settings,
    load_config,
    load_preset,
)
from trainer.config.run_config import OptimizerConfig, RunConfig
from trainer.experiments import parse_over, sweep
from trainer.experiments.study import Trial, load_study, open_study
from trainer.storage.run_directory import read_json, write_json_atomically

FORMER = """[optimizer]
name = "muon"
learning_rate = 0.004
muon_learning_rate = 0.02
muon_momentum = 0.9
muon_scale = "spectral"
beta1 = 0.8
beta2 = 0.99
eps = 1e-07
weight_decay = 0.2
max_grad_norm = "none"
"""
TODAY = OptimizerConfig(
    name="muon",
    learning_rate=0.004,
    weight_decay=0.2,
    max_grad_norm=None,
    adamw=AdamWSection(beta1=0.8, beta2=0.99, eps=1e-7),
    muon=MuonSection(learning_rate=0.02, momentum=0.9, scale="spectral"),
)


def _as_before(config: RunConfig) -> str:
    """Return the TOML of a configuration with the optimizer's section as it was."""
    sections = re.split(r"\n(?=\[)", config_to_toml(config))
    return "\n".join([*(one for one in sections if not one.startswith("[optimizer")), FORMER])


def test_the_configuration_of_a_run_from_before_loads(tmp_path: Path) -> None:
    base = load_preset("quickstart")
    (tmp_path / "config.toml").write_text(_as_before(base))
    assert load_config(tmp_path / "config.toml") == dataclasses.replace(base, optimizer=TODAY)


def test_a_former_key_beside_what_is_no_table_is_refused() -> None:
    text = config_to_toml(load_preset("quickstart"))
    damaged = text.replace("[optimizer]\n", "[optimizer]\nbeta1 = 0.5\n")
    damaged = damaged.replace("[optimizer.adamw]\n", "adamw = 3\n[optimizer.other]\n")
    with pytest.raises(ValueError, match=r"^x: .*optimizer"):
        config_from_toml(damaged, origin="x")


def test_a_study_from_before_loads(tmp_path: Path) -> None:
    base = load_preset("quickstart")
    trial = Trial(name="beta2=0.9", changes={"optimizer.adamw.beta2": 0.9})
    study = open_study(tmp_path / "s", kind="sweep", base=base, trials=[trial])
    document = read_json(study.path / "study.json")
    document["trials"][0]["changes"] = {"optimizer.beta2": 0.9}
    write_json_atomically(study.path / "study.json", document | {"base": _as_before(study.base)})
    loaded = load_study(study.path)
    assert loaded.trials == [trial]
    assert loaded.config(trial).optimizer.adamw == dataclasses.replace(TODAY.adamw, beta2=0.9)


@pytest.mark.parametrize("old", _NEW_NAMES)
def test_a_former_name_is_refused_with_todays(old: str) -> None:
    new = _NEW_NAMES[old]
    option, current = old.replace("_", "-"), new.replace("_", "-")
    base = load_preset("quickstart")
    assert current in flat_settings(base) and option not in flat_settings(base)
    with pytest.raises(ValueError, match=rf"^--{option} is now --{current}; use that$"):
        parse_train([f"--{option}", "0.5"])
    with pytest.raises(ValueError, match=rf"{option} is now {current}"):
        sweep(base, [parse_over(f"{option}=0.1,0.2")])
    key = old.partition(".")[2]
    preset = config_to_toml(base).replace("[optimizer]\n", f"[optimizer]\n{key} = 0.5\n")
    with pytest.raises(ValueError, match=rf"mine\.toml: {old} is now {new}"):
        config_from_toml(preset, origin="mine.toml", preset="mine")
