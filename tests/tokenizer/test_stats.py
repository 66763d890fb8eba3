"""What `inspect` says of speed is what `encode_file` takes, by a clock that the tests set."""

from pathlib import Path

import pytest

from tokenizer import TokenFile, Tokenizer
from tokenizer.stats import BUSY_BYTES_PER_THREAD, Measurement, measure

TOKENIZER = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
TEXT = "ab ab abc\n" * 50


class Clock:
    """Seconds that pass only where they are spent."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Kernels take 100 s to be ready, and `encode_file` the 0.4 s of `clock.cost`."""
    clock, real = Clock(), Tokenizer.encode_file
    clock.cost, clock.calls, clock.tokenizers = 0.4, [], []

    def warm_up(tokenizer: Tokenizer) -> None:
        clock.now += 100

    def encode_file(tokenizer: Tokenizer, source: Path, *arguments, **options) -> TokenFile:
        clock.now += clock.cost
        clock.calls.append((source, options["num_threads"]))
        clock.tokenizers.append(tokenizer)
        return real(tokenizer, source, *arguments, **options)

    monkeypatch.setattr(Tokenizer, "warm_up", warm_up)
    monkeypatch.setattr(Tokenizer, "encode_file", encode_file)
    return clock


def test_what_is_timed_is_encode_file_alone(text: Path, clock: Clock) -> None:
    measured = measure(TOKENIZER, text, num_threads=3, clock=clock)
    assert clock.calls == [(text, 3)] * 3
    assert measured.seconds == pytest.approx(0.4)
    assert measured.start_seconds == 100
    assert measured.num_bytes == len(TEXT)
    assert measured.num_tokens == len(TOKENIZER.encode(TEXT))
    assert measured.bytes_per_second == pytest.approx(len(TEXT) / 0.4)


def test_no_run_has_met_the_text_before(text: Path, clock: Clock) -> None:
    measure(TOKENIZER, text, clock=clock)
    assert len({*map(id, clock.tokenizers), id(TOKENIZER)}) == 4


@pytest.mark.parametrize(("cost", "num_runs"), [(0.001, 25), (0.1, 10), (0.4, 3), (6, 1), (3, 2)])
def test_short_runs_are_repeated(text: Path, clock: Clock, cost: float, num_runs: int) -> None:
    clock.cost = cost
    assert measure(TOKENIZER, text, clock=clock).num_runs == num_runs


def test_plain_python_is_one_thread(text: Path, clock: Clock) -> None:
    assert measure(TOKENIZER, text, num_threads=3, clock=clock).num_threads == 1


def test_kernels_have_the_threads_that_were_asked_for(text: Path) -> None:
    assert measure(TOKENIZER, text, num_threads=3).num_threads == 3


def test_nothing_is_left_behind(
    text: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    measure(TOKENIZER, text, clock=clock)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_more_threads_need_more_text_to_be_busy() -> None:
    measured = Measurement(num_bytes=9, num_tokens=3, seconds=1.0, num_threads=4)
    assert measured.busy_bytes == 4 * BUSY_BYTES_PER_THREAD
