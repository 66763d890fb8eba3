"""Compile kernels, cache them on disk and find them again.

Stage: none; every kernel is compiled here. Numba keeps machine code beside the source, or in the
user's cache directory if that is read-only, one file per CPU model; if neither is writable, each
process compiles for itself. Numba itself checks only the file that defines a function, so after an
edit of a helper elsewhere it would load stale code: here the key is a hash of all kernel sources.
Not here: what the kernels do, and whether a file on disk may be loaded (`keeping`).
"""

import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit, types

from bpe._kernels.keeping import NOT_KEPT, KernelCache, report

_HERE = Path(__file__).parent
_OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
_OPTIONS |= {"no_rewrites": True, "no_cfunc_wrapper": True}  # these would gain nothing here
# Functions that only kernels call need no entry for Python, a quarter of the compile time.
_FOR_KERNELS: dict[str, Any] = {"no_cpython_wrapper": True}
_SECONDS_WORTH_LOGGING = 1.0

_log = logging.getLogger("bpe")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is cached on disk if possible."""
    dispatcher = _without_literals(njit(**_OPTIONS)(function))
    with suppress(RuntimeError):  # then it is not cached, see `announced`
        stamp = sources_stamp(_kernels_of(Path(inspect.getfile(function))))
        dispatcher._cache = KernelCache(function, stamp)
    return dispatcher


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call; it is cached as a part of each of them.

    It has no entry for Python: calling it from there crashes the process.
    """
    return _without_literals(njit(**_OPTIONS, **_FOR_KERNELS)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a helper into each place that calls it; likewise not callable from Python."""
    return _without_literals(njit(forceinline=True, **_OPTIONS, **_FOR_KERNELS)(function))


def _without_literals(dispatcher: Any) -> Any:
    """Make calls with a literal number share the code for any number.

    Numba would compile a function again for each number that is passed as a literal.
    """
    resolve = dispatcher.get_call_template

    def resolve_without_literals(args: Any, keywords: Any) -> Any:
        return resolve(tuple(map(types.unliteral, args)), keywords)

    dispatcher.get_call_template = resolve_without_literals
    return dispatcher


def are_ready(*kernels: Any) -> bool:
    """Whether the kernels run at once: compiled in this process, or cached on disk for this CPU."""
    return all(_is_ready(dispatcher) for dispatcher in kernels)


def _is_ready(dispatcher: Any) -> bool:
    if dispatcher.signatures:
        return True
    target = dispatcher.targetctx.codegen().magic_tuple()
    return _is_kept(dispatcher) and dispatcher._cache.holds(target)


def _is_kept(dispatcher: Any) -> bool:
    return isinstance(dispatcher._cache, KernelCache)


@contextmanager
def announced(name: str, *kernels: Any) -> Iterator[None]:
    """Log that the first calls in this block compile, and how long that took."""
    if are_ready(*kernels):
        yield
        return
    if all(map(_is_kept, kernels)):
        _log.warning("compiling the %s kernels: a few seconds, once per machine", name)
    else:
        _log.warning("compiling the %s kernels: a few seconds", name)
        report(NOT_KEPT.format(reason="no folder for it is writable"))
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    if seconds > _SECONDS_WORTH_LOGGING:
        _log.info("compiled the %s kernels in %.1f s", name, seconds)


def _kernels_of(source: Path) -> Path:
    """Return the folder of all kernels of the package that a source belongs to."""
    return next((one for one in source.parents if one.name == _HERE.name), source.parent)


@cache
def sources_stamp(directory: Path) -> str:
    """Return a hash of the kernel sources in `directory` and this folder, and of the compiler."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}\n".encode())
    for path in sorted({*_HERE.rglob("*.py"), *directory.rglob("*.py")}):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
