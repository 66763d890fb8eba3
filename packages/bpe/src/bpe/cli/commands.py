"""Run the commands `train-bpe`, `count` and `merge`.

Stage: text files, or counts of them -> *vocabulary*, from a shell. Progress, time and memory go to
stderr, the result to stdout. A user's mistake ends with one line and status 2. Not here: anything
that no library function does.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from bpe.cli.progress import StageProgress
from bpe.cli.streams import describe_error, repair_streams, written_output
from bpe.cli.usage import StageTimes, describe_peak_memory
from bpe.counting.corpus import count_pretokens
from bpe.counts import PretokenCounts
from bpe.formats.counts_file import is_counts_file
from bpe.formats.gpt2 import spelled_vocab
from bpe.messages.plural import plural
from bpe.patterns import PATTERNS
from bpe.tie_breaking import TIE_BREAKING
from bpe.train import train_vocabulary, vocabulary_from_counts
from bpe.vocabulary import Vocabulary

_SEVERAL_MACHINES = """\
Counting can be spread over machines; training on the merged counts gives the
same result as training on all the text:

  count part1.txt --special-token '<|endoftext|>' --output 1.counts
  count part2.txt --special-token '<|endoftext|>' --output 2.counts
  merge 1.counts 2.counts --output all.counts
  train-bpe all.counts --vocab-size 32000 --output vocabulary
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run train-bpe; return its exit status."""
    return _run(_train_parser(), _train, arguments)


def count(arguments: Sequence[str] | None = None) -> int:
    """Run count; return its exit status."""
    return _run(_count_parser(), _count, arguments)


def merge(arguments: Sequence[str] | None = None) -> int:
    """Run merge; return its exit status."""
    return _run(_merge_parser(), _merge, arguments)


def _run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], str],
    arguments: Sequence[str] | None,
) -> int:
    repair_streams()
    logging.basicConfig(format=f"{parser.prog}: note: %(message)s")
    try:
        with written_output():
            print(work(parser.parse_args(arguments)))
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: error: {describe_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _train_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "train-bpe",
        "Train a byte-level BPE vocabulary on UTF-8 text files, or on files that `count` wrote.",
        "The result does not depend on --workers, nor on the order of the files unless\n"
        "--max-pretokens drops something.\n\n" + _SEVERAL_MACHINES,
    )
    add = parser.add_argument
    add("corpus", nargs="+", type=Path, metavar="CORPUS", help="a text file, or a file of counts")
    add("--vocab-size", type=int, required=True, metavar="N", help="number of tokens in all")
    _add_counting_options(parser)
    rules = "; ".join(f"{name}: {meaning}" for name, meaning in TIE_BREAKING.items())
    add(
        "--tie-breaking",
        default="cs336",
        metavar="RULE",
        help=f"which of equally frequent pairs merges first. {rules} [cs336]",
    )
    add("--output", type=Path, required=True, metavar="DIR", help="directory to write")
    add("--overwrite", action="store_true", help="replace the contents of DIR")
    return parser


def _count_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "count", "Count the pretokens of UTF-8 text files, to train on later.", _SEVERAL_MACHINES
    )
    parser.add_argument("corpus", nargs="+", type=Path, metavar="CORPUS", help="a text file")
    _add_counting_options(parser)
    _add_counts_output(parser)
    return parser


def _merge_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "merge",
        "Add up files that `count` wrote with the same pattern and special tokens.",
        _SEVERAL_MACHINES,
    )
    parser.add_argument("counts", nargs="+", type=Path, metavar="COUNTS", help="a file of counts")
    _add_max_pretokens(parser)
    _add_counts_output(parser)
    return parser


def _parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_counting_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--special-token",
        action="append",
        metavar="TEXT",
        help="a string that separates documents and becomes one token; may be repeated",
    )
    add("--pattern", help=f"{', '.join(PATTERNS)} or a regular expression, which is slower [gpt2]")
    add("--workers", type=int, metavar="N", help="threads that count [one per usable CPU]")
    _add_max_pretokens(parser)


def _add_max_pretokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pretokens",
        type=int,
        metavar="N",
        help="bound memory: keep the N most frequent distinct pretokens and report the cost",
    )


def _add_counts_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, required=True, metavar="COUNTS", help="file of counts to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file COUNTS")


def _train(options: argparse.Namespace) -> str:
    _check_directory(options.output, overwrite=options.overwrite)
    with closing(StageProgress()) as progress:
        times = StageTimes(progress, first="load")
        counts = _load_counts(options.corpus)
        chosen = {"tie_breaking": options.tie_breaking, "progress": times}
        if counts is None:
            special_tokens = options.special_token or []
            _check_spelling(special_tokens)
            vocabulary = train_vocabulary(
                options.corpus,
                options.vocab_size,
                special_tokens,
                pattern=options.pattern or "gpt2",
                num_workers=options.workers,
                max_pretokens=options.max_pretokens,
                **chosen,
            )
        else:
            vocabulary = vocabulary_from_counts(
                _pruned(counts, options.max_pretokens),
                options.vocab_size,
                options.special_token,
                pattern=options.pattern,
                **chosen,
            )
    times.end(following="save")
    vocabulary.save(options.output)
    times.end()
    print(f"time         {times.describe()}", file=sys.stderr)
    print(f"peak memory  {describe_peak_memory()}", file=sys.stderr)
    return _summarise(vocabulary, options.output)


def _count(options: argparse.Namespace) -> str:
    _check_file(options.output, overwrite=options.overwrite)
    with closing(StageProgress()) as progress:
        counts = count_pretokens(
            options.corpus,
            options.special_token or [],
            pattern=options.pattern or "gpt2",
            num_workers=options.workers,
            max_pretokens=options.max_pretokens,
            progress=lambda done, total: progress("count", done, total),
        )
    counts.save(options.output)
    return _summarise_counts(counts, options.output)


def _merge(options: argparse.Namespace) -> str:
    _check_file(options.output, overwrite=options.overwrite)
    counts = PretokenCounts.merge(map(PretokenCounts.load, options.counts))
    counts = _pruned(counts, options.max_pretokens)
    counts.save(options.output)
    return _summarise_counts(counts, options.output)


def _load_counts(paths: Sequence[Path]) -> PretokenCounts | None:
    """Return the sum of the counts in the files; None if all of them are text."""
    texts = [path for path in paths if not path.is_file() or not is_counts_file(path)]
    if len(texts) == len(paths):
        return None
    if texts:
        raise ValueError(
            f"{texts[0]} is not a file of counts, but others are; run `count` on it, or omit it"
        )
    return PretokenCounts.merge(map(PretokenCounts.load, paths))


def _pruned(counts: PretokenCounts, max_pretokens: int | None) -> PretokenCounts:
    return counts if max_pretokens is None else counts.pruned(max_pretokens)


def _check_directory(output: Path, *, overwrite: bool) -> None:
    _check_writable(output, needed="--output needs a directory")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ValueError(f"{output} is not empty; pass --overwrite or another --output")


def _check_file(output: Path, *, overwrite: bool) -> None:
    if output.is_dir():
        raise ValueError(f"{output} is a directory; --output needs a file")
    if not output.absolute().parent.exists():
        raise ValueError(f"{output.parent} does not exist; create it, or pass another --output")
    _check_writable(output.absolute().parent, needed="--output needs a directory to be in")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; pass --overwrite or another --output")


def _check_writable(directory: Path, *, needed: str) -> None:
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"{nearest} is a file; {needed}")
    if not os.access(nearest, os.W_OK):
        raise ValueError(f"{nearest} is not writable; pass another --output")


def _check_spelling(special_tokens: Sequence[str]) -> None:
    """Refuse special tokens that vocab.json cannot hold, before hours of training."""
    num_tokens = 256 + len(special_tokens)
    unmerged = vocabulary_from_counts(PretokenCounts(), num_tokens, special_tokens)
    spelled_vocab(unmerged.tokens, unmerged.special_tokens)


def _summarise(vocabulary: Vocabulary, output: Path) -> str:
    longest = sorted((left + right for left, right in vocabulary.merges), key=len)[-3:]
    shown = ", ".join(repr(token.decode(errors="replace")) for token in reversed(longest))
    return (
        f"tokens       {len(vocabulary):,} ({len(vocabulary.special_tokens)} special, "
        f"256 bytes, {plural(len(vocabulary.merges), 'merge')})\n"
        f"longest      {shown or 'none beyond a byte'}\n"
        f"fingerprint  {vocabulary.fingerprint}\n"
        f"saved in     {output}"
    )


def _summarise_counts(counts: PretokenCounts, output: Path) -> str:
    lines = [
        f"pretokens  {counts.num_pretokens:,} of {plural(len(counts), 'kind')}, "
        f"{plural(counts.num_bytes, 'byte')}",
        f"saved in   {output}",
    ]
    if any(counts.dropped):
        num_kinds, num_pretokens = counts.dropped
        lines.insert(1, f"dropped    {num_pretokens:,} of {plural(num_kinds, 'kind')}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
