"""Compiled scanners against the `regex` module, on real text and on what was made to break them."""

import ctypes
import itertools
import mmap
import random
import sysconfig
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpe
from bpe.kernel_parts import Cutter, address_of

NAMES = list(bpe.PATTERNS)
HOSTILE = [
    *"  ''\n\r\t\x0b\x0c\x1c\x1f\x00aAbBsStTrReEvVmMlLdD09!/-_",
    *"\x85\xa0\u1680\u2000\u2028\u2029\u202f\u205f\u3000\u200b\ufeff",  # white, and not quite
    *"\u0301\u0483\u093f\u0e31\ufe0f",  # marks
    *"\u0663\u0967\xb2\xbd\u2163\uff11\U0001d7d9",  # numbers
    *"\xe9\xd7\xdf\u0130\u0131\u017f\u01c5\u0416\u044f\u05d0\u0627\u0905\u0e01\u212a",  # letters
    *"\u3042\u30fc\u4f60\uac00\u02b0\xaa\ufb03\U00010400\U00010428\U0001d400",
    *"\u2019\u201c\u20ac\u2603\ufffd\U0001f600\U0001f1e6\U000e0061\U0010ffff",
]
PADDINGS = [0, 1, 63, 64, 65, 66, 200]


@cache
def cutter(pattern: str, capacity: int = 1 << 13) -> Cutter:
    return Cutter(pattern, capacity=capacity)


def ends_of(cutter: Cutter, content: bytes, padding: int = 0) -> list[int]:
    """Cut a buffer behind which `padding` more bytes may be read, and not a byte in front."""
    buffer = np.frombuffer(content + b"s\xa0\x80'" * (padding // 4 + 1), np.uint8)
    cutter.open(address_of(buffer), len(content), len(content) + padding)
    ends = []
    while count := cutter.cut():
        base = cutter.origin - address_of(buffer)
        ends += [base + end for end in cutter.ends[:count].tolist()]
    return ends


def true_ends(pattern: str, text: str) -> list[int]:
    pretokens = bpe.Pretokenizer(pattern).split(text)
    return list(itertools.accumulate(len(pretoken.encode()) for pretoken in pretokens))


def assert_same(pattern: str, text: str, *, padding: int = 0, capacity: int = 1 << 13) -> None:
    found = ends_of(cutter(pattern, capacity), text.encode(), padding)
    assert found == true_ends(pattern, text), (pattern, text, padding, capacity)


def draw_text(rng: random.Random) -> str:
    letters = rng.sample(HOSTILE, rng.choice([2, 3, 5, 10, len(HOSTILE)]))
    runs = [1, 1, 1, 1, 1, 2, 3, rng.randrange(1, 80)]
    return "".join(rng.choice(letters) * rng.choice(runs) for _ in range(rng.randrange(60)))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(HOSTILE) | st.characters(exclude_categories=["Cs"])).map("".join),
    st.sampled_from(NAMES),
    st.sampled_from(PADDINGS),
)
def test_any_text_is_cut_as_by_regex(text: str, pattern: str, padding: int) -> None:
    assert_same(pattern, text, padding=padding)


@pytest.mark.parametrize("pattern", NAMES)
def test_hostile_text_is_cut_as_by_regex(pattern: str) -> None:
    rng = random.Random(f"scanning {pattern}")
    for _ in range(4000):
        capacity = rng.choice([1, 3, 1 << 13])
        assert_same(pattern, draw_text(rng), padding=rng.choice(PADDINGS), capacity=capacity)


@pytest.mark.parametrize("pattern", NAMES)
def test_contractions_are_cut_as_by_regex(pattern: str) -> None:
    seconds = [
        "s",
        "S",
        "\u017f",
        "d",
        "T",
        "m",
        "ll",
        "LL",
        "lL",
        "ve",
        "Re",
        "rE",
        "l",
        "v",
        "\u212a",
    ]
    fronts = ["", " ", "a", "A", "1", "!", "\n", "\u3042", "'", "\u0301", "x" * 60]
    for front, second, behind in itertools.product(fronts, seconds, ["", "s", "S", " ", "'s", "1"]):
        assert_same(pattern, f"{front}'{second}{behind}")
        assert_same(pattern, f"{front}'{second}{behind}" * 40, padding=64)


@pytest.mark.parametrize("pattern", NAMES)
def test_runs_of_any_length_meet_block_borders_well(pattern: str) -> None:
    runs = [
        "a",
        "A",
        "1",
        " ",
        "\n",
        "\t",
        "!",
        "'",
        "\xe9",
        "\u4f60",
        "\u3000",
        "\xa0",
        "\U0001f600",
    ]
    behind = ["", "x", "'s", "!", " ", "\n", "\n x", "1", "\u4f60", "\U0001f600"]
    rng = random.Random(f"borders {pattern}")
    for length in [*range(58, 70), *range(122, 134)]:
        for run, tail in itertools.product(runs, behind):
            front = rng.choice(["", "\n", "a", " ", "aA", "!"])
            assert_same(pattern, front + run * length + tail, padding=rng.choice(PADDINGS))


@pytest.mark.parametrize("pattern", NAMES)
def test_every_code_point_of_the_first_plane_is_classed_as_by_regex(pattern: str) -> None:
    characters = map(chr, itertools.chain(range(0xD800), range(0xE000, 0x10000)))
    text = "".join(f"a{c}A {c}1{c}{c}'s\n!{c} " for c in characters)
    assert_same(pattern, text, padding=64)


@pytest.mark.parametrize("pattern", NAMES)
def test_code_points_of_other_planes_are_classed_as_by_regex(pattern: str) -> None:
    code_points = random.Random(0).sample(range(0x10000, 0x110000), 20_000)
    letters = random.Random(1).sample(range(0x10000, 0x20000), 10_000)
    text = "".join(f"a{c}A{c}{c}1 {c}" for c in map(chr, code_points + letters))
    assert_same(pattern, text, padding=64)


@cache
def library_source() -> str:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "".join(path.read_text(encoding="utf-8") for path in paths)[:2_000_000]


@pytest.mark.parametrize("pattern", NAMES)
def test_source_of_the_standard_library_is_cut_as_by_regex(pattern: str) -> None:
    assert_same(pattern, library_source(), padding=64)
    assert_same(pattern, library_source()[:20_000], capacity=1)


RUNS = ["a", "A", " ", "1", "!", "'", "\n", "aA", "a ", " \n", "\n ", "'s", "\u3042A", "A\u0301!"]
RUNS += ["\xe9", "\u0416", "\u4f60", "\u3000", "\u0301", "\U0001f600", "\U0001d400\U0001d41a"]


@pytest.mark.parametrize("pattern", NAMES)
def test_long_runs_are_cut_as_by_regex(pattern: str) -> None:
    for run, tail in itertools.product(RUNS, ["", "x", "\n", "X'll "]):
        assert_same(pattern, run * 3000 + tail, padding=64)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_runs_of_16_megabytes_come_to_an_end(pattern: str) -> None:
    for run in RUNS:
        content = run.encode() * (16_000_000 // len(run.encode()))
        buffer = np.frombuffer(content, np.uint8)
        cutter(pattern).open(address_of(buffer), len(content), len(content))
        while count := cutter(pattern).cut():
            last = cutter(pattern).origin + int(cutter(pattern).ends[count - 1])
        assert last == address_of(buffer) + len(content)


def draw_bytes(rng: random.Random) -> bytes:
    """Draw bytes that are often nearly UTF-8."""
    text = bytearray(draw_text(rng).encode())
    for _ in range(rng.randrange(8)):
        place = rng.randrange(len(text) + 1)
        text[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return rng.choice([bytes(text), rng.randbytes(rng.randrange(300))])


@pytest.mark.parametrize("pattern", NAMES)
def test_borders_in_any_bytes_depend_on_nothing_but_the_bytes(pattern: str) -> None:
    rng = random.Random(f"bytes {pattern}")
    for _ in range(3000):
        content = draw_bytes(rng)
        ends = ends_of(cutter(pattern), content)
        assert ends == sorted(set(ends))
        assert ends[-1:] == [len(content)][: len(content)]
        for capacity, padding in [(1, 0), (3, 70), (1 << 13, 200)]:
            assert ends_of(cutter(pattern, capacity), content, padding) == ends, content


@pytest.mark.parametrize("pattern", NAMES)
def test_nothing_is_read_behind_the_buffer(pattern: str) -> None:
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    address = address_of(np.frombuffer(pages, np.uint8))
    libc = ctypes.CDLL(None)
    border = address + mmap.PAGESIZE
    assert libc.mprotect(ctypes.c_void_p(border), mmap.PAGESIZE, 0) == 0
    rng = random.Random(f"guard {pattern}")
    for _ in range(3000):
        content = draw_bytes(rng)[: mmap.PAGESIZE]
        pages[mmap.PAGESIZE - len(content) : mmap.PAGESIZE] = content
        readable = len(content)
        cutter(pattern).open(border - readable, rng.randint(readable // 2, readable), readable)
        while cutter(pattern).cut():
            pass
    assert libc.mprotect(ctypes.c_void_p(border), mmap.PAGESIZE, mmap.PROT_READ) == 0


@pytest.mark.parametrize("pattern", NAMES)
def test_nothing_is_written_behind_the_spare_ends(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpe._kernels.cutting.cutter.SPARE_ENDS", 1160)
    for capacity, run in itertools.product(
        [1, 2, 63, 64, 65, 100], ["a!1", "1 ", "'s", "\xe9\u3000"]
    ):
        roomy = Cutter(pattern, capacity=capacity)
        ends_of(roomy, run.encode() * 1000, 64)
        assert not roomy.ends[capacity + 160 :].any()
