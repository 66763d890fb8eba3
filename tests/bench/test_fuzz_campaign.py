"""A small campaign: one second per target of what `bench fuzz` does for hours."""

from pathlib import Path

import pytest

from bench.fuzzing.campaign import Tally, run_campaign
from bench.fuzzing.targets import TARGETS

_SECONDS = 1.5


@pytest.mark.campaign
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_a_finding(name: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    tally = Tally(target=name, first_seed=10**9)  # seeds that no campaign has come to
    run_campaign(
        {name: TARGETS[name].load()(tmp_path / "work")},
        {name: tally},
        is_over=lambda tally: tally.seconds > _SECONDS,
        keep_in=tmp_path / "findings",
        say=print,
    )
    assert tally.findings == []
    assert tally.num_inputs > 0
