"""Draw texts that are hard to split, encode and decode.

Stage: seed -> *texts*. Alphabets contain the kinds of characters that split patterns distinguish,
so short texts meet their borders often. Not here: what is done with the texts.
"""

import random

SPECIALS = ("<|endoftext|>", "<|x|>", "<|x|><|y|>", "|>\u00e9", "<|one of more than 32 bytes|>")

_WHITE = [*" \n\r\t\x0b\x0c\x1c\x1f\x85\xa0", *"\u1680\u2000\u2028\u2029\u202f\u205f\u3000"]
_NOT_QUITE_WHITE = ["\u200b", "\ufeff", "\u180e", "\0"]
_LETTERS = [*"abAB", *"\xe9\xdf\u0130\u0131\u017f\u01c5\u0416\u044f\u05d0\u0627\u0905\u0e01\u212a"]
_LETTERS += [*"\u3042\u30fc\u4f60\uac00\u02b0\xaa\ufb03\U00010400\U00010428\U0001d400"]
_MARKS = [*"\u0301\u0483\u093f\u0e31\ufe0f\u20dd\U000e0100"]
_DIGITS = [*"0159\u0663\u0967\xb2\xbd\u2163\uff11\U0001d7d9"]
_SYMBOLS = [*'!-_/.<|>"\u2019\u20ac\u2603\ufffd\u00d7\U0010ffff']
_EMOJI = [*"\U0001f600\u200d\U0001f3fd", "\U0001f468\u200d\U0001f469", "\U0001f1e6\U0001f1e7"]
_APOSTROPHES = [
    *"'\u2019",
    *["'s", "'S", "'ll", "'LL", "'lL", "'ve", "'re", "'d", "'T", "'m", "'\u017f"],
]
_WORDS = ["the", " the", "ing", "ab" * 16, "c" * 62, "-" * 100, "12345", "\r\n", "  ", "XmlHttp"]
_PARTS = [part for one in SPECIALS for part in (one, one[:-1], one[1:], one * 2)]

ALPHABETS: tuple[list[str], ...] = (
    ["a", "b"],
    [*_LETTERS, " ", "'"],
    [*_WHITE, "a", "1", "!"],
    _WHITE + _NOT_QUITE_WHITE,
    [*_DIGITS, " ", "a", "\n"],
    [*_APOSTROPHES, " ", "s", "l", "v", "A", "\n"],
    _LETTERS + _MARKS,
    _EMOJI + _MARKS + [" ", "a"],
    [*_PARTS, " ", "a", "<", "|", ">"],
    _WORDS + _APOSTROPHES,
    _WHITE + _NOT_QUITE_WHITE + _LETTERS + _MARKS + _DIGITS + _SYMBOLS + _EMOJI + _APOSTROPHES,
)
_BAD_BYTES = (b"\x80", b"\xbf", b"\xc0\x80", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98")
_BAD_BYTES += (b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xfe\xff", b"\xe0\x80\xaf")
_MAX_UNITS = 14
_RUNS = (3, 8, 16, 40, 70)


def draw_texts(rng: random.Random, count: int) -> list[str]:
    """Return short texts, most from one alphabet and few longer than 100 characters."""
    alphabet = rng.choice(ALPHABETS)
    if len(alphabet) > 3 and rng.random() < 0.5:
        alphabet = rng.sample(alphabet, rng.randrange(2, min(8, len(alphabet))))
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(_MAX_UNITS))) for _ in range(count)]
    for place in range(0, count, 16):
        run = rng.choice(alphabet) * rng.choice(_RUNS)
        texts[place] = texts[place] + run + texts[place - 1]
    for place in range(1, count, 64):
        texts[place] += _any_character(rng)
    return texts


def draw_bytes(rng: random.Random, count: int) -> list[bytes]:
    """Return texts with bytes inserted that are not UTF-8, and bytes of any value."""
    found = []
    for text in draw_texts(rng, count):
        data = bytearray(text.encode())
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randrange(2)] = rng.choice(_BAD_BYTES)
        found.append(bytes(data))
    for place in range(0, count, 8):
        found[place] = rng.randbytes(rng.randrange(24))
    return found


def _any_character(rng: random.Random) -> str:
    code_point = rng.randrange(0x110000)
    return "\ufffd" if 0xD800 <= code_point < 0xE000 else chr(code_point)
