"""The recipes of docs/extending.md work as written: a run trains with each, on a copied source.

The page is applied word by word, so it fails here when an anchor is gone or no longer unique. Then
one process shows the help, runs the recipe's commands on a tiny text, and checks the mathematics.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
_BLOCK = r"\n\n```\w+\n(.*?)^```$"
_STEP = re.compile(
    rf"^Create `([^`]+)`:{_BLOCK}"
    rf"|^In `([^`]+)`, (after|replace){_BLOCK}\n\n(?:add|with){_BLOCK}",
    re.MULTILINE | re.DOTALL,
)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_PLACES = 2
VOCABULARY = "300"
TINY = {
    "corpus.cache-dir": "prepared",
    "tokenizer.vocab-size": VOCABULARY,
    "tokenizer.num-workers": "1",
    "model.context-length": "16",
    "model.d-model": "16",
    "model.num-layers": "2",
    "model.num-heads": "2",
    "model.d-ff": "32",
    "schedule.warmup-steps": "2",
    "training.batch-size": "4",
    "training.max-steps": "6",
    "training.compile": "off",
    "evaluation.every-steps": "3",
    "evaluation.num-windows": "4",
    "evaluation.final-tokens": "200",
    "evaluation.sample-tokens": "4",
    "evaluation.baselines": "false",
    "checkpoint.every-steps": "6",
    "logging.every-steps": "1",
    "device": "cpu",
    "dtype": "float32",
}
# Compiled kernels would be built first; a recipe's own choice comes before these.
PLAIN = {"model.attention": "plain", "training.loss": "plain"}
PROGRAM = """
import contextlib, importlib, io, json, os, sys, traceback
import torch, torch._dynamo, tyro  # slow to import, so that all recipes share them


def work(folder, sources, commands, check):
    os.chdir(folder)
    sys.path[:0] = [sources] if sources else []
    from trainer.cli import commands as programs

    outputs = []
    for argv in commands:
        sys.argv, out = argv, io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                getattr(programs, argv[0].replace("-", "_"))()
        except SystemExit as ended:
            assert not ended.code, argv
        outputs.append(out.getvalue())
    for name in ("accounting", "bpe", "nn_layers", "optim", "tokenizer", "trainer"):
        assert not sources or importlib.import_module(name).__file__.startswith(sources), name
    exec(check, {})
    return outputs


for line in sys.stdin:
    request, said, result = json.loads(line), io.StringIO(), {}
    child = os.fork()
    if child == 0:
        with contextlib.redirect_stderr(said):
            try:
                result["outputs"] = work(**request)
            except BaseException:
                traceback.print_exc()
        result["said"] = said.getvalue()
        with open(os.path.join(request["folder"], "result.json"), "w") as file:
            json.dump(result, file)
        os._exit(0)
    os.waitpid(child, 0)
    print("done", flush=True)
"""


@dataclass(frozen=True)
class Step:
    """One instruction: create a file, or find lines and put others behind or in their place."""

    path: str
    kind: str
    found: str
    new: str


@dataclass(frozen=True)
class Case:
    """Where a recipe must show."""

    settings: dict[str, str]
    """Rows of the report's table of settings."""
    help: str
    """A pattern in the help of the recipe's commands."""
    costs: str = ""
    """A pattern in what `costs` prints."""
    said: str = ""
    """A pattern in what `train` reports while it runs."""
    check: str = "pass"
    """Python that holds the recipe to its source, in a copy where it has been applied."""
    off_by: float = 0.005
    """What the memory that `accounting` expects may be off by."""


LOOP = """
import torch
from nn_layers import MultiHeadSelfAttention, scaled_dot_product_attention
from nn_layers.backends.choice import attention_backends

loop = attention_backends()["loop"]
q, k, v = torch.randn(3, 2, 4, 7, 8)
causal = torch.ones(7, 7, dtype=torch.bool).tril()
bias = torch.randn(4, 7, 7)
plain = scaled_dot_product_attention(q, k, v, causal, bias)
torch.testing.assert_close(loop.attend(q, k, v, past=0, bias=bias), plain)
last = loop.attend(q[..., 5:, :], k, v, past=5, bias=bias[:, 5:])
torch.testing.assert_close(last, plain[..., 5:, :])
layer, x = MultiHeadSelfAttention(32, 2), torch.randn(2, 5, 32)
expected = layer(x)
layer.attention = "loop"
torch.testing.assert_close(layer(x), expected)
"""
BY_WINDOW = """
import torch
from nn_layers import cross_entropy
from nn_layers.backends.choice import loss_backends

hidden, weight = torch.randn(3, 5, 8), torch.randn(11, 8)
targets = torch.randint(11, (3, 5))
found = loss_backends()["by-window"].score(hidden, weight, targets, is_compiled=False)
torch.testing.assert_close(found, cross_entropy(hidden @ weight.T, targets))
"""
ALIBI = """
import torch
from nn_layers import KVCache, ModelConfig, TransformerLM
from nn_layers.positions import find_scheme

scheme = find_scheme("alibi")()
distances = torch.tensor([[0.0, -1, -2], [1, 0, -1], [2, 1, 0]])
expected = torch.stack((-distances / 16, -distances / 256))  # heads 1 and 2 of 2
torch.testing.assert_close(scheme.bias(torch.arange(3), past=0, num_heads=2), expected)
torch.testing.assert_close(scheme.bias(torch.tensor([2]), past=2, num_heads=2), expected[:, 2:])
batch = torch.arange(3).expand(4, 3)
torch.testing.assert_close(scheme.bias(batch, past=0, num_heads=2), expected.expand(4, 2, 3, 3))
config = ModelConfig(11, 8, 16, 2, 4, 32, position="alibi")
model, ids = TransformerLM(config).eval(), torch.tensor([[3, 1, 4, 1, 5]])
cache = KVCache(config)
whole, parts = model(ids), [model(ids[:, i : i + 1], cache=cache) for i in range(5)]
torch.testing.assert_close(torch.cat(parts, dim=1), whole)
turned = model(ids.flip(1)[:, [4, 3, 2, 0, 1]])  # the first three as before, the others exchanged
assert not torch.allclose(turned[:, -1], whole[:, -1])
"""
GEGLU = """
import torch
from accounting import ModelShape, count_parameters
from nn_layers import ModelConfig, TransformerLM
from nn_layers.feed_forward import find_feed_forward

layer, x = find_feed_forward("geglu")(4, 6), torch.randn(3, 4)
normal = torch.distributions.Normal(0.0, 1.0)
gate = x @ layer.w1.weight.T
wanted = (gate * normal.cdf(gate) * (x @ layer.w3.weight.T)) @ layer.w2.weight.T
torch.testing.assert_close(layer(x), wanted)
sizes = {"vocab_size": 11, "context_length": 8, "d_model": 16, "num_layers": 2, "num_heads": 4}
model = TransformerLM(ModelConfig(**sizes, d_ff=24, feed_forward="geglu"))
shape = ModelShape(**sizes, d_ff=24, feed_forward="geglu")
assert count_parameters(shape).total == model.num_parameters
"""
BRANCH = """
import torch
from nn_layers import ModelConfig, TransformerBlock, TransformerLM

config = ModelConfig(11, 8, 16, 2, 4, 24, norm="branch")
block, x = TransformerBlock(config), torch.randn(2, 5, 16)
middle = x + block.ln1(block.attn(x))
torch.testing.assert_close(block(x), middle + block.ln2(block.ffn(middle)))
names = TransformerLM(config).state_dict().keys()
assert {"layers.1.ln1.weight", "layers.1.ln2.weight", "ln_final.weight"} <= names
"""
LION = """
import torch
from optim.lion import Lion

weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
lion = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
weight.grad = torch.tensor([3.0, -4.0])
lion.step()  # 0.95 w - 0.1 sign(0.1 g); m = 0.01 g
torch.testing.assert_close(weight.data, torch.tensor([0.85, -1.8]))
torch.testing.assert_close(lion.state[weight]["exp_avg"], torch.tensor([0.03, -0.04]))
weight.grad = torch.tensor([-0.2, 5.0])
lion.step()  # 0.9 m + 0.1 g = (0.007, 0.464)
torch.testing.assert_close(weight.data, torch.tensor([0.7075, -1.81]))
torch.testing.assert_close(lion.state[weight]["exp_avg"], torch.tensor([0.0277, 0.0104]))
"""
INVERSE_SQRT = """
import json
from pathlib import Path
from optim.schedules import lr_inverse_sqrt_schedule

assert [lr_inverse_sqrt_schedule(s, 1.0, 4) for s in (0, 2, 4, 16)] == [0.0, 0.5, 1.0, 0.5]
assert [lr_inverse_sqrt_schedule(s, 1.0, 0) for s in (0, 1, 4)] == [1.0, 1.0, 0.5]
rows = map(json.loads, Path("runs/inverse-sqrt/metrics.jsonl").read_text().splitlines())
rates = [row["learning_rate"] / 4e-3 for row in rows if row["kind"] == "train"]
wanted = [min(step / 2, (2 / step) ** 0.5) for step in range(1, 7)]
assert all(abs(a - b) < 1e-6 for a, b in zip(rates, wanted, strict=True)), rates
"""
WIKITEXT = """
from trainer.config.datasets import load_dataset

assert load_dataset("wikitext2").url.startswith("https://")
"""
CSV = """
import csv, json
from pathlib import Path

rows = list(csv.reader(Path("runs/csv/metrics.csv").open()))
found = [(int(step), float(value)) for step, name, value in rows if name == "train/loss"]
lines = map(json.loads, Path("runs/csv/metrics.jsonl").read_text().splitlines())
assert found == [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]
assert len(found) == 6
assert [name for step, name, value in rows if step == "6"][-1].startswith("final/")
"""
JSON = """
import json
from pathlib import Path

[run] = json.loads(Path("tables/runs.json").read_text())
assert (run["run"], run["steps"]) == ("exported", "6")
assert Path("tables/runs.csv").read_text().splitlines()[0] == ",".join(run)
"""
DIGITS = """
from pathlib import Path
from bpe import Pretokenizer, Vocabulary
from bpe.patterns import GPT2

text = "In 2026, 12 cats"
pieces = Pretokenizer("gpt2-digits").split(text)
assert pieces == ["In", " ", "2", "0", "2", "6", ",", " ", "1", "2", " cats"], pieces
trained = Vocabulary.load(Path("runs/digits/tokenizer"))
assert trained.pattern not in (GPT2, "gpt2")
assert not [token for token in trained.tokens.values() if token.isdigit() and len(token) > 1]
"""

CASES = {
    "A way to compute attention": Case(
        settings={"model.attention": "loop"},
        help=r"loop +Attend by a plain loop over the queries\.",
        costs="attention: kept",
        said="attention loop",
        check=LOOP,
    ),
    "A way to compute the loss": Case(
        settings={"training.loss": "by-window"},
        help=r"by-window +Score the logits of one window at a time\.",
        off_by=0.1,
        costs="loss: shifted logits",
        said="loss by-window",
        check=BY_WINDOW,
    ),
    "A position scheme": Case(
        settings={"model.position": "alibi"},
        help=r"--model\.position \{none,alibi,rope\}",
        costs=r"total",
        said="attention plain",
        check=ALIBI,
    ),
    "A feed-forward layer": Case(
        settings={"model.feed-forward": "geglu"},
        help=r"--model\.feed-forward \{swiglu,geglu,silu\}",
        costs="feed-forward: kept",
        check=GEGLU,
    ),
    "A norm or residual wiring": Case(
        settings={"model.norm": "branch"},
        help=r"--model\.norm \{pre,post,branch,none\}",
        costs=r"RMSNorm|norm",
        check=BRANCH,
    ),
    "An optimizer": Case(
        settings={"optimizer.name": "lion", "optimizer.lion.beta2": "0.99"},
        help=r"--optimizer\.lion\.beta1 FLOAT",
        costs="optimizer: moments",
        check=LION,
    ),
    "A schedule": Case(
        settings={"schedule.name": "inverse-sqrt"},
        help=r"--schedule\.name \{inverse-sqrt,cosine",
        check=INVERSE_SQRT,
    ),
    "A dataset": Case(
        settings={"corpus.source": "wikitext2"},
        help=r"--corpus\.source \{stdlib,owt,tinystories,wikitext2,files\}",
        said="corpus wikitext2",
        check=WIKITEXT,
    ),
    "A preset": Case(
        settings={"preset": "pocket", "schedule.warmup-steps": "2"},
        help="Presets: quickstart, .*pocket",
        costs="pocket",
    ),
    "A tracker": Case(
        settings={"logging.track": "[&quot;csv&quot;]"},
        help=r"--logging\.track .*\{csv,tensorboard,trackio,wandb\}",
        said="tracked by csv: .*metrics.csv",
        check=CSV,
    ),
    "An export format": Case(
        settings={"training.max-steps": "6"},
        help=r"tables \(json, csv, md, tex\)",
        check=JSON,
    ),
    "A split pattern": Case(
        settings={"tokenizer.pattern": "gpt2-digits"},
        help="Split patterns: gpt2, gpt2-digits, cl100k",
        check=DIGITS,
    ),
}


def _recipes() -> dict[str, str]:
    titles = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(titles[::2], titles[1::2], strict=True))


def _steps(recipe: str) -> list[Step]:
    found = []
    for created, content, path, kind, anchor, new in _STEP.findall(recipe):
        found.append(Step(created or path, kind or "create", anchor, content or new))
    return found


def _commands(recipe: str) -> list[list[str]]:
    lines = "".join(_CONSOLE.findall(recipe)).splitlines()
    return [line.removeprefix("uv run --package trainer ").split() for line in lines]


def _table() -> dict[str, set[str]]:
    rows = re.findall(r"^\| \[(.+?)\]\(#(.+?)\) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert all(anchor == title.lower().replace(" ", "-") for title, anchor, _ in rows)
    return {title: set(re.findall(r"`([^`]+)`", places)) for title, _, places in rows}


def _apply(step: Step, sources: Path) -> None:
    path = sources / step.path
    if step.kind == "create":
        assert path.parent.is_dir() and not path.exists(), path
        path.write_text(step.new, encoding="utf-8")
        return
    anchor = re.compile(rf"^{re.escape(step.found)}", re.MULTILINE)
    kept = step.found if step.kind == "after" else ""
    text, num_found = anchor.subn(lambda _: kept + step.new, path.read_text(encoding="utf-8"))
    assert num_found == 1, f"{step.path} has {num_found} times, not once:\n{step.found}"
    path.write_text(text, encoding="utf-8")


def _words(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def _complete(argv: list[str]) -> list[str]:
    """Make a command of the page small and quick, but for what the page itself chooses."""
    if argv[0] != "train":
        return argv
    given = {name: value for name, value in (TINY | PLAIN).items() if f"--{name}" not in argv}
    return [*argv, *_words(given)]


class Recipes:
    """A process that has torch, and forks for each recipe, so that none meets another's sources."""

    def __init__(self) -> None:
        around = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=around,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, folder: Path, commands: list[list[str]], *, sources: Path | None, check: str = ""
    ) -> tuple[list[str], str]:
        """Run commands in a folder; return what each printed, and all that they reported."""
        where = {"folder": str(folder), "sources": str(sources or "")}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({**where, "commands": commands, "check": check}) + "\n"
        )
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"
        result = json.loads((folder / "result.json").read_text())
        assert "outputs" in result, result["said"]
        return result["outputs"], result["said"]

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def recipes() -> Iterator[Recipes]:
    started = Recipes()
    yield started
    started.close()


@pytest.fixture(scope="module")
def prepared(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, and its tokenizer and token files, which most recipes do not change."""
    folder = tmp_path_factory.mktemp("prepared")
    lines = (f"line {i}: the cat sat on mat number {i * 7 % 13}.\n" for i in range(120))
    (folder / "corpus.txt").write_text("<|endoftext|>".join(lines))
    options = {name: value for name, value in TINY.items() if name.startswith(("corpus", "token"))}
    command = ["prepare", "--corpus.train", "corpus.txt", *_words(options)]
    recipes.run(folder, [command], sources=None)
    return folder


@pytest.fixture
def mirror(prepared: Path, tmp_path: Path) -> Iterator[str]:
    """The text as a public dataset."""
    for name in ("train.txt", "valid.txt"):
        shutil.copy(prepared / "corpus.txt", tmp_path / name)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_table_lists_every_recipe_and_no_recipe_has_more_than_two_places() -> None:
    touched = {title: {step.path for step in _steps(text)} for title, text in _recipes().items()}
    assert touched == _table()
    assert touched.keys() == CASES.keys()
    assert {title: paths for title, paths in touched.items() if len(paths) > MOST_PLACES} == {}


def test_no_block_of_the_page_is_left_out() -> None:
    used = sum(
        1 if step.kind == "create" else 2 for text in _recipes().values() for step in _steps(text)
    )
    assert len(re.findall(r"^```\w+$", PAGE, re.MULTILINE)) == used + len(CASES)


def test_an_anchor_that_is_gone_or_not_unique_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for anchor in ("x = 1\n", "y = 1\n"):
        with pytest.raises(AssertionError, match=r"a\.py has [02] times, not once"):
            _apply(Step("a.py", "after", anchor, "z = 1\n"), tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the recipes run in forks of one process")
@pytest.mark.parametrize("title", CASES)
def test_a_recipe_works_as_written(
    title: str, recipes: Recipes, prepared: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case, recipe, folder = CASES[title], _recipes()[title], tmp_path / "work"
    sources = _copy_sources(tmp_path / "sources")
    for step in _steps(recipe):
        _apply(step, sources)
    shutil.copytree(prepared, folder)
    commands = [_complete(argv) for argv in _commands(recipe)]
    is_public = "--corpus.source" in commands[0]
    mirrored = ["--corpus.mirror", request.getfixturevalue("mirror")] if is_public else []
    commands[0] += mirrored or ["--corpus.train", "corpus.txt"]
    helps = [[argv[0], "--help"] for argv in commands]
    outputs, said = recipes.run(folder, [*helps, *commands], sources=sources, check=case.check)
    shown = dict(zip((argv[0] for argv in commands), outputs[len(helps) :], strict=True))
    assert re.search(case.help, "".join(outputs[: len(helps)])), outputs[0]
    assert re.search(case.said, said), said
    assert re.search(case.costs, shown.get("costs", "")), shown["costs"]
    run = folder / commands[0][commands[0].index("--run-dir") + 1]
    _require_expected(run, case)
    page = (run / "report.html").read_text(encoding="utf-8")
    for name, value in case.settings.items():
        assert f"<tr><td>{name}</td><td class='name'>{value}</td></tr>" in page


def _copy_sources(target: Path) -> Path:
    for source in [*ROOT.glob("packages/*/src"), ROOT / "apps/trainer/src"]:
        shutil.copytree(source, target, dirs_exist_ok=True)
    return target


def _require_expected(run: Path, case: Case) -> None:
    """Insist on a finished run that took what `accounting` expected."""
    summary = json.loads((run / "summary.json").read_text())
    estimates = {one["what"].partition(",")[0]: one for one in summary["estimates"]}
    assert summary["step"] == int(TINY["training.max-steps"])
    for what in ("parameters", "checkpoint"):
        assert estimates[what]["expected"] == estimates[what]["found"]
    memory = estimates["tensors at peak"]
    assert abs(memory["expected"] / memory["found"] - 1) < case.off_by, memory
