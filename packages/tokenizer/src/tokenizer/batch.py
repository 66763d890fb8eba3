"""Encode many texts at once.

Stage: texts -> *ids*. The kernels let other threads run, so texts go to threads in groups that are
large enough to be worth handing over. Not here: one large text (`files`).
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from tokenizer._bpe import check_num_threads, require, require_iterable

_GROUP_CHARACTERS = 1 << 18


def encode_batch(
    texts: Iterable[str],
    encode: Callable[[str], list[int]],
    *,
    num_threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[list[int]]:
    """Implement `Tokenizer.encode_batch`."""
    require_iterable(texts, name="texts", needed="a list of texts, such as [text]")
    texts = list(texts)
    for place, text in enumerate(texts):
        require(text, str, name=f"texts[{place}]", needed="a str")
    groups = _group(texts)
    num_threads = min(check_num_threads(num_threads, name="num_threads"), len(groups))
    report = progress or (lambda done, total: None)
    ids: list[list[int]] = []

    def encode_group(group: list[str]) -> list[list[int]]:
        return [encode(text) for text in group]

    if num_threads <= 1:
        for group in groups:
            ids += encode_group(group)
            report(len(ids), len(texts))
        return ids
    with ThreadPoolExecutor(num_threads) as pool:
        for encoded in pool.map(encode_group, groups):
            ids += encoded
            report(len(ids), len(texts))
    return ids


def _group(texts: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    room = 0
    for text in texts:
        if room <= 0:
            groups.append([])
            room = _GROUP_CHARACTERS
        groups[-1].append(text)
        room -= len(text)
    return groups
