import pytest


@pytest.fixture(autouse=True)
def _is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands do without extras: else they would go on as another process, by `uv run`."""
    monkeypatch.delenv("UV", raising=False)
