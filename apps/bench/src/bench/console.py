"""Print progress to stderr and tables to stdout.

Stage: none; every subject does. Not here: what is printed.
"""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def print_problems(problems: Iterable[str]) -> int:
    """Print problems to stderr; return the exit code, 1 if there is any."""
    found = list(problems)
    for problem in found:
        say(f"PROBLEM: {problem}")
    return 1 if found else 0


def table_console(width: int) -> Console:
    """Return a console for tables; as wide as the terminal, or as requested without one."""
    return Console(width=None if Console().is_terminal else width)


def new_table(title: str, *columns: str, left: int = 1) -> Table:
    """Return an empty table; columns after the first `left` are aligned to the right."""
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right")
    return table
