"""The commands `train-bpe`, `count` and `merge`: results, refusals, progress."""

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bpe
from bpe.cli.commands import count, main, merge
from bpe.cli.progress import StageProgress
from bpe.cli.usage import StageTimes, describe_peak_memory


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("low lower lowest<|end|>newest widest " * 20)
    return path


def test_command_saves_what_train_vocabulary_returns(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--vocab-size", "270", "--special-token", "<|end|>", "--pattern", "o200k"]
    assert main([str(corpus), str(corpus), *options, "--output", str(out), "--workers", "1"]) == 0
    expected = bpe.train_vocabulary([corpus, corpus], 270, ["<|end|>"], pattern="o200k")
    assert bpe.Vocabulary.load(out) == expected
    printed = capsys.readouterr()
    assert "270 (1 special, 256 bytes, 13 merges)" in printed.out
    assert expected.fingerprint in printed.out
    assert "count  100%" in printed.err and "merge  100% 13 of 13" in printed.err
    *_, seconds, memory = printed.err.splitlines()
    shown = re.fullmatch(
        r"time +\d+\.\d s: load (\d+)%, count (\d+)%, merge (\d+)%, save (\d+)%", seconds
    )
    assert shown and sum(map(int, shown.groups())) == pytest.approx(100, abs=2)
    assert re.match(
        r"peak memory  [\d,]+ MB(, and at most [\d,]+ MB in each child process)?$", memory
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": "nowhere.txt"}, "nowhere.txt: No such file or directory"),
        ({"corpus": "empty"}, "the corpus is empty"),
        ({"corpus": "binary"}, "binary: byte 4 (0xff) is not UTF-8"),
        ({"--vocab-size": "100"}, "vocab_size is 100"),
        ({"--pattern": "("}, "split pattern '(' is not a valid regular expression"),
        ({"--output": "full"}, "full is not empty; pass --overwrite"),
        ({"--output": "empty"}, "empty is a file"),
        ({"--output": "empty/within"}, "empty is a file"),
        ({"--workers": "0"}, "num_workers is 0"),
        ({"--max-pretokens": "0"}, "max_pretokens is 0"),
        ({"--tie-breaking": "none"}, "tie_breaking is 'none'; name one of cs336,"),
        ({"--special-token": ""}, "special token '' is not text"),
        ({"--special-token": "\u00b6"}, "both spelled '\u00b6' in vocab.json"),
        ({"--pattern": "cl100k_base"}, "no split pattern named 'cl100k_base'; use one of gpt2,"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    Path("binary").write_bytes(b"ELF \xff")
    Path("full").mkdir()
    Path("full", "note").touch()
    options = {"corpus": str(corpus), "--vocab-size": "260", "--output": "out"} | change
    command = [options.pop("corpus"), *(part for item in options.items() for part in item)]
    assert main(command) == 2
    printed = capsys.readouterr().err
    last_line = printed.splitlines()[-1]
    assert "merge" not in printed  # what is known before training is reported before it
    assert last_line.startswith("train-bpe: error: ") and message in last_line
    assert not Path("out").exists()


def test_directory_that_cannot_be_written_to_is_refused_before_training(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write anywhere
    assert main([str(corpus), "--vocab-size", "260", "--output", str(tmp_path / "a" / "b")]) == 2
    message = f"train-bpe: error: {tmp_path} is not writable; pass another --output\n"
    assert capsys.readouterr().err == message


def test_overwrite_replaces_an_older_vocabulary(corpus: Path, tmp_path: Path) -> None:
    command = [str(corpus), "--output", str(tmp_path / "out"), "--vocab-size"]
    assert main([*command, "260"]) == 0
    assert main([*command, "262"]) == 2
    assert main([*command, "262", "--overwrite"]) == 0
    assert len(bpe.Vocabulary.load(tmp_path / "out")) == 262


def test_ctrl_c_ends_without_output(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bpe.cli.commands.train_vocabulary", interrupt)
    assert main([str(corpus), "--vocab-size", "260", "--output", str(tmp_path / "out")]) == 130
    assert not (tmp_path / "out").exists()


def test_file_names_that_are_no_utf8_are_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / os.fsdecode(b"d\xff")
    text = str(folder / os.fsdecode(b"caf\xe9.txt"))
    try:
        folder.mkdir()
        Path(text).write_text("low lower lowest " * 20)
    except OSError as error:
        pytest.skip(f"this file system wants names in UTF-8: {error}")
    counts, both, out = (str(folder / os.fsdecode(name)) for name in (b"1\xe9", b"2\xe9", b"o\xe9"))
    assert count([text, "--output", counts]) == 0
    assert merge([counts, counts, "--output", both]) == 0
    assert main([both, "--vocab-size", "260", "--output", out]) == 0
    assert main([text, "--vocab-size", "260", "--output", f"{out}x"]) == 0
    assert bpe.Vocabulary.load(out).merges == bpe.Vocabulary.load(f"{out}x").merges
    assert main([f"{text}x", "--vocab-size", "260", "--output", f"{out}y"]) == 2
    printed = capsys.readouterr()
    assert printed.out.count("d\\udcff/") == 4
    assert printed.err.endswith("caf\\udce9.txtx: No such file or directory\n")


def train_in_a_shell(directory: Path, redirection: str, **environment: str) -> tuple[int, str, str]:
    (directory / "u").write_text("caf\u00e9 caf\u00e9 " * 20, "utf-8")
    result = subprocess.run(
        f'"{sys.executable}" -m bpe.cli.commands u --vocab-size 260 --output out {redirection}',
        shell=True,
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bpe.Vocabulary.load(directory / "out")
    return result.returncode, result.stdout, result.stderr


@pytest.mark.skipif(os.name != "posix", reason="redirects as a POSIX shell does")
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "| exec true"])
def test_streams_that_are_closed_cause_no_traceback(tmp_path: Path, redirection: str) -> None:
    code, _, err = train_in_a_shell(tmp_path, redirection)
    assert (code, "Traceback" in err, "Error" in err) == (0, False, False)


def test_text_that_stdout_cannot_spell_is_escaped(tmp_path: Path) -> None:
    code, out, _ = train_in_a_shell(tmp_path, "", PYTHONIOENCODING="ascii")
    assert code == 0
    assert "'caf\\xe9'" in out


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show_a_stage(stream: io.StringIO) -> str:
    clock = Clock()
    progress = StageProgress(stream, clock=clock)
    for done in range(101):
        progress("count", done, 100)
        clock.now += 0.11
    progress.close()
    return stream.getvalue()


def test_a_stage_lasts_from_its_first_report_to_the_next_stages() -> None:
    clock, reports = Clock(), []
    times = StageTimes(lambda *report: reports.append(report), first="load", clock=clock)
    for stage, seconds in (("count", 1.0), ("count", 2.0), ("merge", 4.0)):
        clock.now += seconds
        times(stage, 1, 2)
    clock.now += 1.0
    times.end()
    assert times.seconds == {"load": 1.0, "count": 6.0, "merge": 1.0}
    assert times.describe() == "8.0 s: load 12%, count 75%, merge 12%"
    assert reports == [("count", 1, 2), ("count", 1, 2), ("merge", 1, 2)]


def test_peak_memory_is_that_of_the_whole_process(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from bpe.cli.usage import describe_peak_memory\n"
        "held = bytearray(b'x') * 300_000_000\ndel held\nprint(describe_peak_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 300 < int(done.stdout.split(" MB")[0].replace(",", "")) < 600
    monkeypatch.setitem(sys.modules, "resource", None)
    assert describe_peak_memory() == "unknown: this system does not report it"


def test_progress_is_a_few_lines_without_a_terminal() -> None:
    lines = show_a_stage(io.StringIO()).splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        "count   46% 46 of 100",
        "count   92% 92 of 100",
        "count  100% 100 of 100",
    ]


def test_progress_is_one_bar_on_a_terminal() -> None:
    shown = show_a_stage(Terminal())
    assert shown.count("\r") == 100 and shown.count("\n") == 1 and shown.endswith("\n")
    assert "\r[###############...............] count   50% 50 of 100 in 5.5 s" in shown


def test_bar_that_was_never_shown_leaves_no_line() -> None:
    progress = StageProgress(terminal := Terminal(), clock=Clock())
    progress("count", 0, 10)
    progress.close()
    assert terminal.getvalue() == ""


def test_unfinished_bar_ends_its_line_when_closed() -> None:
    progress = StageProgress(terminal := Terminal(), clock=(clock := Clock()))
    progress("merge", 0, 10)
    clock.now = 1.0
    progress("merge", 5, 10)
    progress.close()
    progress.close()
    assert terminal.getvalue().endswith("5 of 10 in 1.0 s\n")


def test_counting_can_be_spread_over_machines(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, whole = tmp_path / "other.txt", tmp_path / "whole"
    other.write_text("newer lowlands<|end|>")
    options = ["--special-token", "<|end|>", "--pattern", "o200k"]
    for path in (corpus, other):
        assert count([str(path), *options, "--output", f"{path}.counts"]) == 0
    printed = capsys.readouterr()
    assert "pretokens  2 of 2 kinds, 14 bytes\n" in printed.out and "count  100%" in printed.err
    parts = [f"{other}.counts", f"{corpus}.counts"]
    assert merge([*parts, "--output", str(tmp_path / "all.counts")]) == 0
    assert (
        main([str(corpus), str(other), *options, "--vocab-size", "270", "--output", str(whole)])
        == 0
    )
    expected = bpe.Vocabulary.load(whole)
    for name, inputs in {"a": parts, "b": [str(tmp_path / "all.counts")]}.items():
        assert main([*inputs, "--vocab-size", "270", "--output", str(tmp_path / name)]) == 0
        assert bpe.Vocabulary.load(tmp_path / name) == expected


def test_ties_and_memory_are_options(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--vocab-size", "262", "--tie-breaking", "smallest-bytes", "--max-pretokens", "4"]
    assert main([str(corpus), *options, "--output", str(tmp_path / "out")]) == 0
    expected = bpe.train_vocabulary(corpus, 262, tie_breaking="smallest-bytes", max_pretokens=4)
    assert bpe.Vocabulary.load(tmp_path / "out") == expected
    assert count([str(corpus), "--max-pretokens", "4", "--output", str(tmp_path / "c")]) == 0
    assert "dropped    " in capsys.readouterr().out
    assert main([str(tmp_path / "c"), *options, "--output", str(tmp_path / "again")]) == 0
    assert bpe.Vocabulary.load(tmp_path / "again") == expected


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (count, ["nowhere.txt"], "count: error: nowhere.txt: No such file or directory"),
        (count, ["text", "--output", "there"], "count: error: there exists; pass --overwrite"),
        (count, ["text", "--output", "."], "count: error: . is a directory; --output needs"),
        (count, ["text", "--output", "a/b"], "count: error: a does not exist; create it"),
        (count, ["text", "--max-pretokens", "0"], "count: error: max_pretokens is 0"),
        (
            merge,
            ["text"],
            "merge: error: text: not a file of pretoken counts; make one with `count`",
        ),
        (merge, ["one", "other"], "merge: error: counts made with "),
        (merge, ["nowhere"], "merge: error: nowhere: No such file or directory"),
        (
            main,
            ["one", "text", "--vocab-size", "260"],
            "train-bpe: error: text is not a file of counts",
        ),
        (main, ["one", "--vocab-size", "260", "--pattern", "o200k"], "the counts were made with"),
    ],
)
def test_mistakes_with_counts_end_with_status_2_and_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], int],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("low lower lowest and more of it")
    Path("there").touch()
    assert count(["text", "--output", "one"]) == 0
    assert count(["text", "--pattern", "cl100k", "--output", "other"]) == 0
    capsys.readouterr()
    before = sorted(tmp_path.iterdir())
    assert command([*arguments, *([] if "--output" in arguments else ["--output", "out"])]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_counts_are_overwritten_only_when_told(corpus: Path, tmp_path: Path) -> None:
    command = [str(corpus), "--output", str(tmp_path / "counts")]
    assert [count(command), count(command), count([*command, "--overwrite"])] == [0, 2, 0]


@pytest.mark.parametrize("command", [main, count, merge])
def test_help_shows_how_to_spread_counting(
    command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["--help"])
    assert ended.value.code == 0
    assert "merge 1.counts 2.counts --output all.counts" in capsys.readouterr().out
