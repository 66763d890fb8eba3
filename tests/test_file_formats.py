"""Names of file formats: files outlive modules, so a name stays when the code moves."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# To change one is to refuse every file that was written before.
NAMES = {
    *("bpe-pretoken-counts", "bpe-vocabulary", "run-summary", "tiktoken-ranks", "token-file"),
    *("trainer-download", "trainer-text", "trainer-text-files", "trainer-tokenizer"),
    *("trainer-tokens", "trainer-unpacked", "trainer.checkpoint", "trainer.lr-range"),
    *("trainer.manifest", "trainer.metrics", "trainer.optimizer", "trainer.outcome"),
    *("trainer.single-file-checkpoint", "trainer.sitting", "trainer.study", "trainer.tracking"),
}


def _formats(path: Path) -> set[str]:
    """Return the texts that a module assigns to names of formats."""
    return {
        node.value
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign)
        if any(word in ast.unparse(statement.targets[0]) for word in ("FORMAT", "_STUDY"))
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_no_format_is_renamed() -> None:
    sources = [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/trainer/src/**/*.py")]
    assert set().union(*map(_formats, sources)) == NAMES
