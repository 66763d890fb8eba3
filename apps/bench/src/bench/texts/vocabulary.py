"""Provide the vocabulary with which every contestant encodes.

Stage: GPT-2's files, or a vocabulary trained here -> *one folder that every contestant can read*.
Not here: the contestants.
"""

import json
from pathlib import Path

from bpe import Vocabulary, train_vocabulary
from tokenizer import Tokenizer
from tokenizer.formats import save_vocabulary

END_OF_TEXT = "<|endoftext|>"
_TRAINED_SIZE = 32_000


def share_vocabulary(gpt2_dir: Path | None, folder: Path, *, train_on: Path) -> tuple[Path, str]:
    """Write the vocabulary in every format that a contestant reads.

    Args:
        gpt2_dir: holds vocab.json and merges.txt, or both with `gpt2_` in front; None: train.
        folder: where the shared vocabulary goes.
        train_on: text on which to train a vocabulary if `gpt2_dir` is None.

    Returns:
        The folder, and a description of the vocabulary.

    Raises:
        FileNotFoundError: `gpt2_dir` lacks these files.
    """
    if gpt2_dir is not None:
        vocabulary = Vocabulary.from_files(*_gpt2_files(gpt2_dir), [END_OF_TEXT])
        words = f"GPT-2, {len(vocabulary.tokens):,} entries"
    else:
        vocabulary = train_vocabulary(train_on, _TRAINED_SIZE, [END_OF_TEXT])
        words = f"trained here on {train_on.name}, {len(vocabulary.tokens):,} entries: no GPT-2"
    folder = folder / f"vocabulary-{vocabulary.fingerprint[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.save(folder / "tokenizer")
    save_vocabulary(vocabulary, folder / "ranks.tiktoken")
    end_of_text_id = vocabulary.ids[END_OF_TEXT.encode()]
    (folder / "special.json").write_text(json.dumps({END_OF_TEXT: end_of_text_id}), "utf-8")
    return folder, words


def read_end_of_text_id(folder: Path) -> int:
    """Return the id of <|endoftext|> in a shared vocabulary."""
    return json.loads((folder / "special.json").read_text("utf-8"))[END_OF_TEXT]


def read_documents(path: Path) -> list[str]:
    """Return the documents of a corpus, for contestants that cannot split it."""
    with path.open(encoding="utf-8", newline="") as file:
        return file.read().split(END_OF_TEXT)


def write_ids(folder: Path, text: bytes, path: Path) -> None:
    """Encode with ours, as input for decoding."""
    import numpy as np

    np.save(path, Tokenizer.load(folder / "tokenizer").encode_array(text))


def _gpt2_files(folder: Path) -> tuple[Path, Path]:
    for prefix in ("", "gpt2_"):
        files = folder / f"{prefix}vocab.json", folder / f"{prefix}merges.txt"
        if all(file.is_file() for file in files):
            return files
    raise FileNotFoundError(
        f"{folder} holds neither vocab.json and merges.txt nor gpt2_vocab.json and "
        "gpt2_merges.txt; name the folder with GPT-2's files, or leave the option out"
    )
