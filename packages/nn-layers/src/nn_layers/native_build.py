"""Build C++ for this machine's CPU, once, and load it.

Stage: source file -> *shared library in a cache folder* -> functions, called by ctypes. It is built
in seconds by the machine's own compiler, for all that its CPU can do; CPU only.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

# Sums may be reordered, or no reduction is vectorised; NaN and infinity keep their meaning. Not
# -ffast-math: linked into a library, it turns off denormal numbers for the whole process.
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)


class NativeError(RuntimeError):
    """The compiled code cannot be had; the message says why and what to do."""


def is_built(source: Path) -> bool:
    """Whether the library is there already, so that having it costs nothing."""
    compiler = find_compiler()
    return compiler is not None and os.access(_library_path(source, compiler), os.R_OK)


def build(source: Path) -> ctypes.CDLL:
    """Return the library of a source file, after compiling it where it is not there yet.

    Raises:
        NativeError: there is no C++ compiler, it fails, or the cache folder cannot be written.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NativeError(
            f"{source.name} needs a C++ compiler, and there is none (CXX, g++, clang++); install "
            "one, or do without"
        )
    path = _library_path(source, compiler)
    if not is_built(source):
        try:
            _compile(source, compiler, path)
        except OSError as error:
            raise NativeError(
                f"{source.name} cannot be built below {path.parent}: {error}; set XDG_CACHE_HOME "
                "to a folder that can be written, or do without"
            ) from error
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"{path} cannot be loaded: {error}; delete it") from error


def find_compiler() -> str | None:
    """Return the C++ compiler that is there, None where there is none."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next((name for name in names if name and shutil.which(name)), None)


def cpu_flags() -> frozenset[str]:
    """Return what the CPU can do, in Linux's words; nothing where the system does not say."""
    lines = [line for line in _cpu_lines() if line.startswith(("flags", "Features"))]
    return frozenset(lines[0].split()) if lines else frozenset()


def _library_path(source: Path, compiler: str) -> Path:
    """Name the library by all it follows from; the CPU is in it, because of -march=native."""
    read = [source, *sorted(source.parent.glob("*.h"))]
    told = [*(one.read_text(encoding="utf-8") for one in read), compiler, *_FLAGS, _describe_cpu()]
    key = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "nn-layers"
    return folder / f"{source.stem.replace('_', '-')}-{key}.so"


def _describe_cpu() -> str:
    told = [line for line in _cpu_lines() if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.machine(), platform.processor(), *dict.fromkeys(told)])


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []


def _compile(source: Path, compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        beside = Path(folder, path.name)
        # Apple's clang has no OpenMP: one thread then.
        for openmp in (["-fopenmp"], []):
            command = [compiler, *_FLAGS, *openmp, str(source), "-o", str(beside)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                beside.replace(path)
                return
    said = (done.stderr.strip().splitlines() or ["no message"])[0]
    raise NativeError(
        f"{compiler} cannot build {source.name}: {said}; set CXX to another compiler, or do without"
    )
