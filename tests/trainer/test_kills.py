"""Real runs under real signals: killed at random, hung up, unread, watched for leaks.

Children are forked from this process, which has imported torch: a run starts in milliseconds. Each
case has a seed, which is printed where it fails: `pytest -m campaign -k kills --seed N`.
"""

import json
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from faults.tiny_run import outcome, run_tiny, tiny_config

from trainer.checkpoint.run_checkpoint import newest_checkpoint
from trainer.config.run_config import RunConfig
from trainer.storage.run_directory import RunDirectory, temporary_files

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(sys.platform != "linux", reason="forks; reads /proc"),
]

KILLS, KILLS_IN_LITTLE = 1000, 24
LEAK_SECONDS, LEAK_SECONDS_IN_LITTLE = 7200.0, 8.0
WARM_UP = 0.25
"""Share of a long run in which allocators settle; not part of its slope."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    torch.set_num_threads(1)  # forked children can't use the threads of their parent
    return tiny_config(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, float]:
    """What an uninterrupted run leaves, and how long it takes."""
    folder = tmp_path_factory.mktemp("whole")
    run_tiny(config, folder / "warm")
    started = time.monotonic()
    run_tiny(config, folder / "run")
    return outcome(folder / "run"), time.monotonic() - started


def _fork(action: Callable[[], object], *, log: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside torch's idle threads
        child = os.fork()
    if child:
        return child
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        action()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _go_on(config: RunConfig, run_dir: Path) -> None:
    """What `train --run-dir X --resume auto` does."""
    run_tiny(config, run_dir, resume=RunDirectory(run_dir).config.exists())


def test_random_kills_lose_nothing(
    config: RunConfig, whole: tuple[dict, float], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted, seconds = whole
    kills = KILLS if request.config.getoption("--full") else KILLS_IN_LITTLE
    kills = request.config.getoption("--kills") or kills
    killed, seed = 0, request.config.getoption("--seed")
    while killed < kills:
        run_dir = tmp_path / f"run-{seed}"
        own = config
        if seed % 8 == 0:  # sometimes the text must be prepared as well
            (tmp_path / f"own-{seed}").mkdir()
            own = tiny_config(tmp_path / f"own-{seed}")
        killed += _kill_until_done(own, run_dir, seed, seconds)
        _require_finished(run_dir, wanted, seed)
        seed += 1
    print(f"{killed} kills in {seed - request.config.getoption('--seed')} runs")


def _kill_until_done(config: RunConfig, run_dir: Path, seed: int, seconds: float) -> int:
    """Start a run again and again, killing it at random moments; return how many kills it took."""
    generator, saved, killed = random.Random(seed), 0, 0
    log = run_dir.with_name(f"log-{seed}")
    for attempt in range(20):
        child = _fork(lambda: _go_on(config, run_dir), log=log)
        if attempt < 6:
            time.sleep(generator.uniform(0, 0.8 * seconds))
            os.kill(child, signal.SIGKILL)
        status = _wait(child)
        killed += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL), f"seed {seed}: {log.read_text()}"
        found, skipped = newest_checkpoint(run_dir)
        assert skipped == [], f"seed {seed}"
        step = 0 if found is None else found.step
        assert step >= saved, f"seed {seed}: step {saved} was saved, and then {step}"
        saved = step
        if status == 0:
            return killed
    raise AssertionError(f"seed {seed}: never done")


def _require_finished(run_dir: Path, wanted: dict, seed: int) -> None:
    assert temporary_files(RunDirectory(run_dir)) == [], f"seed {seed}"
    left = [path for path in run_dir.rglob("*") if path.name.endswith((".tmp", ".part"))]
    assert left == [], f"seed {seed}"
    found = outcome(run_dir)
    assert found["metrics"] == wanted["metrics"], f"seed {seed}"
    assert found == wanted, f"seed {seed}"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint(
    config: RunConfig, tmp_path: Path, number: signal.Signals
) -> None:
    endless = tiny_config(config.corpus.cache_dir.parent, training__max_steps=100_000)

    def train() -> None:
        signal.signal(number, signal.SIG_DFL)  # who starts the tests by nohup ignores it
        result, _ = run_tiny(endless, tmp_path / "run")
        assert result.exit_signal == number
        assert newest_checkpoint(tmp_path / "run")[0].step == result.step

    child = _fork(train, log=tmp_path / "log")
    metrics = RunDirectory(tmp_path / "run").metrics
    while not metrics.exists():
        time.sleep(0.05)
    os.kill(child, number)
    assert _wait(child) == 0, (tmp_path / "log").read_text()


def test_a_run_whose_output_nobody_reads_ends(
    config: RunConfig, whole: tuple[dict, float], tmp_path: Path
) -> None:
    from trainer import train

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)

    def train_unread() -> None:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stderr = os.fdopen(2, "w")
        train(config, tmp_path / "run")

    child = _fork(train_unread, log=tmp_path / "log")
    assert _wait(child) == 0
    os.close(reading)
    os.close(writing)
    assert outcome(tmp_path / "run") == whole[0]


def test_a_long_run_leaks_neither_memory_nor_files(
    config: RunConfig, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    is_full = request.config.getoption("--full")
    seconds = LEAK_SECONDS if is_full else LEAK_SECONDS_IN_LITTLE
    seconds = request.config.getoption("--seconds") or seconds
    endless = tiny_config(
        config.corpus.cache_dir.parent,
        training__max_steps=10**8,
        training__max_hours=seconds / 3600,
        evaluation__every_steps=50,
        checkpoint__every_steps=20,
        schedule__name="constant",
    )
    rows = tmp_path / "rows"

    def train_watched() -> None:
        from trainer.training.loop import TrainingLoop

        take_step = TrainingLoop._take_step

        def watched(self: TrainingLoop) -> object:
            if self.state.step % 10 == 0:
                with rows.open("a") as file:
                    file.write(json.dumps([self.state.seconds, *_usage()]) + "\n")
            return take_step(self)

        TrainingLoop._take_step = watched
        run_tiny(endless, tmp_path / "run")

    assert _wait(_fork(train_watched, log=tmp_path / "log")) == 0, (tmp_path / "log").read_text()
    table = [json.loads(line) for line in rows.read_text().splitlines()]
    settled = [row for row in table if row[0] > WARM_UP * seconds]
    open_files = [files for *_, files in settled]  # more while a save is under way: not all leaks
    half = len(open_files) // 2
    assert min(open_files[half:]) == min(open_files[:half]), open_files
    slope = _slope([row[0] / 60 for row in settled], [row[1] / 2**20 for row in settled])
    first, last = settled[0][1] / 2**20, settled[-1][1] / 2**20
    print(
        f"{len(table) * 10} steps in {seconds:.0f} s: {first:.1f} to {last:.1f} MiB, "
        f"{slope:+.3f} MiB a minute, {settled[-1][2]} files open"
    )
    # In a few seconds the slope says nothing; what a step leaked would show in the level.
    assert slope < 0.5 if seconds >= 300 else last - first < 16


def _usage() -> tuple[int, int]:
    """Return resident bytes and open files of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE"), len(list(Path("/proc/self/fd").iterdir()))


def _slope(xs: list[float], ys: list[float]) -> float:
    """Return the least-squares slope."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    num = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return num / sum((x - mean_x) ** 2 for x in xs)
