"""What becomes of a command whose standard streams are closed, or cannot spell its text?

Stage: none; every command begins with this. Not here: what is written to them.
"""

import os
import sys


def repair_streams() -> None:
    """Replace closed standard streams by the null device; escape what an encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open to the end
    # File names may be no UTF-8 either.
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
