"""`docs/cs336.md` answers every problem of the handout, and its commands run as they stand.

`console` blocks are run here, `pycon` blocks by `test_readme.py`; `sh` blocks need texts, a GPU or
hours. Commands of the trainer and of bench take longer than the rest and run with `-m slow`.
"""

import importlib
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/cs336.md").read_text("utf-8")
_SPELLED = """
    unicode1 unicode2 train_bpe train_bpe_tinystories train_bpe_expts_owt tokenizer
    tokenizer_experiments linear embedding rmsnorm positionwise_feedforward rope softmax
    scaled_dot_product_attention multihead_self_attention transformer_block transformer_lm
    transformer_accounting cross_entropy learning_rate_tuning adamw adamw_accounting
    learning_rate_schedule gradient_clipping data_loading checkpointing training_together decoding
    experiment_log learning_rate batch_size_experiment generate layer_norm_ablation
    pre_norm_ablation no_pos_emb swiglu_ablation main_experiment leaderboard
"""
PROBLEMS = _SPELLED.split()
QUICK = {"accounting", "bpe", "tokenizer"}


@pytest.fixture
def page_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The repository's pages, which the commands read, where they may write."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def _commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [words[3:] for line in lines if (words := shlex.split(line))]


def _run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    package, command, *arguments = words
    (project,) = [*ROOT.glob(f"*/{package}/pyproject.toml")]
    scripts = tomllib.loads(project.read_text("utf-8"))["project"]["scripts"]
    module, function = scripts[command].split(":")
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    try:
        code = getattr(importlib.import_module(module), function)()
    except SystemExit as ended:
        code = ended.code
    assert not code, shlex.join(words)


def test_every_problem_is_answered_in_order() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == PROBLEMS


def test_every_problem_has_a_command() -> None:
    for problem, answer in zip(PROBLEMS, re.split(r"^### \w+$", PAGE, flags=re.M)[1:], strict=True):
        assert re.search(r"^```(console|pycon|sh)$", answer, re.MULTILINE), problem


def test_what_needs_texts_or_a_gpu_is_not_run_here() -> None:
    needy = re.compile(r"owt|tinystories", re.IGNORECASE)
    assert not [words for words in _commands() if needy.search(shlex.join(words))]
    assert {words[0] for words in _commands()} == QUICK | {"trainer", "bench"}


def test_the_quick_commands_run(
    page_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in _commands():
        if words[0] in QUICK:
            _run(words, monkeypatch)
    printed = capsys.readouterr().out
    for figure in (
        *("1,640,452,800", "6,561,811,200", "3,516,769,894,400", "133,577,729,638,400"),
        *("16,373,391,360", "26,247,244,800", "22,966,339,200", "4,850.1", "6,583.6"),
        "500 (1 special, 256 bytes, 243 merges)",
    ):
        assert figure in printed
    assert (page_directory / "README.md").read_text("utf-8") in printed  # what `decode` gives back


@pytest.mark.slow
def test_all_commands_run(page_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in _commands():
        _run(words, monkeypatch)
    for path in ("runs/page/report.html", "runs/page/loss.svg", "studies/page"):
        assert (page_directory / path).exists()
