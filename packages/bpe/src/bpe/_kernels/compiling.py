"""How does a kernel get compiled, kept and found again?

Stage: none; every kernel goes through here. Numba keeps machine code beside the source, or in the
user's cache directory where that is read-only, one file a CPU model; where neither can be written,
each process compiles for itself. By itself it looks only at
the file that defines a function, so an edit of a helper elsewhere would serve stale code: here
the key is a hash of all kernel sources. Not here: what the kernels do, and whether what lies on
disk may be loaded (`keeping`).
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
_OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
_OPTIONS |= {"no_rewrites": True, "no_cfunc_wrapper": True}  # nothing is gained by these here
# What only kernels call has no entry for Python, which would take a quarter of the compiling.
_FOR_KERNELS = {"no_cpython_wrapper": True}
_SECONDS_WORTH_A_WORD = 1.0

_log = logging.getLogger("bpe")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk, if that can be."""
    dispatcher = _without_literals(njit(**_OPTIONS)(function))
    with suppress(RuntimeError):  # it is not kept then, see `announced`
        stamp = sources_stamp(_kernels_of(Path(inspect.getfile(function))))
        dispatcher._cache = KernelCache(function, stamp)
    return dispatcher


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call; it is kept as a part of each of them.

    It has no entry for Python: called from there, it takes the process down.
    """
    return _without_literals(njit(**_OPTIONS, **_FOR_KERNELS)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a helper into each place that calls it; likewise not for Python."""
    return _without_literals(njit(forceinline=True, **_OPTIONS, **_FOR_KERNELS)(function))


def _without_literals(dispatcher: Any) -> Any:
    """Have calls with a literal number share the code of those with any number.

    Numba would compile a function anew for each number that is passed to it as a literal.
    """
    resolve = dispatcher.get_call_template

    def resolve_without_literals(args: Any, keywords: Any) -> Any:
        return resolve(tuple(map(types.unliteral, args)), keywords)

    dispatcher.get_call_template = resolve_without_literals
    return dispatcher


def are_ready(*kernels: Any) -> bool:
    """Whether the kernels run at once: compiled in this process, or kept for this CPU on disk."""
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
    """Say in one line that the first calls in this block compile, and what it took."""
    if are_ready(*kernels):
        yield
        return
    if all(map(_is_kept, kernels)):
        _log.warning("compiling the %s kernels, once for this machine; some seconds", name)
    else:
        _log.warning("compiling the %s kernels; some seconds", name)
        report(NOT_KEPT.format(reason="no folder for it can be written"))
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    if seconds > _SECONDS_WORTH_A_WORD:
        _log.info("compiled the %s kernels in %.1f s", name, seconds)


def _kernels_of(source: Path) -> Path:
    """Return the folder of all kernels of a package, which a source may lie deep inside."""
    return next((one for one in source.parents if one.name == _HERE.name), source.parent)


@cache
def sources_stamp(directory: Path) -> str:
    """Return a hash of the kernel sources in `directory` and in this one, and of the compiler."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}\n".encode())
    for path in sorted({*_HERE.rglob("*.py"), *directory.rglob("*.py")}):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
