import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bpe import Vocabulary, train_vocabulary
from tokenizer import TokenFile, Tokenizer
from trainer.config.run_config import CorpusConfig, TokenizerConfig
from trainer.data.preparation import PreparedData, prepare
from trainer.monitoring.progress import Reporter

END = "<|endoftext|>"
TRAIN = "the cat sat on the mat\n" * 20
VALIDATION = "the mat sat on the cat\n"


class Listener(Reporter):
    def __init__(self) -> None:
        super().__init__(mode="silent")
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, validation = tmp_path / "train.txt", tmp_path / "validation.txt"
    train.write_text(f"{TRAIN}{END}{TRAIN}")
    validation.write_text(VALIDATION)
    return train, validation


def run(
    files: tuple[Path, Path],
    *,
    vocab_size: int = 265,
    reporter: Reporter | None = None,
    num_workers: int = 1,
) -> PreparedData:
    train, validation = files
    config = SimpleNamespace(
        corpus=CorpusConfig(
            source="files",
            train=(train,),
            validation=(validation,),
            cache_dir=train.parent / "data",
        ),
        tokenizer=TokenizerConfig(vocab_size=vocab_size, num_workers=num_workers),
    )
    return prepare(config, reporter=reporter or Listener())


def text_of(file: TokenFile, data: PreparedData) -> str:
    return data.tokenizer.decode(file.tokens.tolist())


def test_tokens_are_the_text_with_end_of_text_after_every_document(files: tuple[Path, Path]):
    data = run(files)
    end = data.tokenizer.end_of_text_id
    one = data.tokenizer.encode(TRAIN)
    assert data.train.tokens.tolist() == [*one, end, *one, end]
    assert data.validation.tokens.tolist() == [*data.tokenizer.encode(VALIDATION), end]
    assert data.train.tokens.dtype == np.uint16
    assert data.train.info.num_documents == 2
    assert text_of(data.validation, data) == VALIDATION + END


def test_separator_of_the_user_is_not_doubled(files: tuple[Path, Path]):
    files[1].write_text(VALIDATION + END)
    data = run(files)
    assert np.count_nonzero(data.validation.tokens == data.tokenizer.end_of_text_id) == 1
    assert text_of(data.validation, data) == VALIDATION + END


def test_second_run_reuses_both_stages_and_says_so(files: tuple[Path, Path]):
    first = run(files)
    stamp = first.train.path.stat().st_mtime_ns
    reporter = Listener()
    again = run(files, reporter=reporter)
    assert f"reusing {first.directory}: tokenizer, token files" in reporter.lines
    assert again.hashes() == first.hashes()
    assert again.train.path.stat().st_mtime_ns == stamp


def test_number_of_workers_changes_nothing(files: tuple[Path, Path]):
    first = run(files, num_workers=1)
    reporter = Listener()
    assert run(files, num_workers=2, reporter=reporter).hashes() == first.hashes()
    assert any(line.startswith("reusing") for line in reporter.lines)


def test_number_of_workers_reaches_counting_and_encoding(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    reached: dict[str, int | None] = {}

    def train(*arguments: object, **options: object) -> Vocabulary:
        reached["count"] = options["num_workers"]
        return train_vocabulary(*arguments, **options)

    def encode(self: Tokenizer, *arguments: object, **options: object) -> TokenFile:
        reached["encode"] = options["num_threads"]
        return encode_file(self, *arguments, **options)

    encode_file = Tokenizer.encode_file
    monkeypatch.setattr("trainer.data.preparation.train_vocabulary", train)
    monkeypatch.setattr(Tokenizer, "encode_file", encode)
    run(files, num_workers=3)
    assert reached == {"count": 3, "encode": 3}


@pytest.mark.parametrize("change", ["train", "validation", "vocabulary"])
def test_changed_input_is_prepared_elsewhere(files: tuple[Path, Path], change: str):
    first = run(files)
    if change == "vocabulary":
        other = run(files, vocab_size=264)
    else:
        files[change == "validation"].write_text("something else\n" * 30)
        other = run(files)
    assert other.directory != first.directory
    assert other.directory.parent == first.directory.parent


def test_tokenizer_of_a_stopped_run_is_reused(files: tuple[Path, Path]):
    first = run(files)
    tokens = first.directory / "tokens"
    tokens.rename(first.directory / ".tokens.part")
    reporter = Listener()
    again = run(files, reporter=reporter)
    assert f"reusing {first.directory}: tokenizer" in reporter.lines
    assert any("left by an interrupted process" in line for line in reporter.lines)
    assert again.hashes() == first.hashes()
    assert not (first.directory / ".tokens.part").exists()


def damage_length(file: TokenFile) -> None:
    with file.path.open("r+b") as opened:
        opened.truncate(200)


def damage_id(file: TokenFile) -> None:
    with file.path.open("r+b") as opened:
        opened.seek(-2, 2)
        opened.write(b"\xff\xff")


def damage_fingerprint(file: TokenFile) -> None:
    path = file.path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer": "other"}))


def change_id(file: TokenFile) -> None:
    with file.path.open("r+b") as opened:
        opened.seek(-2, 2)
        opened.write(b"\x41\x00")


def change_document_start(file: TokenFile) -> None:
    with file.path.with_suffix(".documents.npy").open("r+b") as opened:
        opened.seek(-8, 2)
        opened.write(b"\x07")


def change_end_of_text(file: TokenFile) -> None:
    path = file.path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"end_of_text_id": 7}))


def swap_with_validation(file: TokenFile) -> None:
    folder = file.path.parent
    for suffix in (".npy", ".json"):
        train, validation = folder / f"train{suffix}", folder / f"validation{suffix}"
        train.rename(folder / "x")
        validation.rename(train)
        (folder / "x").rename(validation)


def remove_sidecar(file: TokenFile) -> None:
    file.path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_id, "id 65535 at position"),
        (damage_fingerprint, "was made by the tokenizer other"),
        (change_id, r"train\.npy .*the file has changed"),
        (change_document_start, r"train\.documents\.npy .*the file has changed"),
        (change_end_of_text, r"train\.json .*the file has changed"),
        (swap_with_validation, "the file has changed"),
    ],
)
def test_altered_token_file_is_refused_and_never_overwritten(
    files: tuple[Path, Path], damage, words: str
):
    first = run(files)
    damage(first.train)
    with pytest.raises(ValueError, match=words) as caught:
        run(files)
    assert f"remove {first.directory / 'tokens'} to have it built again" in str(caught.value)


@pytest.mark.parametrize("damage", [damage_length, remove_sidecar])
def test_damaged_token_file_is_named_and_built_again(files: tuple[Path, Path], damage):
    first = run(files)
    hashes = first.hashes()
    damage(first.train)
    reporter = Listener()
    assert run(files, reporter=reporter).hashes() == hashes
    (line,) = [line for line in reporter.lines if "is damaged and is built again" in line]
    assert "train." in line


def test_damaged_tokenizer_is_built_again(files: tuple[Path, Path]):
    first = run(files)
    for path in (first.directory / "tokenizer").iterdir():
        path.write_text("{}")
    reporter = Listener()
    assert run(files, reporter=reporter).hashes() == first.hashes()
    assert any("tokenizer is damaged" in line for line in reporter.lines)


def test_altered_tokenizer_is_refused(files: tuple[Path, Path]):
    path = run(files).directory / "tokenizer" / "merges.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match="was trained on this text; remove"):
        run(files)


def test_file_in_the_place_of_a_prepared_folder_gives_way(files: tuple[Path, Path]):
    first = run(files)
    tokens = first.directory / "tokens"
    tokens.rename(first.directory / "elsewhere")
    tokens.write_text("")
    (first.directory / ".tokens.part").write_text("")
    assert run(files).hashes() == first.hashes()


def test_vocabulary_that_ends_early_is_said_at_every_run(files: tuple[Path, Path]):
    for _ in range(2):
        data = run(files, vocab_size=5000)
        (note,) = data.notes
        assert note.endswith(
            f"the vocabulary has {data.tokenizer.vocab_size} tokens instead of 5,000"
        )
        assert 257 < data.tokenizer.vocab_size < 400


def test_two_at_once_share_one_result(files: tuple[Path, Path]):
    results: list[PreparedData] = []
    threads = [threading.Thread(target=lambda: results.append(run(files))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0].hashes() == results[1].hashes()
    names = {path.name for path in results[0].directory.iterdir()}
    assert names == {"tokenizer", "tokens", ".tokenizer.lock", ".tokens.lock"}


def test_long_corpus_reports_its_stages(files: tuple[Path, Path], capsys: pytest.CaptureFixture):
    run(files, reporter=Reporter(mode="lines"))
    lines = capsys.readouterr().err.splitlines()
    for name in ("count pretokens:", "learn merges:", "encode train text:"):
        assert any(line.startswith(name) for line in lines)
