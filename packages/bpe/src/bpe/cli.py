"""The command `train-bpe`: text files in, a vocabulary directory out.

Progress goes to stderr, the result to stdout. A user's mistake ends with one line and status 2.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bpe.counts import PretokenCounts
from bpe.patterns import PATTERNS
from bpe.progress import StageProgress
from bpe.streams import repair_streams
from bpe.train import train_vocabulary, vocabulary_from_counts
from bpe.vocabulary import Vocabulary
from bpe.vocabulary_files import spelled_vocab


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    repair_streams()
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="train-bpe: note: %(message)s")
    try:
        vocabulary = _train(options)
        print(_summarise(vocabulary, options.output), flush=True)
    except BrokenPipeError:
        # The reader of the summary has gone; the vocabulary is saved.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        print(f"train-bpe: error: {_describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntrain-bpe: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train-bpe",
        description="Train a byte-level BPE vocabulary on UTF-8 text files.",
        epilog="The result does not depend on --workers or on the order of the files.",
    )
    parser.add_argument("corpus", nargs="+", type=Path, metavar="CORPUS", help="a text file")
    parser.add_argument(
        "--vocab-size", type=int, required=True, metavar="N", help="tokens, special ones included"
    )
    parser.add_argument(
        "--special-token",
        action="append",
        default=[],
        metavar="TEXT",
        help="separates documents and becomes one token; may be given several times",
    )
    parser.add_argument(
        "--pattern", default="gpt2", help=f"{', '.join(PATTERNS)} or a regular expression [gpt2]"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="directory to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what DIR holds")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that count [one a CPU]")
    return parser


def _train(options: argparse.Namespace) -> Vocabulary:
    _check_output(options.output, overwrite=options.overwrite)
    _check_spelling(options.special_token)
    with closing(StageProgress()) as progress:
        vocabulary = train_vocabulary(
            options.corpus,
            options.vocab_size,
            options.special_token,
            pattern=options.pattern,
            num_workers=options.workers,
            progress=progress,
        )
    vocabulary.save(options.output)
    return vocabulary


def _check_output(output: Path, *, overwrite: bool) -> None:
    nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"{nearest} is a file; --output needs a directory")
    if not os.access(nearest, os.W_OK):
        raise ValueError(f"{nearest} is not yours to write to; pass another --output")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ValueError(f"{output} is not empty; pass --overwrite or another --output")


def _check_spelling(special_tokens: Sequence[str]) -> None:
    """Refuse what vocab.json has no room for, before hours of training."""
    num_tokens = 256 + len(special_tokens)
    unmerged = vocabulary_from_counts(PretokenCounts(), num_tokens, special_tokens)
    spelled_vocab(unmerged.tokens, unmerged.special_tokens)


def _describe(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _summarise(vocabulary: Vocabulary, output: Path) -> str:
    longest = sorted((left + right for left, right in vocabulary.merges), key=len)[-3:]
    shown = ", ".join(repr(token.decode(errors="replace")) for token in reversed(longest))
    return "\n".join(
        [
            f"tokens       {len(vocabulary):,} ({len(vocabulary.special_tokens)} special, "
            f"256 bytes, {len(vocabulary.merges):,} merges)",
            f"longest      {shown or 'none beyond a byte'}",
            f"fingerprint  {vocabulary.fingerprint}",
            f"saved in     {output}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
