"""Can anything be compiled here?

Stage: none; asked where kernels would pay, before they are imported. The plain way gives the same
result, more slowly. Not here: what would be compiled.
"""

import logging
from functools import cache

_log = logging.getLogger("bpe")


@cache
def can_compile() -> bool:
    """Whether Numba can be imported and compiles; where not, a warning says why, once."""
    reason = _why_not()
    if reason is not None:
        _log.warning("working in plain Python, which is far slower: %s", reason)
    return reason is None


def _why_not() -> str | None:
    try:
        from numba import config
    except ImportError as error:  # it needs parts of Python that a build may lack
        return f"numba cannot be imported ({error})"
    return "NUMBA_DISABLE_JIT is set" if config.DISABLE_JIT else None
