"""Build C++ for this machine's CPU, once, and load it.

Stage: source file -> *shared library in a cache folder* -> functions, called by ctypes. The
machine's own compiler builds it in seconds, for every instruction of the CPU.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from functools import cache, partial
from pathlib import Path

from nn_layers.backends.cpu.library_cache import find_library, make_library, report_once

# Without reordering of sums, no reduction would be vectorised; NaN and infinity keep their meaning.
# Not -ffast-math: in a library, it turns off denormal numbers for the whole process.
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)


class NativeError(RuntimeError):
    """The compiled code is not available; the message holds why and what to do."""


def is_built(source: Path) -> bool:
    """Whether the library exists already, whole and ours, so that using it costs nothing."""
    compiler = find_compiler()
    try:
        return compiler is not None and find_library(_name(source, compiler)) is not None
    except OSError:  # `build` reports it
        return False


def build(source: Path) -> ctypes.CDLL:
    """Return the library of a source file, compiled first if necessary.

    Raises:
        NativeError: there is no C++ compiler, it fails, or the cache folder cannot be written.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NativeError(
            f"{source.name} needs a C++ compiler, and there is none (CXX, g++, clang++); install "
            "one, or use another path"
        )
    try:
        name = _name(source, compiler)
        path = find_library(name) or make_library(name, partial(_compile, source, compiler))
    except OSError as error:
        raise NativeError(
            f"{source.name} cannot be built below the cache folder: {error}; set XDG_CACHE_HOME "
            "to a folder that can be written, or use another path"
        ) from error
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(
            f"{path} cannot be loaded: {error}; set XDG_CACHE_HOME to a folder that libraries may "
            "be loaded from, or use another path"
        ) from error


def find_compiler() -> str | None:
    """Return the command of a C++ compiler, or None if there is none.

    CXX may have arguments, as in `ccache g++`; if it names no program, the others are tried.
    """
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next((name for name in names if name and shutil.which(_words(name)[0])), None)


def _words(command: str) -> list[str]:
    """Split a command as a shell does, unless it is one path or has an open quote."""
    if shutil.which(command):
        return [command]
    try:
        return shlex.split(command) or [command]
    except ValueError:
        return [command]


def cpu_flags() -> frozenset[str]:
    """Return the CPU's features by Linux's names; none on a system that does not list them."""
    lines = [line for line in _cpu_lines() if line.startswith(("flags", "Features"))]
    return frozenset(lines[0].split()) if lines else frozenset()


def _name(source: Path, compiler: str) -> str:
    """Name the library by everything that it depends on; the CPU counts for -march=native."""
    read = [source, *sorted(source.parent.glob("*.h"))]
    parts = [one.read_text(encoding="utf-8") for one in read]
    parts += [*_describe_compiler(compiler), *_FLAGS, _describe_cpu()]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return f"{source.stem.replace('_', '-')}-{key}"


@cache
def _describe_compiler(compiler: str) -> tuple[str, ...]:
    """Return the command, the path of its program, and its version."""
    words = _words(compiler)
    version = _run([*words, "--version"]).stdout.partition("\n")[0]
    return compiler, str(shutil.which(words[0])), version


def _describe_cpu() -> str:
    kept = [line for line in _cpu_lines() if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.machine(), platform.processor(), *dict.fromkeys(kept)])


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


def _compile(source: Path, compiler: str, to: Path) -> None:
    asked = os.environ.get("CXX")
    if asked and asked != compiler:
        report_once(f"CXX is {asked!r}, which is not a program here: building with {compiler}")
    # Apple's clang has no OpenMP, and gets one thread.
    for openmp in (["-fopenmp"], []):
        done = _run([*_words(compiler), *_FLAGS, *openmp, str(source), "-o", str(to)])
        if done.returncode == 0 and to.exists():
            return
    message = (done.stderr.strip().splitlines() or ["no message"])[0]
    raise NativeError(
        f"{compiler} cannot build {source.name}: {message}; set CXX to another compiler, or use "
        "another path"
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    how = {"stdin": subprocess.DEVNULL, "capture_output": True}
    return subprocess.run(command, encoding="utf-8", errors="replace", check=False, **how)
