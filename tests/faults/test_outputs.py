"""What the commands of the packages write is complete or absent, whatever the disk does.

For each output: every operation of a save fails in every way it can, once and for good; the process
is killed at each; and every state that a power cut may leave is looked at.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from faults.disk import Disk, Operation, every_fault, killed_at, record
from faults.power import crash_states

from bpe import PretokenCounts, Vocabulary, count_documents, vocabulary_from_counts
from tokenizer import TokenFile, Tokenizer
from tokenizer.formats import load_vocabulary, save_vocabulary

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layer reads /proc")

TEXTS = {"old": "low lower lowest\n" * 30, "new": "new newer newest<|endoftext|>\n" * 40}
ENDS = "<|endoftext|>"


@cache
def counts_of(text: str) -> PretokenCounts:
    return count_documents([TEXTS[text]], [ENDS])


@cache
def vocabulary_of(text: str) -> Vocabulary:
    return vocabulary_from_counts(counts_of(text), 264, [ENDS])


@dataclass(frozen=True)
class Output:
    """How an output is written to a folder and read back."""

    write: Callable[[Path, str], object]
    """Put what follows from a text into a folder."""
    read: Callable[[Path], object]
    """Return what is there; raises ValueError or OSError where that is not complete."""
    num_files: int


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_vocabulary(vocabulary_of("old"))


def encode(folder: Path, text: str) -> None:
    source = folder.parent / f"{text}.txt"
    source.write_text(TEXTS[text])
    tokenizer().encode_file(source, folder / "ids.npy")


def read_ids(folder: Path) -> tuple[bytes, bytes]:
    file = TokenFile.open(folder / "ids.npy")
    file.check_hash()
    return file.tokens.tobytes(), file.document_starts().tobytes()


OUTPUTS = {
    "train-bpe": Output(
        lambda folder, text: vocabulary_of(text).save(folder / "vocabulary"),
        lambda folder: Vocabulary.load(folder / "vocabulary").fingerprint,
        4,
    ),
    "count": Output(
        lambda folder, text: counts_of(text).save(folder / "a.counts"),
        lambda folder: PretokenCounts.load(folder / "a.counts").by_pretoken,
        1,
    ),
    "encode": Output(encode, read_ids, 3),
    "convert to json": Output(
        lambda folder, text: save_vocabulary(vocabulary_of(text), folder / "tokenizer.json"),
        lambda folder: load_vocabulary(folder / "tokenizer.json").fingerprint,
        1,
    ),
    "convert to tiktoken": Output(
        lambda folder, text: save_vocabulary(vocabulary_of(text), folder / "a.tiktoken"),
        lambda folder: load_vocabulary(folder / "a.tiktoken", pattern="gpt2").merges,
        2,
    ),
}


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest) -> Output:
    return OUTPUTS[request.param]


@pytest.fixture(params=[False, True], ids=["fresh", "over an old one"])
def folder(request: pytest.FixtureRequest, output: Output, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    if request.param:
        output.write(folder, "old")
    return folder


class Checked:
    """A folder, what was there, and what may be there after a failure."""

    def __init__(self, output: Output, folder: Path, tmp_path: Path) -> None:
        self.output, self.folder, self.kept = output, folder, tmp_path / "kept"
        shutil.copytree(folder, self.kept)
        self.old = self.state(folder)
        self.operations = record(folder, self.write)
        self.new = self.state(folder)
        self.restore()
        assert self.new is not None
        assert self.new != self.old
        names = [operation.name for operation in self.operations]
        self.first_change = min(names.index(name) for name in ("unlink", "rename") if name in names)

    def write(self) -> None:
        self.output.write(self.folder, "new")

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)

    def state(self, folder: Path) -> object:
        """Return what a reader finds; None: nothing that it accepts."""
        try:
            return self.output.read(folder)
        except (ValueError, OSError):
            return None

    def allowed(self, number: int) -> list[object]:
        """Return what a reader may find when operation `number` was not done."""
        if self.output.num_files == 1 or number < self.first_change:
            return [self.old, self.new] if number > self.first_change else [self.old]
        return [self.old, None, self.new]

    def names_after_next_start(self) -> set[str]:
        self.write()
        return {path.name for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def checked(output: Output, folder: Path, tmp_path: Path) -> Checked:
    return Checked(output, folder, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_failing_disk_leaves_the_old_output_or_the_new(checked: Checked, for_good: bool) -> None:
    for number, fault in every_fault(checked.operations):
        told = None
        with Disk(checked.folder, at=number, fault=fault, for_good=for_good):
            try:
                checked.write()
            except OSError as error:
                told = error
        if told is not None:
            assert not str(told.filename).endswith(".part"), told
            assert str(checked.folder) in str(told.filename), told
        where = (number, fault, checked.operations[number])
        allowed = [checked.new] if told is None else checked.allowed(number)
        assert checked.state(checked.folder) in allowed, where
        if not for_good:
            left = {path.name for path in checked.folder.rglob("*") if path.is_file()}
            assert not any(name.endswith(".part") for name in left), where
        assert not any(name.endswith(".part") for name in checked.names_after_next_start()), where
        assert checked.state(checked.folder) == checked.new, where
        checked.restore()


def test_a_kill_leaves_the_old_output_or_the_new_and_no_litter(checked: Checked) -> None:
    for number in range(len(checked.operations)):
        assert killed_at(number, checked.folder, checked.write)
        where = (number, checked.operations[number])
        assert checked.state(checked.folder) in checked.allowed(number), where
        names = checked.names_after_next_start()
        assert not any(name.endswith(".part") for name in names), where
        assert checked.state(checked.folder) == checked.new, where
        checked.restore()


@pytest.mark.campaign
def test_a_power_cut_leaves_the_old_output_or_the_new(checked: Checked, tmp_path: Path) -> None:
    states = crash_states(checked.kept, checked.operations)
    for number, state in enumerate(states):
        place = tmp_path / f"state-{number}"
        state.write(place)
        allowed = [checked.new]  # once it was reported as written
        if state.done < len(checked.operations):
            allowed += [checked.old, *([None] if checked.output.num_files > 1 else [])]
        assert checked.state(place) in allowed, state
        shutil.rmtree(place)


def test_a_write_that_is_under_way_is_not_taken_for_litter(tmp_path: Path) -> None:
    from bpe.formats.files import Staging

    with Staging() as one, Staging() as other:
        for staging, content in ((one, b"one"), (other, b"other")):
            staging.open(tmp_path / "file").write(content)
        one.commit()
        assert (tmp_path / "file").read_bytes() == b"one"
        other.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"other"


def count_renames(operations: list[Operation]) -> int:
    return sum(operation.name == "rename" for operation in operations)


def test_every_file_is_renamed_into_its_place(checked: Checked) -> None:
    assert count_renames(checked.operations) == checked.output.num_files
