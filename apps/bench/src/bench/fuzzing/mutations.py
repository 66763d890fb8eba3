"""Damage valid files so that a loader gets far before it notices.

Stage: valid files, seed -> *hostile files*. Every format has its own damage, which keeps its
surroundings valid; any file may also be cut, flipped and spliced as bytes. Not here: the loaders.
"""

import json
import random
import re
from collections.abc import Callable, Mapping

Mutate = Callable[[bytes, random.Random], bytes]

# What `json.dumps` cannot write; it replaces a marked string afterwards.
_RAW_JSON = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-0", "01", "1" * 5000, "[" * 3000, "tru", ""),
    *('"\\ud800"', '"\\u00"', '"\t"', "{" * 50, '{"a":1,"a":2}', '{"":{"":{}}}', "1.0", "1E2"),
    *("[" * 100_000, '[{"a":' * 20_000, "[]" * 9, "/**/1", "'a'"),
)
_MARK = "@raw {}@"
_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 255, 256, 65_536, 2**31 - 1, 2**31, 2**32, 2**63, 2**64),
    *(10**30, 0.5, -1.5, 1e308, "", "a", "\x00", "../../../etc/passwd", "/etc/passwd", "x" * 3000),
    *([], {}, [[]], [None], ["a"], {"a": None}, [0, 8], [8, 0], [0, 2**63], [-1, 5], {"": ""}),
    *("\u0120\u0120", "F32", "I64", "|O", "uint16", "<|endoftext|>", "\ud800", "none", "inf"),
    *("(" * 500, "(?:" * 2000, "a{9999999}", "((a+)+)+$", "(a{0,99}){0,99}", "[" * 90),
)
_NUMBERS = (b"0", b"-1", b"255", b"65536", b"4294967296", b"9223372036854775807", b"1" * 40, b"1e9")


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, splice, repeat or overwrite, a few times."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 4, 8, 60))
        match rng.randrange(7):
            case 0:
                if content:
                    content[place % len(content)] ^= 1 << rng.randrange(8)
            case 1:
                del content[place:]
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = content[rng.randrange(len(content) + 1) :][:length]
            case 4:
                content[place : place + length] = rng.choice((b"\xff", b"\0", b"\x80")) * length
            case 5:
                put = rng.choice((rng.randbytes(length), rng.choice(_NUMBERS)))
                content[place : place + rng.randrange(3)] = put
            case 6:
                content += rng.choice((b"\0", b"\n", b" ", b"{}", rng.randbytes(9)))
    return bytes(content)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Replace, remove, repeat and add values anywhere in the tree."""
    tree = json.loads(data)
    raw: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree = _mutate_tree(tree, rng, raw)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    for number, spelled in enumerate(raw):
        text = text.replace(json.dumps(_MARK.format(number)), spelled, 1)
    return text.encode(errors="surrogatepass")


def mutate_lines(data: bytes, rng: random.Random) -> bytes:
    """Repeat, remove, swap and damage whole lines."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines.insert(place, rng.choice(lines))
        case 1:
            del lines[place]
        case 2:
            lines[place] = mutate_bytes(lines[place], rng)
        case 3:
            lines[place] += rng.choice((b" ", b" 1", b"\r", b"\xc2\x85", b"=", b"\0", b"\xff"))
        case 4:
            lines[place] = b" ".join(reversed(lines[place].split(b" ")))
        case 5:
            lines[place] = re.sub(rb"\d+", lambda match: rng.choice(_NUMBERS), lines[place])
    return b"\n".join(lines)


_TOML_VALUES = (
    *("nan", "inf", "-inf", "0", "-1", "true", '"none"', '""', "[]", "{}", "1979-05-27", "0x7f"),
    *("9" * 400, "9" * 5000, "1e400", "[" * 5000, "{a=" * 2000, '["a"]', '["\\u0000"]', '"../x"'),
    *("2.5", "9223372036854775808", "'''", "[[1]]", "{a.b.c = 1}", '"\\ud800"', "1_000", '"x"'),
)


def mutate_toml(data: bytes, rng: random.Random) -> bytes:
    """Give a key another value, or damage lines."""
    if rng.random() < 0.4:
        return mutate_lines(data, rng)
    lines = data.decode().split("\n")
    places = [i for i, line in enumerate(lines) if "=" in line]
    place = rng.choice(places)
    key = lines[place].split("=")[0]
    value = rng.choice(_TOML_VALUES)
    deep = key.strip() + ".a" * 10 ** rng.randrange(5)
    lines[place] = rng.choice(
        (f"{key}= {value}", f"{key}.a = {value}", f"[{key.strip()}]", value, f"{deep} = {value}")
    )
    return "\n".join(lines).encode()


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Damage the header, its length, or the value of its length."""
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], data[8 + size :]
    match rng.randrange(4):
        case 0:
            claimed = rng.choice((0, 1, size - 1, size + 1, len(data), 2**31, 2**63, 2**64 - 1))
            return (claimed % 2**64).to_bytes(8, "little") + header + body
        case 1:
            header = mutate_bytes(header, rng)
        case 2:
            body = mutate_bytes(body, rng)
        case 3:
            header = mutate_json(header, rng)
            tree = _parsed(header)
            if isinstance(tree, dict) and isinstance(tree.get("__metadata__"), dict):
                header = _mutate_metadata(tree, rng)
    return len(header).to_bytes(8, "little") + header + body


_DESCRIPTIONS = (
    *("'|O'", "'<f8'", "'>u2'", "'<u8'", "'|V4'", "'<U9999999'", "[('a', '<u2')]", "'<M8[s]'"),
    *("'<u2'", "'<i8'", "'|S0'", "('<u2', 3)", "'" + "a" * 500 + "'", "'O,O'", "None", "'|b1'"),
)
_SHAPES = (
    *("(0,)", "(1,)", "(-1,)", "()", "(10**9,)", "(9223372036854775807,)", f"({'9' * 40},)"),
    *("(2, 3)", "('a',)", "(1.5,)", "((1,),)", "(" * 150, "-" * 5000 + "1", "(True,)", "[3]"),
    *("(4294967296, 4294967296)", "((" * 90 + "))" * 90, "__import__('os').system('true')"),
)
_PICKLE = b"\x80\x04cposix\nsystem\n(Vtouch x\ntR."


def mutate_npy(data: bytes, rng: random.Random) -> bytes:
    """Damage the header of a .npy, its length, its version, or the array."""
    size = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + size], data[10 + size :]
    match rng.randrange(6):
        case 0:
            kind = rng.choice(_DESCRIPTIONS).encode()
            header = re.sub(rb"'descr': '[^']*'", lambda match: b"'descr': " + kind, header)
        case 1:
            shape = rng.choice(_SHAPES).encode()
            header = re.sub(rb"'shape': \([^)]*\)", lambda match: b"'shape': " + shape, header)
        case 2:
            version = bytes((rng.choice((0, 1, 2, 3, 255)), rng.choice((0, 1))))
            return data[:6] + version + data[8:]
        case 3:
            claimed = rng.choice((0, 1, size - 1, size + 1, 65_535))
            return data[:8] + claimed.to_bytes(2, "little") + header + body
        case 4:
            header = header.replace(b"'<u2'", b"'|O'").replace(b"'<i8'", b"'|O'")
            body = _PICKLE
        case 5:
            header = mutate_bytes(header, rng)
    return data[:8] + min(len(header), 65_535).to_bytes(2, "little") + header + body


def mutate_one(
    files: Mapping[str, bytes], kinds: Mapping[str, Mutate], rng: random.Random
) -> dict[str, bytes]:
    """Return the files with one damaged, by its format or as bytes; rarely two."""
    damaged = dict(files)
    for _ in range(1 + (rng.random() < 0.1)):
        name = rng.choice(list(kinds))
        mutate = mutate_bytes if rng.random() < 0.35 else kinds[name]
        try:
            damaged[name] = mutate(damaged[name], rng)
        except (ValueError, IndexError, OverflowError, RecursionError):  # damaged before: no format
            damaged[name] = mutate_bytes(damaged[name], rng)
    return damaged


def _mutate_tree(tree: object, rng: random.Random, raw: list[str]) -> object:
    """Change one value anywhere below `tree`, deep or not with equal probability."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        match rng.randrange(12):
            case 0:
                return {k: v for k, v in tree.items() if k != key}
            case 1:
                return {**tree, str(rng.choice(_VALUES)): rng.choice(_VALUES)}
            case 2:
                return {str(rng.choice(_VALUES)) if k == key else k: v for k, v in tree.items()}
        return {**tree, key: _mutate_tree(tree[key], rng, raw)}
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        place = rng.randrange(len(tree))
        match rng.randrange(8):
            case 0:
                return tree[:place] + tree[place + 1 :]
            case 1:
                return [*tree, tree[place]]
        return [*tree[:place], _mutate_tree(tree[place], rng, raw), *tree[place + 1 :]]
    if rng.random() < 0.3:
        raw.append(rng.choice(_RAW_JSON))
        return _MARK.format(len(raw) - 1)
    return rng.choice(_VALUES)


def _mutate_metadata(tree: dict, rng: random.Random) -> bytes:
    """Damage JSON stored as text in the metadata of a safetensors file."""
    metadata = tree["__metadata__"]
    name = rng.choice(list(metadata) or ["format"])
    text = metadata.get(name)
    damaged = mutate_bytes(str(text).encode(errors="replace"), rng)
    if isinstance(text, str) and _parsed(text.encode(errors="replace")) is not None:
        damaged = mutate_json(text.encode(errors="replace"), rng)
    metadata[name] = damaged.decode(errors="replace")
    return json.dumps(tree).encode()


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
