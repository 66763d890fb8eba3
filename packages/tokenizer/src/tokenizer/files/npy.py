"""Map .npy files of ids without trusting their contents.

Stage: file -> *memory map* -> ids. Only one-dimensional arrays of the three types in token files
are accepted, with the header exactly as numpy writes it. numpy's own reader evaluates the header as
Python and trusts it: `bench fuzz` found headers that take 600 MB, and some that end in `TokenError`
or `OverflowError`. Not here: which array belongs where (`token_file`).
Source: the .npy format, version 1.0 (numpy.lib.format).
"""

import re
from pathlib import Path

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(<u2|<u4|<i8)', 'fortran_order': False, 'shape': \((\d{1,18}),\), \} *\n"
)


def map_array(path: Path) -> np.ndarray:
    """Map a one-dimensional array of `<u2`, `<u4` or `<i8`, read-only.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is another array, not a .npy, truncated, or longer than its header states.
    """
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + 2)
        header = file.read(int.from_bytes(start[len(_MAGIC) :], "little"))
        size = file.seek(0, 2)
    match = _HEADER.fullmatch(header)
    if not start.startswith(_MAGIC) or match is None:
        raise ValueError(
            f"{path} is not a complete .npy file of ids as numpy writes it (it begins "
            f"{(start + header)[:80]!r}); encode it again"
        )
    dtype, length = np.dtype(match[1].decode()), int(match[2])
    offset = len(start) + len(header)
    if size != offset + length * dtype.itemsize:
        raise ValueError(
            f"{path} is not a complete .npy file: it has {size:,} bytes, but {length:,} items of "
            f"{dtype} after a header of {offset} need {offset + length * dtype.itemsize:,}; "
            "encode it again"
        )
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(length,))
