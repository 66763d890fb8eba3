"""How do text files become a token file, whatever their size?

Stage: files -> text blocks -> *ids -> token file*. Not here: the format of the token file
(`token_file`), and the cutting of blocks (`stream`).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tokenizer.stream import read_text_blocks
from tokenizer.token_file import TokenFile, TokenFileWriter

if TYPE_CHECKING:
    from tokenizer.tokenizer import Tokenizer


def encode_file(
    tokenizer: "Tokenizer",
    source: str | Path | Sequence[str | Path],
    *,
    destination: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> TokenFile:
    """Do the work of `Tokenizer.encode_file`."""
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    num_bytes = sum(path.stat().st_size for path in paths)
    if not num_bytes:
        raise ValueError(
            f"nothing to encode in {', '.join(map(str, paths)) or 'an empty list of files'}; "
            "pass at least one regular file that is not empty"
        )
    num_done = num_documents = 0
    with TokenFileWriter(destination, dtype=tokenizer.dtype) as writer:
        for path in paths:
            is_between_documents = True
            for ids, num_block_bytes in _encode_blocks(tokenizer, path):
                writer.append(ids)
                num_documents += _count_starts(
                    ids, tokenizer.end_of_text_id, is_between_documents=is_between_documents
                )
                if len(ids):
                    is_between_documents = int(ids[-1]) == tokenizer.end_of_text_id
                num_done += num_block_bytes
                if progress is not None:
                    progress(num_done, num_bytes)
        return writer.commit(
            vocab_size=tokenizer.vocab_size,
            tokenizer=tokenizer.fingerprint,
            end_of_text_id=tokenizer.end_of_text_id,
            num_documents=num_documents,
            num_bytes=num_done,
            sources=tuple(path.name for path in paths),
        )


def _encode_blocks(tokenizer: "Tokenizer", path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yield ids, and the bytes read for them, for as long as the file has any."""
    encoder = tokenizer.encoder()
    with path.open("rb") as file:
        for text, num_bytes in read_text_blocks(file, name=path):
            ids = encoder.push(text) if num_bytes else encoder.finish()
            yield np.fromiter(ids, dtype=tokenizer.dtype), num_bytes


def _count_starts(
    ids: np.ndarray, end_of_text_id: int | None, *, is_between_documents: bool
) -> int:
    """Count the ids that begin a document: no end-of-text, but behind one or behind a border."""
    if end_of_text_id is None or not len(ids):
        return int(is_between_documents and len(ids) > 0)
    is_end = ids == end_of_text_id
    begins = ~is_end & np.concatenate([[is_between_documents], is_end[:-1]])
    return int(np.count_nonzero(begins))
