"""The commands: results on stdout, progress on stderr, one line and exit code 2 for a mistake."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tokenizer import TokenFile, Tokenizer
from tokenizer.cli import commands as cli
from tokenizer.stats import Measurement

END = "<|endoftext|>"
TEXT = "the cat\r\nate \u6d4b\0\U0001f600" + END + "the end"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Call a command: exit code, stdout, stderr."""

    def call(command: str, *arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        code = 0
        try:
            getattr(cli, command)()
        except SystemExit as stop:
            code = stop.code
        captured = capsysbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return call


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"th", 257: b"the"}
    Tokenizer(vocab, [(b"t", b"h"), (b"th", b"e")], [END]).save(tmp_path / "tokenizer")
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return tmp_path


def test_encode_text(run: Run, directory: Path) -> None:
    assert run("encode", directory / "tokenizer", "--text", "the th") == (0, "257 32 256\n", "")


def test_encode_reads_standard_input_and_decode_inverts_it(run: Run, directory: Path) -> None:
    code, ids, _ = run("encode", directory / "tokenizer", stdin=TEXT.encode())
    assert code == 0
    assert run("decode", directory / "tokenizer", stdin=ids.encode()) == (0, TEXT, "")


def test_encode_writes_a_token_file_and_decode_inverts_it(run: Run, directory: Path) -> None:
    output = directory / "text.npy"
    code, out, err = run(
        "encode", directory / "tokenizer", directory / "text.txt", "--output", output
    )
    assert code == 0
    assert "ids of uint16 in 2 documents" in out
    assert "100%" in err
    assert len(TokenFile.open(output)) == len(Tokenizer.load(directory / "tokenizer").encode(TEXT))
    assert run("decode", directory / "tokenizer", output) == (0, TEXT, "")


def test_encode_prints_the_ids_of_several_files(run: Run, directory: Path) -> None:
    (directory / "b.txt").write_text("th")
    (directory / "c.txt").write_text("e")
    code, out, _ = run("encode", directory / "tokenizer", directory / "b.txt", directory / "c.txt")
    assert (code, out) == (0, "256 101\n")


def test_inspect_shows_long_tokens_by_their_ends(run: Run, tmp_path: Path) -> None:
    long = [b"x" * 2**power for power in range(17)]
    vocab = {i: bytes([i]) for i in range(256)} | {255 + i: long[i] for i in range(1, 17)}
    special = "<|" + "y" * 5000 + "|>"
    tokenizer = Tokenizer(
        vocab | {272: special.encode()}, [(one, one) for one in long[:-1]], [special]
    )
    tokenizer.save(tmp_path / "long")
    code, out, err = run("inspect", tmp_path / "long", "--longest", "3")
    assert (code, err) == (0, "") and len(out) < 2000
    assert "65536 bytes" in out and "16 merges" in out and "...yyy" in out


def test_inspect_shows_tokens_compression_and_the_pile(run: Run, directory: Path) -> None:
    (directory / "the.txt").write_text("the" * 1000)
    code, out, err = run(
        "inspect", directory / "tokenizer", directory / "the.txt", "--longest", "1"
    )
    assert code == 0
    assert "257    3 bytes  'the'" in out
    assert "3,000 bytes are 1,000 tokens" in out
    assert "3.000 bytes per token" in out
    assert "825 GB would be 275 billion tokens, 550 GB of ids; measure on " in out
    assert "100%" in err


def test_inspect_tells_threads_runs_and_hours(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(tokenizer: Tokenizer, path: Path, *, num_threads: int, progress) -> Measurement:
        return Measurement(
            num_bytes=10**9,
            num_tokens=10**8,
            seconds=1000.0,
            num_threads=num_threads,
            num_runs=3,
            start_seconds=0.25,
        )

    monkeypatch.setattr(cli, "measure", measure)
    code, out, _ = run("inspect", directory / "tokenizer", directory / "text.txt", "--threads", "2")
    assert code == 0
    assert "1.00 MB/s to a token file; threads: 2, runs: 3" in out
    assert "0.25 s until kernels are ready" in out
    assert "in 229.2 hours" in out


def test_options_may_stand_between_arguments(run: Run, directory: Path) -> None:
    folder, text = directory / "tokenizer", directory / "text.txt"
    code, out, _ = run("inspect", folder, "--threads", "1", text)
    assert code == 0 and "threads: 1" in out
    code, _, err = run("inspect", folder, "--threads", "0", text)
    assert code == 2 and "--threads is 0, but must be at least 1" in err


def test_convert_writes_the_other_formats(run: Run, directory: Path) -> None:
    source = directory / "tokenizer"
    assert run("convert", source, directory / "x.tiktoken")[0] == 0
    assert (
        run("convert", directory / "x.tiktoken", directory / "y.json", "--pattern", "gpt2")[0] == 0
    )
    assert run("encode", directory / "y.json", "--text", "the th")[1] == "257 32 256\n"


@pytest.mark.parametrize("name", ["x.tiktoken", "y.json", "other"])
@pytest.mark.parametrize("option", ["--overwrite", "--force"])
def test_convert_replaces_nothing_unasked(
    run: Run, directory: Path, name: str, option: str
) -> None:
    source, destination = directory / "tokenizer", directory / name
    assert run("convert", source, destination)[0] == 0
    status, _, message = run("convert", source, destination)
    assert status == 2
    assert f"{name} exists; pass --overwrite" in message
    assert run("convert", source, destination, option)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("encode", "tokenizer"),
        ("encode {d}/none --text a", "none/bpe.json: No such file"),
        ("encode {d}/tokenizer {d}/none.txt", "none.txt: No such file"),
        ("encode {d}/tokenizer {d}", "Is a directory"),
        ("encode {d}/tokenizer {d}/bad.txt", "bad.txt: byte 3 (0xff)"),
        ("encode {d}/tokenizer {d}/bad.txt --output {d}/o.npy", "bad.txt: byte 3 (0xff)"),
        ("encode {d}/tokenizer {d}/empty.txt --output {d}/o.npy", "nothing to encode"),
        ("encode {d}/tokenizer {d}/text.txt --output {d}/o.bin", "*.npy"),
        ("encode {d}/tokenizer {d}/text.txt --text a", "one or the other"),
        ("encode {d}/tokenizer --output {d}/o.npy", "name at least one"),
        ("encode {d}/tokenizer {d}/text.txt --output {d}/o.npy --threads 0", "threads is 0"),
        ("encode {d}/tokenizer {d}/text.txt --threads 2", "--threads is for token files"),
        ("encode {d}/tokenizer --nonsense", "--nonsense"),
        ("encode {d}/tokenizer {d}/text.txt --output {d}/no/o.npy", "no/o.npy: No such file"),
        ("decode {d}/tokenizer {d}/o.npy", "o.npy is missing"),
        ("decode {d}/tokenizer {d}/text.txt", "named *.npy"),
        ("decode {d}/tokenizer .", "named *.npy"),
        ("inspect {d}/tokenizer {d}/empty.txt", "empty.txt is empty"),
        ("convert {d}/tokenizer {d}/no/x.json", "no/x.json: No such file"),
        ("inspect {d}/tokenizer --longest -1", "at least 0"),
        ("inspect {d}/tokenizer --threads 2", "--threads is for measuring"),
        ("inspect {d}/tokenizer {d}/text.txt --threads 0", "threads is 0"),
        ("convert {d}/x.tiktoken {d}/y", "name a split pattern"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    run: Run, directory: Path, words: str, message: str
) -> None:
    (directory / "bad.txt").write_bytes(b"abc\xff")
    (directory / "empty.txt").touch()
    command, *arguments = words.format(d=directory).split()
    code, _, err = run(command, *arguments)
    assert code == 2
    assert err.startswith(f"{command}: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("stdin", "message"),
    [(b"1 x", "line 1: 'x' is not an id"), (b"1\n2 999", "id 999 at position 2")],
)
def test_decode_refuses_senseless_ids(
    run: Run, directory: Path, stdin: bytes, message: str
) -> None:
    code, _, err = run("decode", directory / "tokenizer", stdin=stdin)
    assert code == 2
    assert message in err


def test_decode_refuses_the_file_of_another_tokenizer(run: Run, directory: Path) -> None:
    other = Tokenizer({i: bytes([i]) for i in range(256)}, [])
    other.encode_file(directory / "text.txt", directory / "other.npy")
    code, _, err = run("decode", directory / "tokenizer", directory / "other.npy")
    assert code == 2
    assert other.fingerprint in err


def test_decode_names_the_token_file_that_holds_an_unknown_id(run: Run, directory: Path) -> None:
    path = directory / "text.npy"
    run("encode", directory / "tokenizer", directory / "text.txt", "--output", path)
    ids = np.load(path)
    ids[3] = 60_000
    np.save(path, ids)
    code, out, err = run("decode", directory / "tokenizer", path)
    assert (code, out) == (2, "")
    assert "text.npy: id 60000 at position 3 is outside the vocabulary of 259" in err


def test_decode_refuses_a_token_file_that_has_changed(run: Run, directory: Path) -> None:
    path = directory / "text.npy"
    run("encode", directory / "tokenizer", directory / "text.txt", "--output", path)
    ids = np.load(path)
    ids[3] = 65
    np.save(path, ids)
    code, out, err = run("decode", directory / "tokenizer", path)
    assert (code, out) == (2, "")
    assert "text.npy has SHA-256" in err


@pytest.fixture
def nameless(directory: Path) -> Path:
    """A folder whose name is no UTF-8, with a text of such a name."""
    folder = directory / os.fsdecode(b"d\xff")
    try:
        folder.mkdir()
        (folder / os.fsdecode(b"caf\xe9.txt")).write_text(TEXT, "utf-8", newline="")
    except OSError as error:
        pytest.skip(f"this file system wants names in UTF-8: {error}")
    return folder


def test_file_names_that_are_no_utf8_are_names(run: Run, directory: Path, nameless: Path) -> None:
    text, source = nameless / os.fsdecode(b"caf\xe9.txt"), directory / "tokenizer"
    ids, ranks = text.with_suffix(".npy"), text.with_suffix(".tiktoken")
    code, out, err = run("encode", source, text, "--output", ids)
    assert (code, "Traceback" in err, ids.name in TokenFile.open(ids).path.name) == (0, False, True)
    assert r"d\udcff/caf\udce9.npy: " in out
    assert TokenFile.open(ids).info.sources == (text.name,)
    assert run("decode", source, ids) == (0, TEXT, "")
    assert r"on caf\udce9.txt: " in run("inspect", source, text)[1]
    assert run("convert", source, ranks) == (0, f"{escaped(ranks)}: 259 tokens\n", "")
    assert run("convert", ranks, nameless / "new", "--pattern", "gpt2")[0] == 0
    code, _, err = run("encode", source, text.with_suffix(".none"))
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"encode: error: {escaped(text.with_suffix('.none'))}: No such file")


def escaped(path: Path) -> str:
    return str(path).encode(errors="backslashreplace").decode()


def run_in_a_shell(directory: Path, words: str, **environment: str) -> tuple[int, str, str]:
    command, _, rest = words.partition(" ")
    result = subprocess.run(
        f'"{sys.executable}" -c "from tokenizer.cli.commands import {command}; {command}()" {rest}',
        shell=True,
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


@pytest.mark.skipif(os.name != "posix", reason="redirects as a POSIX shell does")
@pytest.mark.parametrize(
    "words",
    [
        "encode tokenizer text.txt >&-",
        "encode tokenizer <&-",
        "encode tokenizer text.txt --output o.npy 2>&-",
        "decode tokenizer <&-",
        "inspect tokenizer text.txt >&- 2>&-",
        "inspect tokenizer --longest 200 | exec true",
    ],
)
def test_streams_that_are_closed_cause_no_traceback(directory: Path, words: str) -> None:
    assert run_in_a_shell(directory, words)[::2] == (0, "")


def test_text_that_stdout_cannot_spell_is_escaped(directory: Path) -> None:
    Tokenizer({0: "\u00e9".encode()}, []).save(directory / "accent")
    code, out, err = run_in_a_shell(directory, "inspect accent", PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert "'\\xe9'" in out
