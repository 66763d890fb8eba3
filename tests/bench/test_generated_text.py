"""Measures of generated text: what is counted, and one whole run."""

import json
import sys
from pathlib import Path

import pytest
from faults.tiny_run import run_tiny, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import main
from bench.generated_text import Known, measure

TRAINING = "def parse(self, value):\n    return self.value\n"


def test_text_of_the_training_text_is_copied_and_invents_nothing() -> None:
    found = measure([TRAINING], Known.of(TRAINING))
    assert (found.copied, found.invented) == (1.0, 0.0)


def test_a_word_that_differs_in_a_letter_is_invented_once() -> None:
    found = measure(["self.valve = value; self.valve"], Known.of(TRAINING))
    assert found.invented == pytest.approx(1 / 3)  # self, valve, value


def test_a_loop_repeats_all_but_its_first_round() -> None:
    assert measure(["one two three four five " * 10], Known.of("")).repeated == 42 / 47
    assert measure(["one two three four five "] * 10, Known.of("")).repeated == 0.0


@given(st.lists(st.text(max_size=200), max_size=4), st.text(max_size=200))
def test_shares_are_shares_and_absent_where_nothing_counts(texts: list[str], known: str) -> None:
    found = measure(texts, Known.of(known))
    for share in (found.repeated, found.invented, found.copied):
        assert share is None or 0.0 <= share <= 1.0
    assert (found.repeated is None) == all(len(text.split()) < 4 for text in texts)


def test_the_command_measures_each_setting_beside_held_out_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_tiny(tiny_config(tmp_path), tmp_path / "run")
    text = str(tmp_path / "corpus.txt")
    texts = ["--train", text, "--validation", text]
    options = ["--temperatures", "0,1", "--top-ps", "1,0.5", "--texts", "2", "--max-tokens", "8"]
    options += ["--prompt", "def ", "--json", str(tmp_path / "x.json")]
    monkeypatch.setattr(
        sys, "argv", ["bench", "generated-text", str(tmp_path / "run"), *texts, *options]
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "held out" in capsys.readouterr().out
    findings = json.loads((tmp_path / "x.json").read_text())["findings"]
    settings = [(found["temperature"], found["top_p"]) for found in findings]
    assert settings == [(None, None), (0, 1), (1, 1), (1, 0.5)]
    assert [len(found["texts"]) for found in findings] == [2, 1, 2, 2]
    assert all(text.startswith("def ") for found in findings[1:] for text in found["texts"])
    assert findings[0]["measures"]["invented"] == 0.0
    assert findings[2]["texts"][0] != findings[2]["texts"][1]


def test_settings_that_make_no_sense_are_refused_before_anything_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["--train", str(tmp_path / "no.txt"), "--validation", str(tmp_path / "no.txt")]
    options = ["--temperatures", "1,-1"]
    monkeypatch.setattr(sys, "argv", ["bench", "generated-text", "runs/1", *texts, *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "temperature is -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "holds no text"),
        (b"<|endoftext|>\n<|endoftext|>", "holds no text"),
        (b"caf\xe9!", "is not UTF-8: byte 0xe9 at offset 3"),
        (None, "No such file"),
    ],
)
@pytest.mark.parametrize("option", ["--train", "--validation"])
def test_text_that_is_none_is_named(
    option: str,
    content: bytes | None,
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    good.write_text(TRAINING)
    if content is not None:
        bad.write_bytes(content)
    texts = {"--train": good, "--validation": good, option: bad}
    words = [str(word) for pair in texts.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["bench", "generated-text", "runs/1", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    error = capsys.readouterr().err
    assert found in error and "bad.txt" in error
