"""Import what this package needs of `bpe`, and make sure that it is ours.

Stage: none; the other modules import from here. Another project uses the name on package indexes,
and pip may have installed that one instead. Not here: what is imported.
"""

from importlib.util import find_spec

_INSTALL = (
    'pip install "bpe @ git+URL#subdirectory=packages/bpe" '
    '"tokenizer @ git+URL#subdirectory=packages/tokenizer"'
)


def _explain(error: ImportError) -> str:
    """Describe which `bpe` was found, why it is not usable, and how to get ours."""
    spec = find_spec("bpe")
    if spec is None:
        found = "none is installed"
    else:
        found = f"`import bpe` found {spec.origin}, of another project or version ({error})"
    return (
        f"tokenizer needs this project's bpe, but {found}; remove it, if any (pip uninstall bpe), "
        f"and install both with {_INSTALL} (URL: this project's repository)"
    )


try:
    from bpe import PATTERNS, Pretokenizer, Vocabulary
    from bpe.byte_spelling import unspell
    from bpe.cli.streams import describe_error, repair_streams, written_output
    from bpe.compilation import can_compile
    from bpe.counting.cpus import check_num_threads
    from bpe.formats.evidence import check_merges
    from bpe.formats.files import Staging, require_inside, write_atomically
    from bpe.formats.gpt2 import read_json_object
    from bpe.formats.huggingface import STATEMENT_KEY
    from bpe.formats.statement import check_statement
    from bpe.messages.arguments import as_path, as_paths, require, require_iterable, wrong_kind
    from bpe.patterns import warn_of_slow_pattern
    from bpe.pieces import PIECE_BYTES, Readable, cut_files, cut_stream, not_utf8
    from bpe.special_tokens import append_missing, check_special_tokens
except ImportError as error:
    if error.name is not None and error.name.partition(".")[0] != "bpe":
        raise  # a dependency of bpe is missing, and its own message explains that best
    raise ImportError(_explain(error)) from error

__all__ = ["PATTERNS", "PIECE_BYTES", "STATEMENT_KEY", "Pretokenizer", "Readable", "Staging"]
__all__ += ["Vocabulary", "append_missing", "as_path", "as_paths", "can_compile", "check_merges"]
__all__ += ["check_num_threads", "check_special_tokens", "check_statement", "cut_files"]
__all__ += ["cut_stream", "describe_error", "not_utf8", "read_json_object", "repair_streams"]
__all__ += ["require", "require_inside", "require_iterable", "unspell", "warn_of_slow_pattern"]
__all__ += ["write_atomically", "written_output", "wrong_kind"]
