"""Which documents are held out: their share of the bytes, and each one's chance."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.corpus import _hold_out_files
from trainer.data.documents import hold_out_documents
from trainer.data.held_out import choose_documents

END = b"<|endoftext|>"


def divide(folder: Path, texts: list[bytes], fraction: float) -> tuple[list, list, str]:
    """Return the documents to train on, those held out, and the note on it."""
    paths = [folder / name for name in ("corpus.txt", "train.txt", "validation.txt")]
    paths[0].write_bytes(END.join(texts) + END)
    note = hold_out_documents(paths[:1], fraction=fraction, train=paths[1], validation=paths[2])
    train, held = (path.read_bytes().removesuffix(END).split(END) for path in paths[1:])
    return train, held, note


def share(train: list[bytes], held: list[bytes]) -> float:
    train_bytes, held_bytes = (sum(len(one) + len(END) for one in part) for part in (train, held))
    return held_bytes / (train_bytes + held_bytes)


def best_distance(sizes: np.ndarray, target: float) -> float:
    """Try everything, the plain way."""
    counts = range(1, len(sizes))
    chosen = itertools.chain(*(itertools.combinations(sizes.tolist(), n) for n in counts))
    return min(abs(sum(one) - target) for one in chosen)


@given(
    sizes=st.lists(st.integers(1, 10**5) | st.integers(1, 30), min_size=2, max_size=10),
    fraction=st.floats(0.001, 0.999),
)
@settings(max_examples=200)
def test_few_documents_come_as_near_as_any_choice_or_half_the_smallest(
    sizes: list[int], fraction: float
) -> None:
    array = np.array(sizes, np.int64)
    chosen = choose_documents(array, fraction=fraction)
    target = fraction * array.sum()
    assert chosen.any()
    assert not chosen.all()
    allowed = max(best_distance(array, target), array.min() / 2)
    assert abs(array[chosen].sum() - target) <= allowed + 1e-6


@given(seed=st.integers(0, 10**6), spread=st.floats(0.01, 2), fraction=st.floats(0.02, 0.5))
@settings(max_examples=60)
def test_many_documents_come_within_half_the_smallest(
    seed: int, spread: float, fraction: float
) -> None:
    rng = np.random.default_rng(seed)
    sizes = (10 ** rng.normal(3, spread / 4, 400)).astype(np.int64) + 14
    chosen = choose_documents(sizes, fraction=fraction)
    assert abs(sizes[chosen].sum() - fraction * sizes.sum()) <= sizes.min() / 2


def test_documents_alike_have_chances_alike() -> None:
    rng = np.random.default_rng(0)
    sizes, held = rng.integers(1000, 1200, 50), np.zeros(50)
    for _ in range(2000):
        order = rng.permutation(50)
        held[order[choose_documents(sizes[order], fraction=0.1)]] += 1
    assert held.sum() / 2000 == pytest.approx(5, abs=0.2)
    assert (np.abs(held / 2000 - 0.1) < 0.04).all()


@pytest.mark.parametrize("seed", range(40))
def test_a_book_among_notes_is_not_held_out(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    notes = [rng.bytes(40).hex().encode() + b"\n" for _ in range(19)]
    book = rng.bytes(100_000).hex().encode() + b"\n"
    train, held, note = divide(tmp_path, [*notes[:9], book, *notes[9:]], 0.05)
    assert train == [book]
    assert sorted(held) == sorted(notes)
    assert f"19 of 20 documents ({share(train, held):.1%} of the bytes instead of 5.0%" in note


@pytest.mark.parametrize("seed", range(3))
def test_books_among_notes_are_held_out_by_their_bytes(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    sizes = [*rng.integers(1, 300, 60), *rng.integers(20_000, 90_000, 30)]
    texts = [rng.bytes(int(size)).hex().encode() for size in sizes]
    train, held, note = divide(tmp_path, texts, 0.1)
    assert sorted(train + held) == sorted(texts)
    assert share(train, held) == pytest.approx(0.1, abs=1e-4)
    assert "10.0% of the bytes) are held out" in note


def test_a_choice_by_number_stays_where_its_bytes_are_the_share(tmp_path: Path) -> None:
    texts = [b"%04d" % i for i in range(1000)]
    _, held, _ = divide(tmp_path, texts, 0.05)
    by_hash = sorted(texts, key=lambda text: hashlib.blake2b(text, digest_size=8).digest())
    assert set(held) == set(by_hash[:50])


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_documents_does_not_decide(order: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    texts = [rng.bytes(int(size)).hex().encode() for size in rng.integers(1, 900, 70)]
    _, held, _ = divide(tmp_path, texts[::order], 0.07)
    _, other, _ = divide(tmp_path, sorted(texts), 0.07)
    assert sorted(held) == sorted(other)


@pytest.mark.parametrize(
    ("texts", "fraction", "held", "words"),
    [
        ([b"a" * 50, b"b" * 500], 0.1, [b"a" * 50], "1 of 2 documents (10.9% of the bytes instead"),
        ([b"a" * 50, b"b" * 90], 0.05, [b"a" * 50], "1 of 2 documents (38.0% of the bytes instead"),
        ([b"a" * 50, b"b" * 90], 0.9, [b"b" * 90], "1 of 2 documents (62.0% of the bytes instead"),
        ([b"a\n" * 50, b"b\n" * 50], 0.1, None, "2 documents cannot give up 10.0%, so the last"),
        ([b"", b"a" * 5, b" \n", b"b" * 200], 0.1, [b"a" * 5], "1 of 2 documents"),
        ([b"a\nb\n" * 9] * 30, 0.1, None, "30 documents cannot give up 10.0%, so the last"),
    ],
)
def test_few_documents_give_up_what_they_can(
    texts: list[bytes], fraction: float, held: list[bytes] | None, words: str, tmp_path: Path
) -> None:
    train, found, note = divide(tmp_path, texts, fraction)
    assert words in note
    if held is None:
        assert share(train, found) == pytest.approx(fraction, abs=0.05)
    else:
        assert found == held


@pytest.mark.parametrize("texts", [[b"a" * 99], [b"a" * 99] * 40, [b"", b"a" * 99, b"\n"]])
def test_one_document_of_one_line_is_refused(texts: list[bytes], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one line of 99 bytes: no place to hold out"):
        divide(tmp_path, texts, 0.1)


def test_names_divide_the_library_unless_a_huge_file_is_among_them() -> None:
    files = [(f"module_{i}.py", b"x" * 100) for i in range(400)]

    def is_early(name: str) -> bool:
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < 0.05 * 2**64

    early = {name for name, _ in files if is_early(name)}
    assert _hold_out_files(files, 0.05)[0] == early
    name = sorted(early)[0]
    others = [one for one in files if one[0] != name]
    held, reached = _hold_out_files([*others, (name, b"x" * 10**6)], 0.05)
    assert name not in held
    assert reached == pytest.approx(0.043, abs=0.001)  # all the others
