"""Drop the byte-order mark at the start of a corpus file.

Stage: files -> *files without marks* -> corpus. A file without a mark is used in place; of any
other, a copy named by its content is written once to the cache folder. Not here: marks inside a
text, which are ordinary characters.
"""

import shutil
from pathlib import Path

from trainer.data.shared_folder import AlteredError, open_or_build
from trainer.data.text_files import MARK, TextFile, check_text_file
from trainer.monitoring.progress import Reporter

_NAME = "text.txt"


def without_mark(file: TextFile, *, cache_dir: Path, reporter: Reporter) -> TextFile:
    """Return a checked file, or its copy without the mark.

    Raises:
        ValueError: the file holds nothing but the mark, or the copy was altered.
    """
    if not file.starts_with_mark:
        return file
    if file.size_bytes == len(MARK):
        raise ValueError(
            f"{file.path} is empty except for a byte-order mark, but the corpus needs text; name "
            "another file"
        )
    folder = cache_dir / f"unmarked-{file.sha256[:16]}"

    def build(folder: Path) -> None:
        with file.path.open("rb") as source, (folder / _NAME).open("wb") as target:
            source.seek(len(MARK))
            shutil.copyfileobj(source, target)

    def read(folder: Path) -> TextFile:
        copy = check_text_file(folder / _NAME, cache_dir=cache_dir, reporter=reporter)
        if copy.size_bytes != file.size_bytes - len(MARK) or not _is_copy(file.path, copy.path):
            raise AlteredError(f"{copy.path} is not the text of {file.path}")
        return copy

    copy, _ = open_or_build(folder, read=read, build=build, reporter=reporter)
    reporter.say(f"{file.path} begins with a byte-order mark, which is dropped")
    return copy


def _is_copy(path: Path, copy: Path) -> bool:
    with path.open("rb") as source, copy.open("rb") as other:
        source.seek(len(MARK))
        while True:
            ours, theirs = source.read(1 << 20), other.read(1 << 20)
            if ours != theirs:
                return False
            if not ours:
                return True
