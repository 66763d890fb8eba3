import pytest


@pytest.fixture(autouse=True)
def _is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands without extras, so that they do not restart through `uv run`."""
    monkeypatch.delenv("UV", raising=False)
