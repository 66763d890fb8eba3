"""Run the commands encode, decode, inspect and convert.

Stage: all of encoding, from a shell. Results go to stdout or files, progress to stderr. Not here:
anything that no library function does.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn

from bpe.messages.excerpts import excerpt
from bpe.messages.plural import agree, plural
from tokenizer._bpe import describe_error, repair_streams, written_output
from tokenizer.cli.progress import Progress
from tokenizer.files.token_file import TokenFile
from tokenizer.formats import load_vocabulary, save_vocabulary
from tokenizer.stats import PILE_BYTES, Measurement, estimate, longest_tokens, measure
from tokenizer.stream import read_text_blocks
from tokenizer.tokenizer import Tokenizer

_SHOWN = 20  # special tokens
_BATCH = 1 << 16  # ids on one line, or decoded together


def encode() -> None:
    """Encode text to ids: files to a token file, or any text to numbers on stdout."""
    parser = _parser("encode", "Turn text into token ids.")
    add = parser.add_argument
    add("files", nargs="*", type=Path, help="UTF-8 text [standard input]")
    add("--output", type=Path, help="token file to write (*.npy); files may then be *.gz or *.zst")
    add("--threads", type=int, help="with --output: threads to use [one per usable CPU]")
    add("--text", help="encode this text instead of files")
    _run(parser, _encode)


def decode() -> None:
    """Decode ids to text on stdout."""
    parser = _parser("decode", "Turn token ids into text.")
    parser.add_argument("ids", nargs="?", type=Path, help="token file [numbers on stdin]")
    _run(parser, _decode)


def inspect() -> None:
    """Show what a tokenizer has learned and how well it compresses a text."""
    parser = _parser("inspect", "Show the longest tokens and, on a text, compression and speed.")
    parser.add_argument("file", nargs="?", type=Path, help="UTF-8 text to measure on")
    parser.add_argument("--threads", type=int, help="threads to measure with [one per usable CPU]")
    parser.add_argument("--longest", type=int, default=10, help="number of tokens to list [10]")
    _run(parser, _inspect)


def convert() -> None:
    """Write a tokenizer in another format."""
    parser = _parser("convert", "Convert between a directory, tokenizer.json and *.tiktoken.")
    parser.add_argument("destination", type=Path, help="what to write; its name sets the format")
    parser.add_argument("--pattern", help="split pattern of a .tiktoken file: a name or a regex")
    parser.add_argument(
        "--overwrite", "--force", action="store_true", help="replace the destination"
    )
    _run(parser, _convert)


class _Parser(argparse.ArgumentParser):
    """Report a mistake in one line; --help shows the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=name, description=description)
    parser.add_argument("tokenizer", type=Path, help="tokenizer directory, or a tokenizer.json")
    return parser


def _run(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None]) -> None:
    """Run a command; a user's mistake becomes one line on stderr and exit code 2."""
    repair_streams()
    try:
        with written_output():
            command(parser.parse_intermixed_args())
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {describe_error(error)}\n")


def _encode(arguments: argparse.Namespace) -> None:
    if arguments.text is not None and arguments.files:
        raise ValueError(f"got both --text and {arguments.files[0]}; encode one or the other")
    if arguments.output is None:
        if arguments.threads is not None:
            raise ValueError("--threads is for token files; add --output, or leave it out")
        tokenizer = Tokenizer.load(arguments.tokenizer)
        for batch in _batches(_encode_sources(tokenizer, arguments)):
            print(*batch)
        return
    if not arguments.files:
        raise ValueError("--output needs text files to encode; name at least one")
    tokenizer = Tokenizer.load(arguments.tokenizer)
    with closing(Progress("encoding")) as progress:
        token_file = tokenizer.encode_file(
            arguments.files, arguments.output, num_threads=arguments.threads, progress=progress
        )
    info = token_file.info
    print(
        f"{token_file.path}: {plural(info.num_tokens, 'id')} of {info.dtype} in "
        f"{plural(info.num_documents, 'document')}, {info.num_bytes / info.num_tokens:.2f} bytes "
        "per token"
    )


def _encode_sources(tokenizer: Tokenizer, arguments: argparse.Namespace) -> Iterator[int]:
    if arguments.text is not None:
        yield from tokenizer.encode(arguments.text)
    elif not arguments.files:
        yield from _encode_stream(tokenizer, sys.stdin.buffer, "standard input")
    for path in arguments.files:
        with path.open("rb") as file:
            yield from _encode_stream(tokenizer, file, path)


def _encode_stream(tokenizer: Tokenizer, file: BinaryIO, name: str | Path) -> Iterator[int]:
    return tokenizer.encode_iterable(text for text, _ in read_text_blocks(file, name=name))


def _decode(arguments: argparse.Namespace) -> None:
    tokenizer = Tokenizer.load(arguments.tokenizer)
    if arguments.ids is None:
        ids = _read_ids(sys.stdin)
    else:
        token_file = TokenFile.open(arguments.ids)
        token_file.check_tokenizer(tokenizer.fingerprint)
        token_file.check_ids()
        token_file.check_hash()
        ids = map(int, token_file.tokens)
    decoder = tokenizer.decoder()
    stdout = sys.stdout.buffer  # UTF-8 and its own line ends, whatever the terminal's settings
    for batch in _batches(ids):
        stdout.write(decoder.push_many(batch).encode())
    stdout.write(decoder.finish().encode())


def _read_ids(lines: Iterable[str]) -> Iterator[int]:
    for number, line in enumerate(lines, start=1):
        for word in line.split():
            try:
                yield int(word)
            except ValueError:
                raise ValueError(
                    f"standard input, line {number}: {word!r} is not an id; pass whole numbers "
                    "separated by white space"
                ) from None


def _inspect(arguments: argparse.Namespace) -> None:
    if arguments.longest < 0:
        raise ValueError(f"--longest is {arguments.longest}, but must be at least 0")
    if arguments.threads is not None and arguments.threads < 1:
        raise ValueError(f"--threads is {arguments.threads}, but must be at least 1")
    if arguments.threads is not None and arguments.file is None:
        raise ValueError("--threads is for measuring; add a text to measure on, or leave it out")
    tokenizer = Tokenizer.load(arguments.tokenizer)
    merges = plural(len(tokenizer.vocabulary.merges), "merge")
    print(f"vocabulary      {plural(tokenizer.vocab_size, 'id')}, {merges}")
    print(f"special tokens  {_with_ids(tokenizer)}")
    print(f"fingerprint     {tokenizer.fingerprint}")
    print("longest tokens")
    for token_id, token in longest_tokens(tokenizer, count=arguments.longest):
        unit = agree(len(token), "byte ", "bytes")
        shown = excerpt(token.decode(errors="replace"))
        print(f"  {token_id:>8}  {len(token):>3} {unit}  {shown}")
    if arguments.file is not None:
        with closing(Progress("measuring")) as progress:
            measured = measure(
                tokenizer, arguments.file, num_threads=arguments.threads, progress=progress
            )
        _print_measurement(measured, arguments.file, bytes_per_id=tokenizer.dtype.itemsize)


def _with_ids(tokenizer: Tokenizer) -> str:
    """List the first special tokens with their ids, and count the rest."""
    listed = list(tokenizer.special_tokens.items())
    parts = [f"{excerpt(token)}: {token_id}" for token, token_id in listed[:_SHOWN]]
    parts += [f"and {len(listed) - _SHOWN:,} more"] if len(listed) > _SHOWN else []
    return f"{{{', '.join(parts)}}}"


def _print_measurement(measured: Measurement, path: Path, *, bytes_per_id: int) -> None:
    pile = estimate(measured, corpus_bytes=PILE_BYTES, bytes_per_id=bytes_per_id)
    size = plural(measured.num_bytes, "byte")
    are = agree(measured.num_bytes, "is", "are")
    print(f"on {path.name}: {size} {are} {plural(measured.num_tokens, 'token')}")
    print(f"  compression   {measured.bytes_per_token:.3f} bytes per token")
    print(
        f"  throughput    {measured.bytes_per_second / 1e6:.2f} MB/s to a token file; threads: "
        f"{measured.num_threads}, runs: {measured.num_runs}"
    )
    print(
        f"  start         {measured.start_seconds:.2f} s until kernels are ready, once per process"
    )
    if measured.num_bytes < measured.busy_bytes:
        duration = f"measure on {measured.busy_bytes / 1e6:.0f} MB or more to estimate the time"
    else:
        duration = f"in {pile.seconds / 3600:.1f} hours"
    print(
        f"  the Pile      {PILE_BYTES / 1e9:.0f} GB would be {pile.num_tokens / 1e9:.0f} billion "
        f"tokens, {pile.num_file_bytes / 1e9:.0f} GB of ids; {duration}"
    )


def _convert(arguments: argparse.Namespace) -> None:
    destination = arguments.destination
    is_free = not destination.exists() or (destination.is_dir() and not any(destination.iterdir()))
    if not is_free and not arguments.overwrite:
        raise ValueError(f"{destination} exists; pass --overwrite or another destination")
    vocabulary = load_vocabulary(arguments.tokenizer, pattern=arguments.pattern)
    save_vocabulary(vocabulary, destination)
    print(f"{destination}: {plural(len(vocabulary), 'token')}")


def _batches(ids: Iterator[int]) -> Iterator[list[int]]:
    while batch := list(islice(ids, _BATCH)):
        yield batch
