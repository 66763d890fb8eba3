"""Print progress to stderr and tables to stdout.

Stage: none; every subject does. Not here: what is printed.
"""

import sys

from rich.console import Console


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def table_console(width: int) -> Console:
    """Return a console for tables; as wide as the terminal, or as asked where there is none."""
    return Console(width=None if Console().is_terminal else width)
