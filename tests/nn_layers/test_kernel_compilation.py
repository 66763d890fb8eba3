"""Whether the kernels compile for an H100 and fit into one of its multiprocessors; needs no GPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need triton")

H100_SHARED_BYTES = 227 * 1024  # the most one block may have
SPILLED_BYTES = 64
COMPILE = Path(__file__).with_name("compile_kernel.py")


def _compile(kernel: str, *arguments: str) -> dict[str, int]:
    # Its own process: whether kernels are interpreted is settled when triton is first imported.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(COMPILE), kernel, *arguments],
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["forward", "queries", "keys"])
@pytest.mark.parametrize("width", ["16", "32", "64", "128"])
@pytest.mark.parametrize("rotation", ["0", "1", "2"])
def test_attention_kernels_compile_and_fit(kernel: str, width: str, rotation: str) -> None:
    used = _compile(kernel, width, rotation)
    assert used["shared"] <= H100_SHARED_BYTES
    assert used["stack"] <= SPILLED_BYTES, "registers spill to memory"
    assert used["tensor_cores"]


@pytest.mark.slow
def test_the_loss_kernel_compiles_and_keeps_its_registers() -> None:
    used = _compile("loss")
    assert used["stack"] == 0
    assert used["registers"] <= 64, "fewer than four blocks of 8 warps a multiprocessor"
