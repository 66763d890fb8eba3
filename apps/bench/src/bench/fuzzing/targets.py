"""List the targets, and import those that are chosen.

Stage: names -> *targets*. Modules are imported on demand, so that a machine without the trainer can
run the others. Not here: what they do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from bench.fuzzing.campaign import Target


@dataclass(frozen=True, slots=True)
class Place:
    """Module and function that create a target."""

    module: str
    name: str
    needs: str = "bpe"
    """Package that it requires."""

    def load(self) -> Callable[[Path], Target]:
        """Return the function that creates the target; it takes a folder to work in."""
        return getattr(import_module(f"bench.fuzzing.{self.module}"), self.name)


TARGETS = {
    "encode": Place("encoding", "EncodeTexts"),
    "encode-bytes": Place("encoding", "EncodeBytes"),
    "cut": Place("training", "CutTexts"),
    "count": Place("training", "CountDocuments"),
    "merge": Place("training", "MergeCounts"),
    "vocabulary": Place("loaders", "vocabulary_folder"),
    "tokenizer-json": Place("loaders", "tokenizer_json"),
    "tiktoken": Place("loaders", "tiktoken_file"),
    "counts-file": Place("loaders", "counts_file"),
    "token-file": Place("loaders", "token_file"),
    "hf-config": Place("accounting_loaders", "hf_config", needs="accounting"),
    "weights-header": Place("accounting_loaders", "weights_header", needs="accounting"),
    "weights-index": Place("accounting_loaders", "weights_index", needs="accounting"),
    "single-file": Place("trainer_loaders", "single_file", needs="trainer"),
    "checkpoint": Place("trainer_loaders", "run_checkpoint", needs="trainer"),
    "config": Place("trainer_loaders", "config_toml", needs="trainer"),
}
"""By their names for `--only`."""


def choose_targets(only: str | None) -> list[str]:
    """Return the requested names, or all that can run.

    Raises:
        ValueError: one does not exist, or cannot run here.
    """
    if only is None:
        return [name for name in TARGETS if why_missing(name) is None]
    names = only.split(",")
    for name in names:
        if name not in TARGETS:
            raise ValueError(f"no target {name!r}; there are {', '.join(TARGETS)}")
        if reason := why_missing(name):
            raise ValueError(f"{name} cannot run: {reason}")
    return names


def why_missing(name: str) -> str | None:
    """Return why a target cannot run here, or None if it can."""
    needs = TARGETS[name].needs
    if find_spec(needs):
        return None
    return f"{needs} is not installed; use uv run --package bench --extra models bench fuzz"
