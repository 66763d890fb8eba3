"""How OpenMP's threads wait: briefly, unless the user or an earlier import has decided it."""

import os
import subprocess
import sys

import pytest

from trainer.brief_waits import PAUSES, brief_waits

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.fixture
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_no_torch")
@pytest.mark.parametrize("is_command", [True, False])
def test_waits_are_bounded_while_torch_is_imported(is_command: bool) -> None:
    with brief_waits(is_command=is_command):
        assert os.environ["GOMP_SPINCOUNT"] == PAUSES
    assert os.environ.get("GOMP_SPINCOUNT") == (PAUSES if is_command else None)


@pytest.mark.usefixtures("_no_torch")
@pytest.mark.parametrize("name", NAMES)
def test_the_user_decides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "7")
    with brief_waits(is_command=True):
        assert [os.environ.get(one) for one in NAMES].count(None) == 1
        assert os.environ[name] == "7"


def test_what_is_loaded_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    before = dict(os.environ)
    with brief_waits(is_command=True):
        assert dict(os.environ) == before


ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in NAMES}


@pytest.mark.matrix
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp is Linux's")
@pytest.mark.parametrize("first", ["trainer", "torch"])
def test_openmp_itself_is_told_where_it_is_not_loaded_yet(first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {first}, trainer"],
        env=ENVIRONMENT | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = f"GOMP_SPINCOUNT = '{PAUSES}'" in done.stderr
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch's OpenMP here is no libgomp")
    assert told == (first == "trainer")
