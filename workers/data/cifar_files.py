"""Reads the files of CIFAR-10 in either published format.

One format is six files of binary records. The other is six pickles of Python 2, which are parsed
and never unpickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data import archive, pickles
from workers.data.dataset import Dataset, build_dataset
from workers.data.streams import checksum

CLASSES: Final = 10
_IMAGE: Final = (3, 32, 32)
_PIXELS: Final = 3 * 32 * 32

Array = NDArray[Any]
Records = tuple[NDArray[np.uint8], Array]
"""Pixels `(n, 3072)`, channel by channel, and labels `(n,)`."""


@dataclass(frozen=True, slots=True)
class CifarFormat:
    """A published format: an archive of a folder of files, the last of which is the test set.

    `md5` is the checksum of the archive. `files` maps the names of the files to their checksums, or
    to "" if these are unknown. `read` converts the content of a file to its `records` records.
    """

    archive: str
    md5: str
    folder: str
    files: Mapping[str, str]
    read: Callable[[bytes, str], Records]
    records: int = 10_000


def read_binary(content: bytes, label: str) -> Records:
    """Records of one byte for the label and 3,072 bytes for the pixels."""
    if len(content) % (1 + _PIXELS):
        raise DataError(f"{label}: {len(content)} bytes are not a whole number of records")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0]


def read_pickled(content: bytes, label: str) -> Records:
    """A dict with the pixels under "data" and a list of labels under "labels"."""
    match pickles.read_pickle(content, label):
        case {"data": np.ndarray() as pixels, "labels": list(labels)} if pixels.shape == (
            len(labels),
            _PIXELS,
        ) and {type(label) for label in labels} == {int}:
            return pixels, np.asarray(labels)
    raise DataError(f"{label}: holds no images of {_PIXELS} bytes with one label each")


def read_cifar(place: Path, form: CifarFormat) -> Dataset:
    """The verified data set in the archive or folder at `place`. Raises DataError."""
    if place.is_dir():
        return _assembled(place, form, _unpacked(place, form))
    found = checksum(place, "md5")
    if found != form.md5:
        raise DataError(f"{place}: has MD5 {found}, expected {form.md5}")
    return _assembled(place, form, _packed(place, form))


def _unpacked(folder: Path, form: CifarFormat) -> Iterator[tuple[str, bytes]]:
    for name, md5 in form.files.items():
        path = folder / name
        try:
            if path.stat().st_size > archive.MAX_MEMBER_BYTES:
                raise DataError(f"{path}: has more than {archive.MAX_MEMBER_BYTES} bytes")
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 and found != md5:
            raise DataError(f"{path}: has MD5 {found}, expected {md5}")
        yield name, content


def _packed(path: Path, form: CifarFormat) -> Iterator[tuple[str, bytes]]:
    for member in archive.archive_members(path):
        name = PurePosixPath(member.name)
        if name.parent.name == form.folder and name.name in form.files:
            yield name.name, member.read()


def _assembled(place: Path, form: CifarFormat, contents: Iterable[tuple[str, bytes]]) -> Dataset:
    """The data set from all files, of which one at a time is in memory."""
    names, size = list(form.files), form.records
    x: Array = np.empty((len(names) * size, *_IMAGE[1:], _IMAGE[0]), np.uint8)
    y: Array = np.empty(len(x), np.int64)
    missing = set(names)
    for name, content in contents:
        rows = slice(size * names.index(name), size * (names.index(name) + 1))
        pixels, y[rows] = _checked(form, content, f"{place}: {name}")
        x[rows] = pixels.reshape(-1, *_IMAGE).transpose(0, 2, 3, 1)
        missing.discard(name)
    if missing:
        raise DataError(f"{place}: {min(missing)} is missing; fetch {form.archive} again")
    train = slice(len(x) - size)
    test = slice(len(x) - size, None)
    for rows in (train, test):
        if len(set(np.bincount(y[rows], minlength=CLASSES))) > 1:
            raise DataError(f"{place}: its classes differ in size; fetch {form.archive} again")
    parts = {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}
    return build_dataset("cifar10", parts, str(place))


def _checked(form: CifarFormat, content: bytes, label: str) -> Records:
    pixels, labels = form.read(content, label)
    if len(labels) != form.records:
        raise DataError(f"{label}: holds {len(labels)} images, expected {form.records}")
    if not (labels.min() >= 0 and labels.max() < CLASSES):
        raise DataError(f"{label}: a label is not in 0 to {CLASSES - 1}")
    return pixels, labels
