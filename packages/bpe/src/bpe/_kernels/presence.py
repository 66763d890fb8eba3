"""Report whether anything can be compiled here.

Stage: none; asked where kernels would pay, before they are imported. Without a compiler, plain
Python gives the same result more slowly. Not here: what would be compiled.
"""

import logging
from functools import cache

_log = logging.getLogger("bpe")


@cache
def can_compile() -> bool:
    """Whether Numba can be imported and compiles; if not, a warning gives the reason, once."""
    reason = _why_not()
    if reason is not None:
        _log.warning("working in plain Python, which is far slower: %s", reason)
    return reason is None


def _why_not() -> str | None:
    try:
        from numba import config
    except ImportError as error:  # numba needs parts of Python that a build may lack
        return f"numba cannot be imported ({error})"
    is_disabled = config.DISABLE_JIT  # pyright: ignore[reportAttributeAccessIssue] set at run time
    return "NUMBA_DISABLE_JIT is set" if is_disabled else None
