import subprocess
import sys
from pathlib import Path

import pytest
import torch

CLAIMS = Path(__file__).with_name("cuda_claims.py")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_keeps_its_claims() -> None:
    # Without the shape checks of the other tests, which torch.compile does not look through.
    plain = ["-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-W", "default"]
    command = [sys.executable, "-m", "pytest", "-q", *plain, str(CLAIMS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
