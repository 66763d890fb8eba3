"""Signals become requests; the second one acts as it always did."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from trainer.quiet_start import COMMANDS
from trainer.training.interrupts import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_remembered_and_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal is number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert stop.signal is signal.SIGINT


def test_a_deadline_is_a_request_without_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with StopRequest(deadline=6.0) as stop:
        assert not stop
        now = 6.0
        assert stop
        assert stop.signal is None


@pytest.mark.parametrize(("program", "status"), [("train", 130), ("python", 1)])
def test_ctrl_c_while_torch_is_imported_is_quiet_in_a_command(
    tmp_path: Path, program: str, status: int
) -> None:
    """A library leaves the interrupt to its caller."""
    torch = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass\n"
    (tmp_path / "torch.py").write_text(torch)
    code = f"import sys\nsys.argv[0] = '/bin/{program}'\nsys.path.insert(0, {str(tmp_path)!r})\n"
    code += "try:\n    from trainer.cli.commands import train\n"
    code += "except KeyboardInterrupt:\n    sys.exit(1)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(("program", "status"), [("train", 2), ("python", 1)])
def test_a_module_that_torch_lacks_is_named_in_one_line_by_a_command(
    tmp_path: Path, program: str, status: int
) -> None:
    """A library leaves the exception to its caller."""
    (tmp_path / "torch.py").write_text("import _not_built\n")
    code = f"import sys\nsys.argv[0] = '/bin/{program}'\nsys.path.insert(0, {str(tmp_path)!r})\n"
    code += (
        "try:\n    from trainer.cli.commands import train\nexcept ImportError:\n    sys.exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == status
    line = "error: No module named '_not_built'; install what is missing, or a Python that "
    assert done.stderr.startswith(line if program == "train" else "")
    assert done.stderr.count("\n") == (program == "train")


def test_every_command_starts_quietly() -> None:
    scripts = entry_points(group="console_scripts")
    assert {
        script.name for script in scripts if script.module == "trainer.cli.commands"
    } <= COMMANDS
