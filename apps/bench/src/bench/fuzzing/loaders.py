"""Try damaged files on the loaders of vocabularies, counts and token files.

Stage: valid files -> damaged files -> *load, watched* -> findings. A loader may only return, or
raise a ValueError or OSError that names a file. Not here: the damage (`mutations`), and the loaders
that need the trainer (`trainer_loaders`).
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.fuzzing.campaign import FindingError
from bench.fuzzing.mutations import (
    Mutate,
    mutate_json,
    mutate_lines,
    mutate_npy,
    mutate_one,
    mutate_safetensors,
)
from bench.fuzzing.watching import MisdeedError, Watch
from bpe import PretokenCounts, Vocabulary, count_documents, vocabulary_from_counts
from bpe.formats.huggingface import STATEMENT_KEY
from tokenizer import TokenFile, Tokenizer
from tokenizer.formats import load_tiktoken, save_vocabulary

_BATCH = 50
_SEALED_SHARE = 0.7
_TEXT = "low lower lowest, newer newest<|endoftext|>the wide, the wider\n" * 20
_WATCH = Watch()

# A Python object takes more memory than its text: an empty list 56 bytes instead of two.
TEXT_BYTES_A_BYTE = 64
TOML_BYTES_A_BYTE = 512
BINARY_BYTES_A_BYTE = 2


class Loader:
    """A loader, valid files for it, and how each may be damaged.

    Args:
        folder: folder for the files.
        kinds: the damage of each file's format, by file name.
        load: reads the files in a folder and uses the result briefly.
        bytes_a_byte: memory allowed per byte of the files; the default is for text.
        seal: updates checksums inside the files to match their content.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Mapping[str, Mutate],
        load: Callable[[Path], object],
        *,
        bytes_a_byte: int = TEXT_BYTES_A_BYTE,
        seal: Callable[[dict[str, bytes], random.Random], None] = lambda files, rng: None,
    ) -> None:
        self._folder, self._kinds, self._load = folder, kinds, load
        self._bytes_a_byte, self._seal = bytes_a_byte, seal
        self._valid = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._warm_up()

    def run(self, rng: random.Random) -> int:
        """Damage the files and load them, several times."""
        for _ in range(_BATCH):
            files = mutate_one(self._valid, self._kinds, rng)
            if rng.random() < _SEALED_SHARE:
                self._seal(files, rng)
            changed = {name for name in files if files[name] != self._valid[name]}
            for name in changed:
                (self._folder / name).write_bytes(files[name])
            try:
                self._try(files)
            finally:
                for name in changed:
                    (self._folder / name).write_bytes(self._valid[name])
        return _BATCH

    def _warm_up(self) -> None:
        """Load the valid files, so that everything is imported from then on."""
        self._load(self._folder)

    def _try(self, files: Mapping[str, bytes]) -> None:
        max_bytes = self._bytes_a_byte * sum(map(len, files.values()))
        kept = {name.replace("/", "+"): content for name, content in files.items()}
        try:
            _WATCH.call(lambda: self._load(self._folder), folder=self._folder, max_bytes=max_bytes)
        except MisdeedError as error:
            raise FindingError(str(error), kept) from error
        except (ValueError, OSError) as error:
            if str(self._folder) not in f"{getattr(error, 'filename', '')} {error}":
                raise FindingError(f"{error!r:.300} names no file", kept) from error
        except Exception as error:
            raise FindingError(f"{type(error).__name__}: {error!s:.300}", kept) from error


def vocabulary_folder(folder: Path) -> Loader:
    """Return the target for what `Vocabulary.save` wrote."""
    _vocabulary().save(folder)
    (folder / "tokenizer.json").unlink()  # for other projects, not read here
    kinds = {"bpe.json": mutate_json, "vocab.json": mutate_json, "merges.txt": mutate_lines}
    return Loader(folder, kinds, lambda path: _use(Tokenizer.load(path)), seal=_unseal_vocabulary)


def tokenizer_json(folder: Path) -> Loader:
    """Return the target for HF's format."""
    save_vocabulary(_vocabulary(), folder / "tokenizer.json")

    def load(folder: Path) -> None:
        _use(Tokenizer.load(folder / "tokenizer.json"))

    return Loader(folder, {"tokenizer.json": mutate_json}, load, seal=_unseal_tokenizer_json)


def tiktoken_file(folder: Path) -> Loader:
    """Return the target for tiktoken's ranks."""
    save_vocabulary(_vocabulary(num_specials=0), folder / "a.tiktoken")
    (folder / "a.tiktoken.json").unlink()  # holds the hash, so damage would never be read

    def load(folder: Path) -> None:
        _use(Tokenizer.from_vocabulary(load_tiktoken(folder / "a.tiktoken", pattern="gpt2")))

    return Loader(folder, {"a.tiktoken": mutate_lines}, load)


def counts_file(folder: Path) -> Loader:
    """Return the target for counts of pretokens."""
    path = folder / "a.counts"
    count_documents([_TEXT], ["<|endoftext|>"]).save(path)

    def load(folder: Path) -> object:
        counts = PretokenCounts.load(folder / "a.counts")
        return counts.num_pretokens, counts.num_bytes

    return Loader(folder, {"a.counts": mutate_safetensors}, load, bytes_a_byte=BINARY_BYTES_A_BYTE)


def token_file(folder: Path) -> Loader:
    """Return the target for ids, where documents start, and the sidecar."""
    text = folder.parent / "token-file.txt"
    text.write_text(_TEXT, "utf-8")
    Tokenizer.from_vocabulary(_vocabulary()).encode_file(text, folder / "a.npy")
    kinds = {"a.npy": mutate_npy, "a.documents.npy": mutate_npy, "a.json": mutate_json}
    valid = {name: (folder / name).read_bytes() for name in kinds}

    def load(folder: Path) -> None:
        file = TokenFile.open(folder / "a.npy")
        starts = file.document_starts()
        file.check_ids()
        file.check_hash()
        found = file.tokens.tobytes(), starts.tobytes()
        if any(valid[name][-len(part) :] != part for name, part in zip(kinds, found, strict=False)):
            raise AssertionError("the content differs, but the hash is reported to match")

    return Loader(folder, kinds, load, bytes_a_byte=BINARY_BYTES_A_BYTE)


def _vocabulary(num_specials: int = 2) -> Vocabulary:
    specials = ["<|endoftext|>", "<|x|>"][:num_specials]
    counts = count_documents([_TEXT], specials)
    return vocabulary_from_counts(counts, 256 + num_specials + 12, specials)


def _unseal_vocabulary(files: dict[str, bytes], rng: random.Random) -> None:
    """Convert the folder to the version without a hash, so that damage is read."""
    files["bpe.json"] = files["bpe.json"].replace(b'"version": 2', b'"version": 1')


def _unseal_tokenizer_json(files: dict[str, bytes], rng: random.Random) -> None:
    """Remove the hash from the file, as other projects write it."""
    key = f'"{STATEMENT_KEY}": '.encode()
    files["tokenizer.json"] = files["tokenizer.json"].replace(key, b'"other": ')


def _use(tokenizer: Tokenizer) -> None:
    """Encode and decode with the loaded vocabulary; it may lack bytes and raise an error."""
    text = "the lowest \u00e9<|endoftext|>"
    try:
        ids = tokenizer.encode(text)
    except ValueError as error:
        if "no token" in str(error):
            return
        raise
    if tokenizer.decode(ids) != text:
        raise AssertionError(f"{text!r} came back as {tokenizer.decode(ids)!r}")
