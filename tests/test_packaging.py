"""Packaging: each package installs alone, from a wheel or from git, and declares what it needs.

Environments are made by uv, from its cache where that holds everything, else from the package
index; the tests that need them skip where uv is missing or neither can serve. Nothing is copied:
files are symlinks into uv's cache, torch's included, which `uv run --all-packages` has put there
(so `nn-layers` and `optim` get a real torch in a second or two, with no download).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEMBERS = sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml"))
EXAMPLES = {
    "accounting": """
        from accounting import PRESETS, count_parameters
        assert count_parameters(PRESETS["gpt2-xl"]).total == 2_127_057_600
    """,
    "bpe": """
        from pathlib import Path
        from bpe import train_bpe
        Path("corpus.txt").write_text("low low low lower lower<|endoftext|>widest newest")
        vocab, merges = train_bpe("corpus.txt", 260, ["<|endoftext|>"])
        assert merges == [(b"o", b"w"), (b"l", b"ow"), (b" ", b"low")], merges
    """,
    "tokenizer": """
        from tokenizer import Tokenizer
        vocab = dict(enumerate([*(bytes([i]) for i in range(256)), b"lo", b"low"]))
        tokenizer = Tokenizer(vocab, [(b"l", b"o"), (b"lo", b"w")])
        assert tokenizer.encode("lower") == [257, *b"er"]
        assert tokenizer.decode([257, *b"er"]) == "lower"
    """,
    "nn-layers": """
        import torch
        from nn_layers import ModelConfig, TransformerLM, cross_entropy
        model = TransformerLM(ModelConfig(50, 8, d_model=8, num_layers=1, num_heads=2, d_ff=8))
        ids = torch.arange(8)[None]
        cross_entropy(model(ids), ids).backward()
    """,
    "optim": """
        import torch
        from optim import AdamW, clip_gradients_
        weight = torch.nn.Parameter(torch.ones(3))
        weight.square().sum().backward()
        clip_gradients_([weight], 1.0)
        AdamW([weight], lr=0.1).step()
        assert bool((weight < 1).all())
    """,
}
WITHOUT_TORCH = ["accounting", "bpe", "tokenizer"]
NEEDS = {
    "accounting": set(),
    "bpe": {"numpy", "numba", "regex"},
    "tokenizer": {"bpe", "numpy", "numba", "regex"},
    "nn-layers": {"torch", "einops", "jaxtyping"},
    "optim": {"torch", "jaxtyping"},
    "trainer": {
        *("accounting", "bpe", "tokenizer", "nn-layers", "optim"),
        *("safetensors", "numpy", "tyro", "rich"),
    },
}
PEERS = {"gigatoken", "rustbpe", "sentencepiece", "tiktoken", "tokenizers", "transformers"}
IMPORT_ALL = """
    import importlib, pkgutil, sys
    package = importlib.import_module(sys.argv[1])
    assert "site-packages" in package.__file__, package.__file__
    for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + "."):
        importlib.import_module(module.name)
"""
INSTALLED = """
    import json
    from importlib.metadata import distributions
    print(json.dumps({d.name: d.read_text("direct_url.json") for d in distributions()}))
"""


def _project(member: Path) -> dict:
    return tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _environment() -> dict[str, str]:
    """The settings of this process, less what points at its own environment or repository."""
    ours = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "PYTHONPATH")
    ours += ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # a git hook sets these
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    day = root["tool"]["uv"]["exclude-newer"]
    return kept | {"UV_EXCLUDE_NEWER": day, "UV_LINK_MODE": "symlink"}


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=_environment(), capture_output=True, text=True)


def _uv(*arguments: str | Path, cwd: Path) -> None:
    """Run uv from its cache, else from the package index; skip where neither can serve."""
    found = shutil.which("uv")
    if found is None and find_spec("uv") is None:
        pytest.skip("uv is not installed")
    command = [found] if found else [sys.executable, "-m", "uv"]
    for mode in (["--offline"], []):
        done = _run(*command, *arguments, *mode, cwd=cwd)
        if done.returncode == 0:
            return
    if "error sending request" in done.stderr:
        pytest.skip("not in uv's cache, and the package index cannot be reached")
    pytest.fail(done.stderr)


def _git(*arguments: str, cwd: Path) -> str:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    done = _run("git", *arguments, cwd=cwd)
    if done.returncode:
        pytest.skip(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment that holds the package `name` and what it needs."""

    name: str
    bin: Path

    def run(self, code: str, *arguments: str) -> str:
        """Run Python code there, isolated from this process's paths, and give its output."""
        body = "if True:\n" + code  # the code is indented
        done = _run(self.bin / "python", "-I", "-c", body, *arguments, cwd=self.bin.parent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def installed(self) -> dict[str, dict | None]:
        """Each installed distribution, and where it came from if that is not the index."""
        found = json.loads(self.run(INSTALLED))
        return {name: url and json.loads(url) for name, url in found.items()}


@pytest.fixture(scope="module", params=EXAMPLES)
def alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """A package built as a wheel and installed with nothing but what it declares."""
    name, folder = request.param, tmp_path_factory.mktemp("alone")
    ours = [name, *(NEEDS[name] & set(EXAMPLES))]  # the index's `bpe` is another project's
    for package in ours:
        _uv("build", "--wheel", "--out-dir", "wheels", ROOT / "packages" / package, cwd=folder)
    wheels = sorted(folder.glob("wheels/*.whl"))
    assert len(wheels) == len(ours)
    _uv("venv", "--python", sys.executable, "venv", cwd=folder)
    _uv("pip", "install", "--python", "venv", "-c", ROOT / "requirements.lock", *wheels, cwd=folder)
    yield Environment(name=name, bin=folder / "venv" / "bin")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Commit the working tree, as it is now, to a repository of its own; its address for pip."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    folder = tmp_path_factory.mktemp("repository")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # a tracked file may have been removed since
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    author = ("-c", "user.name=test", "-c", "user.email=test", "-c", "commit.gpgsign=false")
    _git("init", "--quiet", cwd=folder)
    _git("add", "--all", "--force", cwd=folder)
    _git(*author, "commit", "--quiet", "--no-verify", "-m", "snapshot", cwd=folder)
    return f"git+{folder.as_uri()}"


def test_a_package_works_alone(alone: Environment) -> None:
    alone.run(EXAMPLES[alone.name])


def test_every_module_of_a_package_imports_alone(alone: Environment) -> None:
    alone.run(IMPORT_ALL, alone.name.replace("-", "_"))


def test_a_package_brings_no_other_package_of_ours(alone: Environment) -> None:
    members = {_project(member)["name"] for member in MEMBERS}
    assert set(alone.installed()) & members == {alone.name} | NEEDS[alone.name] & members


def test_the_commands_of_a_package_say_how_they_are_used(alone: Environment) -> None:
    for command in _project(ROOT / "packages" / alone.name).get("scripts", ()):
        done = _run(alone.bin / command, "--help", cwd=alone.bin)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {command}")


def test_a_wheel_says_that_it_is_typed(alone: Environment) -> None:
    name = alone.name.replace("-", "_")
    assert list(alone.bin.parent.glob(f"lib/*/site-packages/{name}/py.typed"))


@pytest.mark.parametrize("alone", WITHOUT_TORCH, indirect=True)
def test_a_package_without_tensors_brings_no_torch(alone: Environment) -> None:
    assert "torch" not in alone.installed()
    alone.run("    from importlib.util import find_spec; assert find_spec('torch') is None")


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_uv_adds_a_package_from_git(name: str, repository: str, tmp_path: Path) -> None:
    _uv("init", "--bare", "--no-workspace", "--name", "other", cwd=tmp_path)
    requirement = f"{name} @ {repository}#subdirectory=packages/{name}"
    _uv("add", "--python", sys.executable, requirement, cwd=tmp_path)
    other = Environment(name=name, bin=tmp_path / ".venv" / "bin")
    other.run(EXAMPLES[name])
    assert other.installed()[name]["subdirectory"] == f"packages/{name}"


def test_tokenizer_from_git_brings_the_bpe_beside_it(repository: str, tmp_path: Path) -> None:
    _uv("init", "--bare", "--no-workspace", "--name", "other", cwd=tmp_path)
    requirement = f"tokenizer @ {repository}#subdirectory=packages/tokenizer"
    _uv("add", "--python", sys.executable, requirement, cwd=tmp_path)
    installed = Environment(name="tokenizer", bin=tmp_path / ".venv" / "bin").installed()
    assert installed["bpe"] == {**installed["tokenizer"], "subdirectory": "packages/bpe"}
    assert installed["bpe"]["url"] == repository.removeprefix("git+")


def test_pip_installs_bpe_and_tokenizer_from_git(repository: str, tmp_path: Path) -> None:
    names = ("bpe", "tokenizer")
    requirements = [f"{name} @ {repository}#subdirectory=packages/{name}" for name in names]
    _uv("venv", "--python", sys.executable, "venv", cwd=tmp_path)
    _uv("pip", "install", "--python", "venv", *requirements, cwd=tmp_path)
    environment = Environment(name="tokenizer", bin=tmp_path / "venv" / "bin")
    for name in names:
        environment.run(EXAMPLES[name])
        assert environment.installed()[name]["url"] == repository.removeprefix("git+")


def test_every_package_is_held_here() -> None:
    assert {member.name for member in MEMBERS if member.parent.name == "packages"} == set(EXAMPLES)


@pytest.mark.parametrize("name", NEEDS)
def test_a_member_declares_exactly_what_the_architecture_says(name: str) -> None:
    (project,) = (project for project in map(_project, MEMBERS) if project["name"] == name)
    declared = [re.match(r"[\w.-]+", need)[0] for need in project["dependencies"]]
    assert sorted(declared) == sorted(NEEDS[name])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_member_says_who_may_use_it_and_how(member: Path) -> None:
    project = _project(member)
    assert project["name"] == member.name
    assert project["license"] == "MIT"
    assert project["readme"] == "README.md"
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert "Typing :: Typed" in project["classifiers"]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_member_has_its_own_documents(member: Path) -> None:
    typed = Path("src", member.name.replace("-", "_"), "py.typed")
    missing = [str(p) for p in ("README.md", "CHANGELOG.md", typed) if not (member / p).is_file()]
    assert missing == []


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_member_configures_no_tool_but_uv(member: Path) -> None:
    settings = tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(settings) - {"tool"} == {"project", "build-system"}
    assert set(settings.get("tool", ())) <= {"uv"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_package_depends_on_a_peer(name: str) -> None:
    project = _project(ROOT / "packages" / name)
    extras = project.get("optional-dependencies", {}).values()
    needs = {re.match(r"[\w.-]+", n)[0] for n in sum(extras, project["dependencies"])}
    assert needs & PEERS == set()


def test_the_root_is_no_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "project" not in settings
    assert settings["tool"]["uv"]["package"] is False
