"""Encode text files of any size.

Stage: files -> pieces -> *ids* -> token file, or memory. Threads encode pieces while this one puts
the ids of earlier pieces into place, in order; only as many pieces are in progress as there are
threads, so memory stays constant. Not here: where a file can be cut (`sources`), and the format of
the token file (`token_file`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tokenizer._bpe import PATTERNS, PIECE_BYTES, as_path, as_paths, check_num_threads, not_utf8
from tokenizer.codec import Codec
from tokenizer.files.documents import DocumentStarts
from tokenizer.files.sources import COMPRESSED, Piece, cut_sources
from tokenizer.files.token_file import TokenFile, TokenFileWriter

if TYPE_CHECKING:
    from tokenizer._kernels.encoder import KernelEncoder
    from tokenizer._kernels.lane import Lane

BUSY_BYTES_PER_THREAD = 8 * PIECE_BYTES
"""Text per thread that makes the costs of starting the thread and opening the file negligible."""

Progress = Callable[[int, int], None]

_INFLATION = 4  # minimum bytes of text per byte of a compressed file
_SPARE_IDS = 64  # that a kernel may overwrite after the last one


def encode_file(
    codec: Codec,
    source: str | Path | Sequence[str | Path],
    *,
    destination: str | Path,
    num_threads: int | None,
    progress: Progress | None,
) -> TokenFile:
    """Implement `Tokenizer.encode_file`."""
    destination = as_path(destination, name="destination")
    encoding = _Encoding(codec, source, num_threads=num_threads, progress=progress)
    documents = DocumentStarts(codec.end_of_text_id)
    num_bytes = 0
    with TokenFileWriter(destination, dtype=codec.dtype) as writer:
        for piece, ids in encoding.run():
            documents.add(ids, starts_file=piece.starts_file)
            writer.append(ids)
            num_bytes += piece.num_bytes
        return writer.commit(
            vocab_size=codec.vocab_size,
            tokenizer=codec.fingerprint,
            end_of_text_id=codec.end_of_text_id,
            document_starts=documents.starts(),
            num_bytes=num_bytes,
            sources=tuple(path.name for path in encoding.paths),
        )


def encode_files_to_array(
    codec: Codec,
    source: str | Path | Sequence[str | Path],
    *,
    num_threads: int | None,
    progress: Progress | None,
) -> np.ndarray:
    """Implement `Tokenizer.encode_files_to_array`."""
    encoding = _Encoding(codec, source, num_threads=num_threads, progress=progress)
    # At most one id per byte; the system provides no memory that is never touched.
    joined = np.empty(encoding.estimated_bytes + _SPARE_IDS, codec.dtype)
    num_tokens = 0
    for _, ids in encoding.run(target=joined):
        if num_tokens + len(ids) > len(joined):  # the file was compressed better than expected
            joined = np.concatenate([joined, np.empty(len(joined) + len(ids), joined.dtype)])
        place = joined[num_tokens : num_tokens + len(ids)]
        if not np.may_share_memory(place, ids):
            place[:] = ids
        num_tokens += len(ids)
    return joined[:num_tokens]


class _Encoding:
    """Encodes files piece by piece.

    Raises:
        ValueError: there is nothing to encode.
    """

    def __init__(
        self,
        codec: Codec,
        source: str | Path | Sequence[str | Path],
        *,
        num_threads: int | None,
        progress: Progress | None,
    ) -> None:
        self.paths = as_paths(source, name="source")
        sizes = [path.stat().st_size for path in self.paths]
        if not sum(sizes):
            named = ", ".join(map(str, self.paths)) or "an empty list of files"
            raise ValueError(
                f"nothing to encode in {named}; pass at least one regular file that is not empty"
            )
        self._num_bytes = sum(sizes)
        self.estimated_bytes = sum(
            size * _INFLATION if path.suffix in COMPRESSED else size
            for path, size in zip(self.paths, sizes, strict=True)
        )
        self._codec = codec
        self._num_threads = check_num_threads(num_threads, name="num_threads")
        self._progress = progress
        self._kernels = codec.kernels_for(self.estimated_bytes)

    def run(self, target: np.ndarray | None = None) -> Iterator[tuple[Piece, np.ndarray]]:
        """Yield pieces and their (n,) ids, in order; each array is void after the next one.

        `target` is where the ids of all pieces go; they may be there already.
        """
        vocabulary = self._codec.vocabulary
        pieces = cut_sources(
            self.paths,
            vocabulary.special_tokens,
            cuts_at_spaces=vocabulary.pattern in PATTERNS.values(),
        )
        if self._kernels is None:
            encoded = ((piece, self._encode_plainly(piece)) for piece in pieces)
        elif self._num_threads == 1:
            encoded = self._encode_alone(self._kernels, pieces, target)
        else:
            encoded = self._encode_in_threads(self._kernels, pieces)
        for piece, ids in encoded:
            yield piece, ids
            if self._progress is not None:
                self._progress(piece.num_done, self._num_bytes)

    def _encode_alone(
        self, kernels: "KernelEncoder", pieces: Iterator[Piece], target: np.ndarray | None
    ) -> Iterator[tuple[Piece, np.ndarray]]:
        out = np.empty(0, self._codec.dtype)
        with kernels.lanes(1) as (lane,):
            for piece in pieces:
                if target is not None and len(target) >= piece.num_bytes + _SPARE_IDS:
                    ids = _encode_piece(lane, piece, target)
                    target = target[len(ids) :]
                else:
                    out, target = _with_room(out, piece), None
                    ids = _encode_piece(lane, piece, out)
                yield piece, ids

    def _encode_in_threads(
        self, kernels: "KernelEncoder", pieces: Iterator[Piece]
    ) -> Iterator[tuple[Piece, np.ndarray]]:
        """Encode each piece in the thread whose turn it is.

        In turns, not in whichever thread is free: a lane that encodes the same pieces in the next
        call has seen all their pretokens.
        """
        under_way: deque[tuple[Piece, np.ndarray, Future[np.ndarray]]] = deque()
        spare = [np.empty(0, self._codec.dtype) for _ in range(self._num_threads + 1)]
        with kernels.lanes(self._num_threads) as lanes, ExitStack() as stack:
            threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in lanes]
            try:
                for piece, thread, lane in zip(pieces, cycle(threads), cycle(lanes)):
                    out = _with_room(spare.pop(), piece)
                    future = thread.submit(_encode_piece, lane, piece, out)
                    under_way.append((piece, out, future))
                    if not spare:
                        yield from _take_first(under_way, spare)
                while under_way:
                    yield from _take_first(under_way, spare)
            finally:
                for _, _, future in under_way:
                    future.cancel()

    def _encode_plainly(self, piece: Piece) -> np.ndarray:
        buffer = np.empty(piece.num_bytes, np.uint8)
        piece.read_into(buffer)
        try:
            text = buffer.tobytes().decode()
        except UnicodeDecodeError as error:
            raise not_utf8(error, piece.path, start_byte=piece.start_byte) from None
        return self._codec.encode_array(text)


def _take_first(
    under_way: deque[tuple[Piece, np.ndarray, "Future[np.ndarray]"]], spare: list[np.ndarray]
) -> Iterator[tuple[Piece, np.ndarray]]:
    """Yield the first piece in progress when it is encoded, and reclaim its memory."""
    piece, out, future = under_way.popleft()
    yield piece, future.result()
    spare.append(out)


def _with_room(out: np.ndarray, piece: Piece) -> np.ndarray:
    """Return memory for the ids of a piece: `out`, or new memory if that is too small."""
    if len(out) >= piece.num_bytes + _SPARE_IDS:
        return out
    return np.empty(piece.num_bytes * 9 // 8 + _SPARE_IDS, out.dtype)


def _encode_piece(lane: "Lane", piece: Piece, out: np.ndarray) -> np.ndarray:
    """Return the (n,) ids of a piece, written to `out`."""
    buffer = lane.text_buffer(piece.num_bytes)
    piece.read_into(buffer)
    if lane.first_malformed(piece.num_bytes) < 0:
        return lane.encode_buffer(piece.num_bytes, out)
    try:
        buffer.tobytes().decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, piece.path, start_byte=piece.start_byte) from None
    raise AssertionError("the kernel and Python disagree on what is UTF-8")
