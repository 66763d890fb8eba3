"""Any text is a value: what follows an option that takes text or a path is never an option."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.cli.arguments import path_list_options, text_options
from trainer.cli.report_arguments import (
    CompareRequest,
    ReportRequest,
    WatchRequest,
    parse_compare,
    parse_report,
    parse_watch,
)
from trainer.cli.run_arguments import (
    DoctorRequest,
    EvaluateRequest,
    GenerateRequest,
    _Arguments,
    parse_evaluate,
    parse_generate,
    parse_prepare,
    parse_train,
)
from trainer.cli.study_arguments import base_config, split_arguments, study_parser

_TEXTS = ["--", "-", "-1", "--prompt", "--top-k=3", "--no-cache", " --x", "@file", "a=b", "none"]
TEXTS = ["---", "-x", "--help", "", "a\nb"]
TEXTS += [pytest.param(text, marks=pytest.mark.matrix) for text in (*_TEXTS, "True", "\U0001f600")]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_a_prompt(text: str) -> None:
    for words in (["--prompt", text], [f"--prompt={text}"]):
        request = parse_generate(["runs/x", *words, "--top-k", "3"])
        assert (request.prompt, request.top_k) == ((text,), 3)
    assert parse_generate(["x", "--prompt", text, "--prompt", "b"]).prompt == (text, "b")


def _field(config: Any, option: str) -> Any:
    for name in option.removeprefix("--").replace("-", "_").split("."):
        config = getattr(config, name)
    return config


# Options of `train` whose text is checked or decides what is read; they are looked at apart.
_CHECKED = {
    *("--tokenizer.pattern", "--training.batch-ramp", "--logging.track-project"),
    *("--model.attention", "--training.loss"),
}
_APART = {"--preset", "--resume", "--run-dir", "--device", *_CHECKED}


def test_any_text_is_a_value_of_every_option_of_train() -> None:
    options = sorted(text_options(_Arguments) - _APART)
    for text in ("---", "--seed"):
        for change in (str, lambda option: option.replace("-", "_").replace("__", "--", 1)):
            words = [word for option in options for word in (change(option), text)]
            config = parse_train([*words, "--seed", "3"]).config
            assert {str(_field(config, option)) for option in options} == {text}
            assert config.seed == 3


def test_what_is_no_value_of_a_checked_option_is_refused_by_its_option() -> None:
    for option in sorted(_CHECKED):
        with pytest.raises((ValueError, SystemExit)):
            parse_train([option, "--*["])
    assert parse_train(["--device", "--x"]).config.device == "--x"  # refused where it is resolved
    assert parse_train(["--run-dir", "-x"]).run_dir == Path("-x")
    with pytest.raises(ValueError, match="--help is not a run directory"):
        parse_train(["--resume", "--help"])


def test_a_list_of_paths_ends_at_the_next_option() -> None:
    assert path_list_options(_Arguments) == {"--corpus.train", "--corpus.validation"}
    words = ["--corpus.train", "-a.txt", "b.txt", "--corpus.validation", "-c", "--seed", "3"]
    config = parse_train(words).config
    assert config.corpus.train == (Path("-a.txt"), Path("b.txt"))
    assert (config.corpus.validation, config.seed) == ((Path("-c"),), 3)
    with pytest.raises(ValueError, match="unknown option --sede; did you mean --seed"):
        parse_train(["--corpus.train", "a.txt", "--sede", "3"])


@pytest.mark.parametrize(
    ("parse", "cls", "before"),
    [
        (parse_report, ReportRequest, ["x"]),
        (parse_compare, CompareRequest, ["x", "y"]),
        (parse_watch, WatchRequest, ["x"]),
        (parse_evaluate, EvaluateRequest, ["x"]),
        (parse_generate, GenerateRequest, ["x"]),
    ],
)
def test_any_text_is_a_value_of_the_other_commands(
    parse: Callable[[list[str]], object], cls: type, before: list[str]
) -> None:
    for option in text_options(cls) - {"--run", "--prompt"}:
        assert str(_field(parse([*before, option, "--help"]), option)) == "--help"


@pytest.mark.parametrize("option", ["--study", "--over", "--retune", "--storage", "--against"])
def test_any_text_is_a_value_of_a_study_and_of_the_train_options_behind_it(option: str) -> None:
    parser = study_parser("sweep", "")
    if option != "--study":
        parser.add_argument(option)
    words = ["quickstart", "--evaluation.sample-prompt", option, option, "--seed", "--seed", "4"]
    own, rest = split_arguments(parser, words)
    assert str(getattr(own, option.removeprefix("--"))) == "--seed"
    config = base_config(rest, "sweep")
    assert (config.evaluation.sample_prompt, config.seed) == (option, 4)


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (parse_generate, ["x", "--prompt", "\udcff"]),
        (parse_generate, ["caf\udce9"]),
        (parse_train, ["--corpus.train", "caf\udce9.txt"]),
        (parse_prepare, ["--corpus.cache-dir", "caf\udce9"]),
        (parse_train, ["--run-dir", "caf\udce9"]),
        (parse_report, ["x", "--output", "caf\udce9"]),
        (parse_evaluate, ["caf\udce9"]),
    ],
)
def test_words_that_are_not_utf8_are_refused_at_once(
    parse: Callable[[list[str]], object], words: list[str]
) -> None:
    with pytest.raises(ValueError, match="is not UTF-8"):
        parse(words)


def test_the_bytes_of_a_prompt_are_utf8_whatever_the_locale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.fsencode", lambda word: word.encode("ascii", "surrogateescape"))
    escaped = "c\u00e4t".encode().decode("ascii", "surrogateescape")  # as under LC_ALL=C
    for words in (["--prompt", escaped], [f"--prompt={escaped}"]):
        assert parse_generate(["x", *words]).prompt == ("c\u00e4t",)
    with pytest.raises(ValueError, match="is not UTF-8"):
        parse_train(["--run-dir", escaped])  # no file could be opened by the decoded name


def test_doctor_has_no_option_that_takes_text() -> None:
    assert text_options(DoctorRequest) == {"--run"}  # the positional
