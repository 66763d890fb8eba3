"""Locks between processes, also where Python was built without fcntl."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.storage import file_lock

TRY = """
import importlib.util, sys
from pathlib import Path

if sys.argv[2] == "without":
    sys.modules["fcntl"] = None
spec = importlib.util.spec_from_file_location("file_lock", sys.argv[1])
file_lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(file_lock)
try:
    with file_lock.exclusive_lock(Path(sys.argv[3]), what="it") as stale:
        print("held", stale)
except file_lock.InUseError as error:
    print(error)
"""


def try_elsewhere(path: Path, how: str) -> str:
    source = importlib.util.find_spec("trainer.storage.file_lock").origin
    command = [sys.executable, "-c", TRY, source, how, str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a kind of lock of its own")
@pytest.mark.parametrize("how", ["with", "without"])
def test_a_second_process_is_refused_and_told_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "without":
        monkeypatch.setattr(file_lock, "fcntl", None)
    path = tmp_path / "run.lock"
    path.write_text('{"pid": 7, "host": "gone"}')
    with file_lock.exclusive_lock(path, what="it") as stale:
        assert stale == "process 7 on gone"
        assert try_elsewhere(path, how).startswith("it is in use by process ")
    assert try_elsewhere(path, how) == "held None\n"
