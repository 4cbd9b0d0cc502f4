"""Names the format of a file that is not a data set, and explains how to convert it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from protocol.errors import DataError
from workers.data import idx
from workers.data.streams import open_decompressed, read_up_to

SAVE: Final = "numpy.savez_compressed(path, x_train=…, y_train=…, x_test=…, y_test=…)"
"""The call that writes an .npz file."""
_HEAD: Final = 4096
_UNKNOWN: Final = (
    f"is not an .npz file, nor a tar or zip archive of images; save the arrays with {SAVE}"
)
_ARRAYS: Final = {
    b"\x93NUMPY": "a single array (.npy); load it with numpy.load",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; read it with h5py",
    b"MATLAB 7.3": "a MATLAB file of version 7.3; read it with h5py",
    b"MATLAB": "a MATLAB file; read it with scipy.io.loadmat",
    b"PAR1": "a Parquet file; read it with pandas.read_parquet",
    b"ARROW1": "an Arrow file; read it with pandas.read_feather",
    b"SQLite format 3\0": "an SQLite database; read it with pandas.read_sql",
    **dict.fromkeys(
        (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"),
        "a pickle, which is never loaded here; load it in Python",
    ),
}
"""Formats of arrays, by their first bytes."""
_OTHERS: Final = {
    b"PK\3": "is truncated: the end of the .npz or zip file is missing; copy or save it again",
    **dict.fromkeys(
        (b"\0\0" + bytes([code]) for code in idx.DTYPES),
        "is one IDX file; give the folder that holds all of them",
    ),
    b"BZh": "is compressed by bzip2; unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; unpack it to a folder",
    b"Rar!": "is a RAR archive; unpack it to a folder",
    **dict.fromkeys(
        (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*"),
        "is one image; give the folder that holds train/ and test/",
    ),
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file with git lfs pull",
}
_ENDINGS: Final = {
    ".csv": "a CSV file; read it with numpy.loadtxt(…, delimiter=',') or pandas.read_csv",
    ".tsv": "a text table; read it with pandas.read_csv(…, sep='\\t')",
    ".txt": "a text file; read it with numpy.loadtxt",
    ".json": "a JSON file; read it with the module json",
    ".jsonl": "a file of JSON lines; read it with pandas.read_json(…, lines=True)",
    ".arff": "an ARFF file; read it with scipy.io.arff.loadarff",
    ".pkl": "a pickle, which is never loaded here; load it in Python",
    ".pickle": "a pickle, which is never loaded here; load it in Python",
}
_IN_ZIP: Final = {
    "data.pkl": "a PyTorch file; load it with torch.load",
    "workbook.xml": "an Excel file; read it with pandas.read_excel",
}


_PICKLE: Final = re.compile(rb"\((?:dp|lp)\d*\n|[(\]}]q\0|c[\w.]+\n\w+\n")
"""The first bytes of a pickle of protocol 0 or 1."""
_WEB_PAGE: Final = re.compile(rb"\s*<(!doctype\s+html|html)\b", re.IGNORECASE)


def describe_file(path: Path) -> str:
    """The format of the file at `path` and how to convert it, to be put after the name of the file.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "is empty; copy or save it again"
    inner = b""
    with suppress(DataError), open_decompressed(path) as stream:
        inner = bytes(read_up_to(stream, _HEAD))
    if inner != head and inner.startswith(b"PK\3"):
        return "is an .npz or zip file that is compressed again; unpack it first"
    if inner and inner != head:
        content = _by_beginning(inner) or _by_name(path.with_suffix(""), inner)
        return f"is compressed, and its content {content}" if content else _UNKNOWN
    return _by_beginning(head) or _by_name(path, head) or _UNKNOWN


def describe_zip(names: Iterable[str]) -> str | None:
    """The same for a zip file whose members have these `names`; None if the format is unknown."""
    ends = {name.rpartition("/")[2] for name in names}
    return next((_remedy(what) for end, what in _IN_ZIP.items() if end in ends), None)


def _by_beginning(head: bytes) -> str | None:
    for begin, what in _ARRAYS.items():
        if head.startswith(begin):
            return _remedy(what)
    if _PICKLE.match(head):
        return _remedy(_ENDINGS[".pkl"])
    if _WEB_PAGE.match(head):
        return "is a web page, probably of a failed download; fetch it again"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _OTHERS[b"\x89PNG"]
    return next((what for begin, what in _OTHERS.items() if head.startswith(begin)), None)


def _by_name(path: Path, head: bytes) -> str | None:
    what = _ENDINGS.get(path.suffix.lower())
    if what is None and _is_table(head):
        what = _ENDINGS[".csv"]
    return _remedy(what) if what else None


def _remedy(what: str) -> str:
    return f"is not an .npz file but {what} and save the arrays with {SAVE}"


def _is_table(head: bytes) -> bool:
    """Whether the file begins with two lines of text with the same number of commas."""
    first, second = [*head.splitlines()[:2], b"", b""][:2]
    return b"\0" not in head and 0 < first.count(b",") == second.count(b",")
