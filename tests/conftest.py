"""Settings of all tests: no test fails because the machine is busy."""

import os

import pytest
from hypothesis import settings

settings.register_profile("no deadlines", deadline=None)
settings.load_profile("no deadlines")

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process a core: threads of torch on top would only wait for each other. Children inherit.
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run campaigns at their full length")
    parser.addoption("--kills", type=int, help="length of the campaign of random kills")
    parser.addoption("--seed", type=int, default=0, help="first seed of random campaigns")
    parser.addoption("--seconds", type=float, help="length of the campaign that looks for leaks")


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether campaigns try everything, rather than an even sample."""
    return request.config.getoption("--full")
