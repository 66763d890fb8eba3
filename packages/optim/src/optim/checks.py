"""Refuse values and gradients that no optimizer here can use.

Stage: none; every optimizer uses them.
"""


def require_at_least_zero(**values: float) -> None:
    """Raise a ValueError that names the first negative or NaN value."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} is {value}, but must be >= 0")
