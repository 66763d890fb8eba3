"""What does a word of the command line mean, where several subjects ask?

Stage: word -> *value*, for `type=` of argparse.
"""

import argparse


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    >>> positive("3")
    3

    Raises:
        ValueError: not a whole number.
        argparse.ArgumentTypeError: below 1.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; must be at least 1")
    return number
