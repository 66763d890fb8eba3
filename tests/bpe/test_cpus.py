"""How many CPUs a process may use: affinity, quotas of cgroups, Slurm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpe.counting.cpus import affinity_cpus, usable_cpus

MANY = 64


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of many CPUs; its cgroups, as `own` says that this process is in them."""
    monkeypatch.setattr("bpe.counting.cpus.affinity_cpus", lambda: MANY)
    return tmp_path / "cgroup"


def _found(groups: Path, own: str, files: dict[str, str], **environ: str) -> int:
    for name, content in files.items():
        path = groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    groups.mkdir(exist_ok=True)
    (groups.parent / "own").write_text(own)
    return usable_cpus(environ=environ, own_cgroups=groups.parent / "own", cgroups=groups)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, MANY),
        ("0::/\n", {}, MANY),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "400000 100000\n"}, 3),
        ("0::/outside/the/container\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/../other\n", {"cpu.max": "300000 100000\n"}, 3),
        (
            "4:cpu,cpuacct:/a\n0::/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/a/cpu.cfs_period_us": "20000"},
            3,
        ),
        ("1:cpu:/a\n", {"cpu/cpu.cfs_quota_us": "8", "cpu/cpu.cfs_period_us": "2"}, 4),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, MANY),
        ("2:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "8", "cpuset/cpu.cfs_period_us": "2"}, MANY),
        ("9:name=systemd:/a:b\n", {}, MANY),
        ("0::/\n", {"cpu.max": "nonsense\n"}, MANY),
        ("0::/\n", {"cpu.max": "100000 0\n"}, MANY),
    ],
)
def test_quotas_bound_what_is_used(
    groups: Path, own: str, files: dict[str, str], expected: int
) -> None:
    assert _found(groups, own, files) == expected


@pytest.mark.parametrize(
    ("allotted", "expected"), [("3", 3), ("0", 1), ("", MANY), ("x", MANY), ("99", MANY)]
)
def test_an_allotment_of_slurm_bounds_what_is_used(
    groups: Path, allotted: str, expected: int
) -> None:
    assert _found(groups, "", {}, SLURM_CPUS_PER_TASK=allotted) == expected


def test_without_affinity_all_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert affinity_cpus() == os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_a_process_bound_to_one_cpu_uses_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from bpe.counting.corpus import check_num_threads as to_count\n"
        "from tokenizer.batch import check_num_threads as to_encode\n"
        "print(to_count(None, name='num_workers'), to_encode(None, name='num_threads'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]
