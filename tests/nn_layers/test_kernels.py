import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nn_layers import (
    MultiHeadSelfAttention,
    head_loss,
    rotary_attention,
    why_no_kernels,
    why_no_rotary_attention,
)

CLAIMS = Path(__file__).with_name("kernel_claims.py")


@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_kernels_keep_their_claims_under_the_interpreter(marked: str) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("the kernels need triton")
    # Without the shape checks of the other tests, which torch.compile does not look through.
    plain = ["-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-W", "default"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", marked, *plain, str(CLAIMS)]
    done = subprocess.run(
        command,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_the_kernels_say_why_they_cannot_run() -> None:
    cpu = torch.device("cpu")
    assert "need a CUDA device, and this is cpu" in why_no_kernels(cpu)
    for device in (cpu, torch.device("cuda")):
        assert "supports head widths" in why_no_rotary_attention(
            device, width=24, dtype=torch.float32
        )
        assert "float64" in why_no_rotary_attention(device, width=32, dtype=torch.float64)
    layer = MultiHeadSelfAttention(32, 2, attention="triton")
    with pytest.raises(ValueError, match="attention is triton, but the kernel of cpu is native"):
        layer(torch.zeros(1, 3, 32))


def test_a_width_without_a_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="one of the widths"):
        rotary_attention(torch.zeros(1, 3, 60), num_heads=1, num_kv_heads=1, tables=None)


def test_short_rotary_tables_are_refused() -> None:
    table = torch.zeros(2, 8)
    with pytest.raises(ValueError, match="do not fit 3 positions"):
        rotary_attention(torch.zeros(1, 3, 48), num_heads=1, num_kv_heads=1, tables=(table, table))


def test_a_head_of_another_type_is_refused() -> None:
    hidden, weight = torch.zeros(3, 4, dtype=torch.bfloat16), torch.zeros(5, 4)
    with pytest.raises(ValueError, match=r"do not fit; give \(\.\.\., d\), \(v, d\) of one type"):
        head_loss(hidden, weight, torch.arange(3))
