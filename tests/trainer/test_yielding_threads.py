"""How OpenMP's threads wait: as torch has them when alone, briefly while CPUs are fought for."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from trainer.plan import yielding_threads as waits
from trainer.plan.yielding_threads import SpareTeam, yielding_threads

OPENMP = waits._gnu_openmp()
NEEDS_GNU = pytest.mark.skipif(OPENMP is None, reason="torch's OpenMP here is not GNU's")
NEEDS_DELAYS = pytest.mark.skipif(not waits._delays(), reason="the system reports no delays")


@pytest.fixture(autouse=True)
def _nobody_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waits, "_LOOK_SECONDS", 0.01)


class Teams:
    """Stands for spare teams; knows how many there are and have been."""

    open = 0
    all = 0

    def __init__(self, openmp: object) -> None:
        Teams.open += 1
        Teams.all += 1

    def close(self) -> None:
        Teams.open -= 1


@pytest.fixture
def teams(monkeypatch: pytest.MonkeyPatch) -> type[Teams]:
    Teams.open = Teams.all = 0
    monkeypatch.setattr(waits, "SpareTeam", Teams)
    monkeypatch.setattr(waits, "_gnu_openmp", lambda: object())
    return Teams


def _fought_for(share: Callable[[], float]) -> Callable[[], dict[str, float]]:
    """Return what the system says where threads wait for a share of the time."""
    waited, before = 0.0, time.monotonic()

    def delays() -> dict[str, float]:
        nonlocal waited, before
        now = time.monotonic()
        waited += share() * (now - before)
        before = now
        return {"1": waited}

    return delays


def _until(claim: Callable[[], bool]) -> None:
    for _ in range(60_000):  # rather than to wait for ever
        if claim():
            return
        time.sleep(0.001)
    pytest.fail("it never happened")


def test_a_team_is_there_only_while_cpus_are_fought_for(
    teams: type[Teams], monkeypatch: pytest.MonkeyPatch
) -> None:
    share = 1.0
    monkeypatch.setattr(waits, "_delays", _fought_for(lambda: share))
    with yielding_threads():
        _until(lambda: teams.open == 1)
        share = 0.0
        _until(lambda: teams.open == 0)
        share = 1.0
        _until(lambda: teams.open == 1)
        with yielding_threads():  # one look at a process is enough
            assert teams.all == 2
    assert (teams.open, teams.all) == (0, 2)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_alone_nothing_changes(
    share: float, teams: type[Teams], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def look() -> float:
        nonlocal looks
        looks += 1
        return share

    monkeypatch.setattr(waits, "_delays", _fought_for(look))
    with yielding_threads():
        _until(lambda: looks > 5)
    assert teams.all == 0


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_the_user_decides(name: str, teams: type[Teams], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "passive")
    monkeypatch.setattr(waits, "_delays", lambda: pytest.fail("nobody has to look"))
    with yielding_threads():
        assert not waits._watching.locked()


def test_where_the_system_tells_no_delays_nothing_is_done(
    teams: type[Teams], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_TASKS", Path("/no/such/folder"))
    with yielding_threads():
        assert not waits._watching.locked()


@NEEDS_DELAYS
def test_delays_are_those_of_this_process() -> None:
    assert str(os.getpid()) in waits._delays()
    assert all(seconds >= 0 for seconds in waits._delays().values())


@contextmanager
def _spare_team() -> Iterator[None]:
    team = SpareTeam(OPENMP)
    try:
        yield
    finally:
        team.close()


def _seconds_of_waiting() -> float:
    """CPU time that threads take after an operation, while there is nothing to do."""
    operand = torch.ones(1 << 20)
    found = []
    for _ in range(5):
        operand.add_(1)
        before = time.process_time()
        time.sleep(0.1)
        found.append(time.process_time() - before)
    return max(found)


@NEEDS_GNU
def test_a_spare_team_comes_and_goes() -> None:
    tasks = Path("/proc/self/task")
    before = set(tasks.iterdir())
    with _spare_team():
        assert len(set(tasks.iterdir()) - before) >= OPENMP.omp_get_num_procs() + 1
    _until(lambda: not set(tasks.iterdir()) - before)


WAITING = """
import os, sys
import torch
torch.set_num_threads(len(os.sched_getaffinity(0)))
sys.path.insert(0, sys.argv[1])
import test_yielding_threads as these
alone = these._seconds_of_waiting()
with these._spare_team():
    beside = these._seconds_of_waiting()
print(alone, beside, these._seconds_of_waiting())
"""


@NEEDS_GNU
@pytest.mark.matrix
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread has no other to wait for")
def test_beside_a_spare_team_threads_wait_a_small_part_as_long() -> None:
    """Holds libgomp to what is used of it. CPU time of a fixed number of pauses, not of a clock."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    done = subprocess.run(
        [sys.executable, "-c", WAITING, str(Path(__file__).parent)],
        env={name: value for name, value in os.environ.items() if name not in names},
        capture_output=True,
        text=True,
        check=True,
    )
    alone, beside, afterwards = map(float, done.stdout.split())
    assert beside < alone / 4
    assert beside < afterwards / 4
