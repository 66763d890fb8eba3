"""Architecture: what may import what, what may be on disk, and what lies where; read by `ast`."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEMBERS = {
    path.parent.name.replace("-", "_"): path.parent for path in ROOT.glob("*/*/pyproject.toml")
}
PACKAGES = sorted(name for name, path in MEMBERS.items() if path.parent.name == "packages")
APPS = sorted(set(MEMBERS) - set(PACKAGES))
# `bench` exists to run the peers; nothing else may.
PEERLESS = sorted(set(MEMBERS) - {"bench"})
PEERS = {"gigatoken", "rustbpe", "sentencepiece", "tiktoken", "tokenizers", "transformers"}
PICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve"}
# What torch has of its own that our layers and optimizers are: in tests they serve as oracles.
TORCHS_OWN = re.compile(
    r"Linear|Embedding(Bag)?|\w+Norm(\dd)?|\w*Softmax\w*|SiLU|GLU|\w+Loss|MultiheadAttention"
    r"|Transformer\w+|linear|embedding(_bag)?|(layer|rms|group|batch|instance)_norm|\w*softmax"
    r"|logsumexp|silu|glu|\w+_loss|\w*cross_entropy|clip_grad\w*"
)
# What makes tensors out of none; `new_empty`, `zeros_like` and the like take after one.
FACTORIES = {
    *("arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace"),
    *("logspace", "normal", "ones", "rand", "randint", "randn", "randperm", "range"),
    *("scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros"),
}
TOP_LEVEL = {
    *("packages", "apps", "tests", "docs"),
    *("pyproject.toml", "requirements.lock", "README.md", "LICENSE", ".ci", ".gitignore"),
}
# How many modules a reader takes in at a glance.
MOST_IN_A_ROOT, MOST_IN_A_FOLDER = 15, 12
# Rooms from top to bottom: a room may import those below it. A name is a folder or a single module;
# "*" stands for the modules of the folder that are not named; a module inside a room may have a
# place of its own.
ORDER = {
    "accounting": "cli reports sources plan time * autograd shape step",
    "bench": "cli busy fuzzing calculators learning training tokenizers tokenization "
    "generated_text sgd_toy contests contestants display measurement texts arguments console "
    "durable",
    "bpe": "cli train reference merges vocabulary counting counts kernel_parts compilation "
    "_kernels formats packed_counts pieces pretokens special_tokens tie_breaking byte_spelling "
    "patterns unicode_classes messages",
    "tokenizer": "cli stats tokenizer formats stream files batch codec plain * engine _kernels ids "
    "special_tokens _bpe",
    # Backends implement what the textbook declares, and it imports none of them: formula and layer
    # of attention can share a file. What the layer needs to find one lies below it.
    "nn_layers": "backends transformer_lm block attention backends.layer backends.choice "
    "backends.interface backends.projections * config backends.registry",
    "nn_layers.backends": "attention loss rotary_attention cpu triton operands layer choice "
    "interface projections registry",
    "trainer": "cli report experiments doctor costs run resuming run_inputs summary training "
    "evaluation inference checkpoint data tracking monitoring plan config storage nearest_names "
    "command_hints quiet_start",
    "trainer.report": "files serve study_page page export table estimates plots findings history "
    "units own_files",
}
LAID_OUT = ["accounting", "bench", "bpe", "nn_layers", "optim", "tokenizer", "trainer"]
# Spelled so that this file does not hold what it forbids.
ADDRESSES = [
    ".".join(words)
    for words in (("pypi", "org"), ("files", "pythonhosted", "org"), ("download", "pytorch", "org"))
]
ADDRESSES.append("-".join(("index", "url")))


def _files(member: str) -> list[Path]:
    return sorted((MEMBERS[member] / "src").rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[str]:
    """Every absolute import in a file, wherever it stands, as `package.module.name`."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant))


def _imported(member: str) -> set[str]:
    """The top-level names that a member's files import."""
    return {name.partition(".")[0] for path in _files(member) for name in _imports(path)}


def _attributes(path: Path) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _borrowed(path: Path, owners: set[str]) -> set[str]:
    """The names that a file binds by importing from `owners`."""
    return {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] in owners
    }


def _tracked() -> list[str]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name]


@cache
def _modules(member: str) -> dict[str, Path]:
    """Return the modules of a member by dotted name; a folder's `__init__` by the folder's."""
    source = MEMBERS[member] / "src"
    names = {path: path.relative_to(source).with_suffix("").parts for path in _files(member)}
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path
        for path, parts in names.items()
    }


@cache
def _arrows(member: str) -> dict[str, set[str]]:
    """Return what each module imports of its member, anywhere in it, imports for types included."""
    modules = _modules(member)
    return {
        name: {_module(imported, modules) for imported in _imports(path)} - {name, None}
        for name, path in modules.items()
    }


def _module(imported: str, modules: dict[str, Path]) -> str | None:
    """Return the module that `package.module.name` is in; None: in one of another member."""
    return next((n for n in (imported, imported.rpartition(".")[0]) if n in modules), None)


def _cycle(arrows: dict[str, set[str]]) -> list[str]:
    """Return the modules that import each other: what is left when leaves are taken away."""
    left = dict(arrows)
    while leaves := {name for name, below in left.items() if not below & left.keys()}:
        left = {name: below for name, below in left.items() if name not in leaves}
    return sorted(left)


def _level(name: str, folder: str) -> int:
    """Return the level in the order of a module in `folder`; the folder itself is above all."""
    order = ORDER[folder].split()
    inside = name.removeprefix(folder).lstrip(".")
    room = inside.partition(".")[0]
    if not room:
        return -1
    return order.index(next((one for one in (inside, room) if one in order), "*"))


@pytest.mark.parametrize("member", LAID_OUT)
def test_no_folder_holds_more_modules_than_a_reader_takes_in(member: str) -> None:
    held = Counter(path.parent for path in _files(member) if path.name != "__init__.py")
    root = _modules(member)[member].parent
    most = {folder: MOST_IN_A_ROOT if folder == root else MOST_IN_A_FOLDER for folder in held}
    assert {folder.name: num for folder, num in held.items() if num > most[folder]} == {}


@pytest.mark.parametrize("member", LAID_OUT)
def test_no_modules_import_each_other_in_a_circle(member: str) -> None:
    assert _cycle(_arrows(member)) == []


@pytest.mark.parametrize("folder", ORDER)
def test_arrows_between_rooms_go_down(folder: str) -> None:
    inside = re.compile(rf"{re.escape(folder)}(\.|$)")
    upward = [
        f"{name} -> {below}"
        for name, arrows in _arrows(folder.partition(".")[0]).items()
        if name.startswith(f"{folder}.")
        for below in filter(inside.match, arrows)
        if _level(below, folder) < _level(name, folder)
    ]
    assert upward == []


def test_circles_and_upward_arrows_are_noticed() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert _level("trainer", "trainer") < _level("trainer.cli.commands", "trainer")
    assert _level("trainer.run", "trainer") < _level("trainer.storage.durable", "trainer")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_only_arrow_between_packages_is_tokenizer_to_bpe(package: str) -> None:
    allowed = {package, "bpe"} if package == "tokenizer" else {package}
    assert _imported(package) & set(MEMBERS) <= allowed


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_an_application(package: str) -> None:
    assert _imported(package) & set(APPS) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_declares(package: str) -> None:
    project = tomllib.loads((MEMBERS[package] / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *chain(*project.get("optional-dependencies", {}).values())]
    declared = {re.match(r"\w+", need.replace("-", "_"))[0] for need in needs}
    if "numba" in declared:
        declared.add("llvmlite")  # the half of Numba that its intrinsics are written with
    later_stdlib = {"compression"}  # from Python 3.14 on
    foreign = _imported(package) - sys.stdlib_module_names - later_stdlib - {package}
    assert foreign <= declared


@pytest.mark.parametrize("member", PEERLESS)
def test_no_member_imports_a_peer(member: str) -> None:
    assert _imported(member) & PEERS == set()


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_imports_what_another_keeps_to_itself(member: str) -> None:
    others = set(MEMBERS) - {member}
    private = [
        f"{path.name}: {name}"
        for path in _files(member)
        for name in _imports(path)
        if name.partition(".")[0] in others and any(map(_is_private, name.split(".")))
    ]
    assert private == []


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_reaches_into_what_another_keeps_to_itself(member: str) -> None:
    others = set(MEMBERS) - {member}
    reached = [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for path in _files(member)
        for node in _attributes(path)
        if _is_private(node.attr)
        if ast.unparse(node.value).partition(".")[0] in _borrowed(path, others)
    ]
    assert reached == []


@pytest.mark.parametrize("member", MEMBERS)
def test_numba_is_imported_by_kernels_only(member: str) -> None:
    importers = {
        path.name
        for path in _files(member)
        for name in _imports(path)
        if name.partition(".")[0] == "numba" and "_kernels" not in path.parts
    }
    assert importers == set()


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_imports_a_pickler(member: str) -> None:
    assert _imported(member) & PICKLERS == set()


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_saves_or_loads_by_torch(member: str) -> None:
    named = {ast.unparse(node) for path in _files(member) for node in _attributes(path)}
    named |= {name for path in _files(member) for name in _imports(path)}
    assert [name for name in named if re.fullmatch(r"torch(\.\w+)?\.(save|load)", name)] == []


def test_the_trainer_measures_time_by_the_monotonic_clock() -> None:
    """The wall clock jumps; a run's seconds and its schedule must not."""
    wall = re.compile(r"time\.time(_ns)?|.*datetime\.(now|utcnow|today)")
    found = {ast.unparse(n) for path in _files("trainer") for n in _attributes(path)}
    assert sorted(name for name in found if wall.fullmatch(name)) == []


@pytest.mark.parametrize("package", ["nn_layers", "optim"])
def test_no_package_uses_torchs_own_layers_losses_and_optimizers(package: str) -> None:
    named = {ast.unparse(node) for path in _files(package) for node in _attributes(path)}
    named |= {n for path in _files(package) for n in _imports(path) if n.startswith("torch.")}
    own = {name for name in named if TORCHS_OWN.fullmatch(name.rpartition(".")[2])}
    own |= {name for name in named if re.match(r"torch\.optim\.(?!Optimizer$)", name)}
    assert own == set()


def _unstated(call: ast.Call) -> set[str]:
    """What a call that makes a tensor leaves to torch's defaults; nothing where it makes none."""
    module, _, name = ast.unparse(call.func).rpartition(".")
    if module != "torch":
        return set()
    if name == "Generator":
        return set() if call.args or call.keywords else {"device"}
    needed = {"dtype", "device"} if name in FACTORIES else set()
    return needed - {keyword.arg for keyword in call.keywords}


@pytest.mark.parametrize("member", ["nn_layers", "optim", "trainer"])
def test_no_tensor_is_made_of_torchs_default_type_or_on_its_default_device(member: str) -> None:
    """A program that uses the member may have set either."""
    found = [
        f"{path.name}:{node.lineno}: {ast.unparse(node)} leaves out {sorted(missing)}"
        for path in _files(member)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and (missing := _unstated(node))
    ]
    assert found == []


def test_an_unstated_type_or_device_is_noticed() -> None:
    calls = ("torch.empty(3)", "torch.ones(3, dtype=d)", "torch.tensor(x, **how)", "torch.stack(x)")
    trees = [ast.parse(call, mode="eval").body for call in calls]
    both = {"dtype", "device"}
    assert list(map(_unstated, trees)) == [both, {"device"}, both, set()]


def test_only_one_function_hands_the_memory_of_arrays_to_cpp() -> None:
    users = {
        path.name
        for path in _files("nn_layers")
        for node in _attributes(path)
        if node.attr in ("data_ptr", "storage", "untyped_storage", "numpy", "ctypes")
    }
    assert users == {"arrays.py"}


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_lets_numpy_pickle(member: str) -> None:
    allowed = [
        f"{path.name}:{node.value.lineno}"
        for path in _files(member)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle"
        if not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert allowed == []


@pytest.mark.parametrize("member", MEMBERS)
def test_no_source_file_is_longer_than_400_lines(member: str) -> None:
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in _files(member)}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_top_level_holds_nothing_else() -> None:
    assert {name.partition("/")[0] for name in _tracked()} == TOP_LEVEL


def test_no_tracked_file_names_a_package_index() -> None:
    found = [
        f"{name}: {address}"
        for name in _tracked()
        if (ROOT / name).is_file()
        for address in ADDRESSES
        if address.encode() in (ROOT / name).read_bytes().lower()
    ]
    assert found == []


def test_every_locked_requirement_has_a_version_and_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    requirements = text.replace("\\\n", "").splitlines()
    assert requirements
    for requirement in requirements:
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement), requirement
        assert "://" not in requirement
        assert set(re.findall(r"--[\w-]+", requirement)) == {"--hash"}, requirement


def test_no_name_is_undefined() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821", "--no-cache"]
    folders = [ROOT / "packages", ROOT / "apps", ROOT / "tests"]
    done = subprocess.run(
        [*command, "--output-format=json", *folders], capture_output=True, text=True
    )
    names = {found["message"].split("`")[1] for found in json.loads(done.stdout)}
    # The lint leaves this rule out: jaxtyping's axes of one letter look like undefined names.
    assert {name for name in names if len(name) > 1} == set()
