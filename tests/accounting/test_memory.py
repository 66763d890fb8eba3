"""Memory predicted against memory allocated: every prediction is held to torch's allocator."""

import pytest
import torch

from accounting import memory
from bench.calculators.cases import CASES, NATIVE_CASES, case, describe_case
from bench.calculators.measured import measure_step
from nn_layers.backends.cpu.kernels import why_no_native_kernels

LEFT_OUT = 0.05
"""What a prediction may be off by."""


@pytest.mark.parametrize(
    ("switches", "choices"), CASES, ids=[describe_case(*changes) for changes in CASES]
)
def test_the_peak_is_what_torch_allocates(
    switches: dict[str, object], choices: dict[str, object]
) -> None:
    shape, settings = case(switches, choices)
    predicted, measured = memory(shape, settings), measure_step(shape, settings)
    assert predicted.activations == pytest.approx(measured.kept, rel=LEFT_OUT)
    assert predicted.peak == pytest.approx(measured.peak, rel=LEFT_OUT)


@pytest.mark.skipif(
    why_no_native_kernels(torch.bfloat16) is not None, reason="this CPU has no own kernels"
)
@pytest.mark.parametrize(
    ("switches", "choices"),
    [
        pytest.param(*changes, marks=[] if index in (0, 3) else pytest.mark.matrix)
        for index, changes in enumerate(NATIVE_CASES)
    ],
    ids=[describe_case(*changes) for changes in NATIVE_CASES],
)
def test_own_kernels_allocate_what_is_predicted(
    switches: dict[str, object], choices: dict[str, object]
) -> None:
    shape, settings = case(switches, choices)
    predicted, measured = memory(shape, settings), measure_step(shape, settings)
    assert predicted.activations == pytest.approx(measured.kept, rel=LEFT_OUT)
    assert predicted.peak == pytest.approx(measured.peak, rel=0.01)


def test_no_fewer_than_thirty_are_held() -> None:
    assert len(CASES) >= 30
