"""What cannot work is refused by the names of its options, before any text is read."""

import dataclasses
import math
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.tiny_run import run_tiny, tiny_config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trainer.config.field_checks import option_name
from trainer.config.presets import config_from_toml, config_to_toml, load_preset
from trainer.config.run_config import RunConfig
from trainer.experiments.grid import parse_over, sweep
from trainer.experiments.study import Trial, open_study
from trainer.experiments.trials import Sitting, run_study
from trainer.monitoring.progress import Reporter
from trainer.run import train

_RANGE = {"name": "range", "range_from": 1e-5, "warmup_steps": 0}


def _changed(base: RunConfig, changes: dict[str, dict[str, Any]]) -> RunConfig:
    for path, values in changes.items():
        base = _replaced(base, path.split(".") if path else [], values)
    return base


def _replaced(section: Any, path: list[str], values: dict[str, Any]) -> Any:
    if path:
        values = {path[0]: _replaced(getattr(section, path[0]), path[1:], values)}
    return dataclasses.replace(section, **values)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"schedule": {"warmup_steps": 20, "total_steps": 10}}, "total-steps warmup-steps"),
        ({"schedule": {"warmup_steps": 20, "total_steps": 20}}, "total-steps warmup-steps"),
        ({"schedule": {"name": "range"}}, "schedule.range-from"),
        ({"schedule": {"range_from": 1e-3}}, "schedule.range-from schedule.name"),
        ({"schedule": _RANGE | {"warmup_steps": 1}}, "schedule.warmup-steps"),
        ({"schedule": _RANGE | {"total_steps": 9}}, "schedule.total-steps"),
        ({"schedule": _RANGE | {"range_from": 1.0}}, "range-from optimizer.learning-rate"),
        ({"schedule": _RANGE, "training": {"max_hours": 1.0}}, "training.max-hours schedule.name"),
        ({"schedule": _RANGE, "training": {"batch_ramp": "99:1"}}, "batch-ramp schedule.name"),
        ({"training": {"batch_size": 6, "micro_batch_size": 4}}, "micro-batch-size batch-size"),
        ({"training": {"batch_size": 6, "batch_ramp": "100:4"}}, "batch-ramp batch-size"),
        ({"model": {"num_heads": 5}}, "model.num-heads model.d-model"),
        ({"model": {"num_kv_heads": 4}}, "model.num-kv-heads model.num-heads"),
        ({"model": {"num_heads": 64}}, "model.d-model model.num-heads"),
        ({"optimizer.muon": {"scale": "spectral"}}, "muon.scale optimizer.muon.learning-rate"),
        ({"corpus": {"train": (Path("a.txt"),)}}, "corpus.source corpus.train"),
        ({"corpus": {"validation": (Path("a.txt"),)}}, "corpus.validation corpus.train"),
        ({"corpus": {"source": "files"}}, "corpus.source corpus.train"),
        ({"": {"preset": "../x"}}, "preset"),
        ({"model": {"rope_theta": 1e300}}, "model.rope-theta"),
        ({"optimizer.adamw": {"eps": 1e-300}}, "optimizer.adamw.eps"),
        ({"training": {"max_steps": 2**63}}, "training.max-steps"),
        ({"training": {"batch_size": 2.5}}, "training.batch-size"),
        ({"corpus": {"cache_dir": Path("caf\udce9")}}, "corpus.cache-dir"),
        ({"evaluation": {"sample_prompt": "\udcff"}}, "evaluation.sample-prompt"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_by_their_options(
    changes: dict[str, dict[str, Any]], options: str
) -> None:
    with pytest.raises(ValueError) as caught:
        _changed(load_preset("quickstart"), changes)
    assert all(option in str(caught.value) for option in options.split()), caught.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"": {"device": "banana"}}, "device 'banana'"),
        ({"model": {"attention": "triton"}}, "model.attention is triton"),
        ({"model": {"d_model": 2**40}}, "model.d-model 1099511627776"),
        ({"training": {"batch_size": 2**50, "micro_batch_size": None}}, "of memory in a step"),
        ({"model": {"context_length": 10_000}}, "tokens, but model.context-length"),
    ],
)
def test_what_no_machine_or_text_allows_is_refused_before_a_tokenizer_is_trained(
    tmp_path: Path, changes: dict[str, dict[str, Any]], words: str
) -> None:
    config = _changed(tiny_config(tmp_path), changes)
    with pytest.raises(ValueError, match=words):
        train(config, tmp_path / "run", reporter=Reporter(mode="silent"))
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "prepared").glob("*/tokenizer"))


def test_too_few_steps_for_a_profile_leave_no_run(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, training__max_steps=6)
    with pytest.raises(ValueError, match="--profile records steps 5 to 7"):
        train(config, tmp_path / "run", profile=True, reporter=Reporter(mode="silent"))
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_a_sweep_names_the_trial_that_cannot_be(tmp_path: Path) -> None:
    base = tiny_config(tmp_path)
    with pytest.raises(ValueError, match=r"invalid trial total-steps=1: schedule.total-steps"):
        sweep(base, [parse_over("schedule.total-steps=8,1")])
    trials = [Trial(name="bad", changes={"schedule.total-steps": 1})]
    with pytest.raises(ValueError, match=r"s, bad: schedule.total-steps is 1"):
        open_study(tmp_path / "s", kind="ablate", base=base, trials=trials)
    assert not (tmp_path / "s").exists()


def test_trials_of_equal_tokens_keep_the_end_of_the_schedule_at_as_many_tokens(
    tmp_path: Path,
) -> None:
    base = tiny_config(tmp_path, schedule__total_steps=10)
    [_, trial] = sweep(base, [parse_over("training.batch-size=4,2")])
    assert trial.changes["schedule.total-steps"] == 20
    assert trial.changes["schedule.warmup-steps"] == 4


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ("model.attention=plain,triton", "triton"),
        ("model.context-length=16,9999", "needs at least"),
    ],
)
def test_a_study_refuses_before_its_first_trial_what_its_last_cannot_do(
    tmp_path: Path, over: str, words: str
) -> None:
    trials = sweep(tiny_config(tmp_path), [parse_over(over)], is_equal_tokens=False)
    study = open_study(tmp_path / "s", kind="sweep", base=tiny_config(tmp_path), trials=trials)
    with pytest.raises(ValueError, match=f"trial {trials[1].name} cannot be run: .*{words}"):
        run_study(study, Sitting(reporter=Reporter(mode="silent")))
    assert not list((tmp_path / "s/trials").iterdir())


# Values of every kind of field: what works, borders, and nonsense. Large numbers that would only
# take long are left out; those that no machine could hold are in.
_FLOATS = [0.0, -1.0, 1e-300, 1e-30, 1e-8, 0.1, 0.5, 0.95, 1.0, 2.0, 1e30, 1e300]
_FLOATS += [math.nan, math.inf, -math.inf]
_INTS = [0, -1, 1, 2, 3, 4, 8, 16, 257, 300, 2**40, 2**62, 2**63, 10**400]
_TEXTS = ["", "none", "x", "\udcff", "a\0b", "16:1", "16:1,32:2", "(", "gpt2", "cpu", "cuda:99"]
_LONG = {  # a number here means work, not a contradiction
    ("training", "batch_size"): [0, -1, 1, 2, 3, 4, 8, 16, 2**63, 10**400],
    ("training", "compile"): ["auto", "off", "nonsense"],  # shapes are not checked in compiled code
    ("training", "max_steps"): [0, -1, 1, 2, 3, 5, 2**63],
    ("evaluation", "num_windows"): [0, -1, 1, 2, 9, 500, 2**63],
    ("evaluation", "sample_tokens"): [0, -1, 1, 20, 2**63],
    ("model", "num_layers"): [0, -1, 1, 2, 2**62, 2**63],
    ("training", "micro_batch_size"): [None, 0, -1, 1, 2, 3, 2**62, 2**63],
    ("tokenizer", "num_workers"): [None, 0, -1, 1, 2**63],
    ("tokenizer", "vocab_size"): [0, -1, 256, 257, 300, 5000, 2**63],
}
_KEPT = {("corpus", "cache_dir"), ("corpus", "mirror"), ("logging", "track"), ("corpus", "source")}
_KEPT |= {("corpus", "train"), ("corpus", "validation")}


def _values(section: str, spec: dataclasses.Field) -> list[object]:
    kind = spec.type
    if (section, spec.name) in _LONG:
        return _LONG[section, spec.name]
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return [*options, "nonsense", None]
    inner = [one for one in options if one is not type(None)] or [kind]
    known = {float: _FLOATS, int: _INTS, str: _TEXTS, bool: [True, False, 1]}
    return [*known.get(inner[0], []), *([None] if options else []), object()]


def _fields() -> list[tuple[str, dataclasses.Field]]:
    found = []
    for spec in dataclasses.fields(RunConfig):
        if dataclasses.is_dataclass(spec.type):
            found += [(spec.name, one) for one in dataclasses.fields(spec.type)]
        else:
            found.append(("", spec))
    return [(section, one) for section, one in found if (section, one.name) not in _KEPT]


@st.composite
def _changes(draw: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    changes: dict[str, dict[str, Any]] = {}
    chosen = st.lists(st.sampled_from(_fields()), min_size=1, max_size=4, unique_by=str)
    for section, spec in draw(chosen):
        changes.setdefault(section, {})[spec.name] = draw(st.sampled_from(_values(section, spec)))
    return changes


def _require_refused_or_run(changes: dict[str, dict[str, Any]], folder: Path) -> None:
    try:
        config = _changed(tiny_config(folder, training__max_steps=3), changes)
    except ValueError as error:
        names = [option_name(part, name) for part, values in changes.items() for name in values]
        assert any(name in str(error) for name in names), (changes, error)
        return
    assert config_from_toml(config_to_toml(config), origin="saved") == config
    run_dir = folder / "run"
    try:
        result, _ = run_tiny(config, run_dir)
    except ValueError as error:
        is_result = "training diverged" in str(error) or "not finite" in str(error)
        assert is_result or not run_dir.exists(), (changes, error)
        return
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    assert result.summary is not None or config.training.max_hours is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conflicts")


@settings(max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@example({"schedule": {"total_steps": 1}})
@example({"evaluation": {"target_loss": 1e300}})
@given(_changes())
def test_any_configuration_is_refused_by_an_option_or_trains_to_its_end(
    folder: Path, changes: dict[str, dict[str, Any]]
) -> None:
    _require_refused_or_run(changes, folder)


@pytest.mark.matrix
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(_changes())
def test_any_of_many_configurations_is_refused_by_an_option_or_trains_to_its_end(
    folder: Path, changes: dict[str, dict[str, Any]]
) -> None:
    _require_refused_or_run(changes, folder)


@pytest.mark.matrix
@pytest.mark.parametrize(("section", "spec"), _fields(), ids=lambda one: getattr(one, "name", one))
def test_every_value_of_every_field_is_refused_by_its_option_or_trains(
    folder: Path, section: str, spec: dataclasses.Field
) -> None:
    for value in _values(section, spec):
        _require_refused_or_run({section: {spec.name: value}}, folder)
