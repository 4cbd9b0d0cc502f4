"""CIFAR-10: 60,000 photographs of 32 x 32 pixels, found on the disk or downloaded.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009),
https://www.cs.toronto.edu/~kriz/cifar.html. It is published in two forms of the same content: six
files of plain records, and six of Python pickles, which are never unpickled here.
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
from workers.data import archive, pickles, places
from workers.data.content import checksum
from workers.data.dataset import Dataset, build
from workers.data.download import Progress, fetch, keep

MIRRORS: tuple[str, ...] = ("https://www.cs.toronto.edu/~kriz/",)
CLASSES: Final = 10
_PICTURE: Final = (3, 32, 32)
_PIXELS: Final = 3 * 32 * 32
_LARGEST: Final = 1 << 28  # bytes of a download; the archives have 170 MB

Array = NDArray[Any]
Records = tuple[NDArray[np.uint8], Array]
"""Pixels `(n, 3072)`, channel by channel, and labels `(n,)`."""


@dataclass(frozen=True, slots=True)
class Form:
    """One of the two forms: an archive of a folder of files, the test set in the last of them.

    `md5` is that of the archive as it is, `files` has those of the files that are known, else "".
    `read` makes records of one file's content; each has `records` of them.
    """

    archive: str
    md5: str
    folder: str
    files: Mapping[str, str]
    read: Callable[[bytes, str], Records]
    records: int = 10_000


def _binary(content: bytes, label: str) -> Records:
    """Records of a byte for the label and 3,072 for the pixels."""
    if len(content) % (1 + _PIXELS):
        raise DataError(f"{label}: {len(content)} bytes are no whole number of records")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0]


def _pickled(content: bytes, label: str) -> Records:
    """A dict with the pixels under "data" and a list of labels under "labels"."""
    match pickles.read(content, label):
        case {"data": np.ndarray() as pixels, "labels": list(labels)} if pixels.shape == (
            len(labels),
            _PIXELS,
        ) and {type(label) for label in labels} == {int}:
            return pixels, np.asarray(labels)
    raise DataError(f"{label}: no pictures of {_PIXELS} bytes with as many labels")


FORMS = (
    Form(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        files=dict.fromkeys([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], ""),
        read=_binary,
    ),
    Form(
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        files={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        read=_pickled,
    ),
)


def load() -> Dataset:
    """CIFAR-10, verified; `(n, 32, 32, 3)` uint8. Downloads what is nowhere on the disk."""
    return _obtain(None)[1]


def get(progress: Progress | None) -> Path:
    """The verified archive or folder, after downloading what is nowhere on the disk."""
    return _obtain(progress)[0]


def find() -> Path | None:
    """The first archive or folder in $DNI_DATA/cifar10, $DNI_DATA and the cache."""
    folders = (*places.given("cifar10"), places.cache("cifar10"))
    return next((found for folder in folders if (found := inside(folder))), None)


def inside(folder: Path) -> Path | None:
    """What `folder` holds of CIFAR-10: an archive, an unpacked folder, or its files themselves."""
    archives = (folder / form.archive for form in FORMS)
    unpacked = (place for form in FORMS for place in (folder / form.folder, folder))
    return next((place for place in (*archives, *unpacked) if form_of(place)), None)


def form_of(place: Path) -> Form | None:
    """The form of the archive, known by its name, or of the folder, known by its files."""
    for form in FORMS:
        if place.name == form.archive and place.is_file():
            return form
        if any((place / name).is_file() for name in form.files):
            return form
    return None


def read(place: Path, form: Form) -> Dataset:
    """The archive or folder at `place`, which has that form, verified. Raises DataError."""
    if place.is_dir():
        return _assembled(place, form, _unpacked(place, form))
    found = checksum(place, "md5")
    if found != form.md5:
        raise DataError(f"{place}: has MD5 {found}, expected {form.md5}")
    return _assembled(place, form, _packed(place, form))


def _obtain(progress: Progress | None) -> tuple[Path, Dataset]:
    """Where it is and what it is: a user's file must be right, a cached one is mended."""
    place = find()
    if place is not None and (form := form_of(place)):
        try:
            return place, read(place, form)
        except DataError as error:
            if places.cache("cifar10") not in (place, *place.parents):
                raise DataError(f"{error}; replace it, or unset DNI_DATA") from error
    place = _download(FORMS[0], progress)
    return place, read(place, FORMS[0])


def _download(form: Form, progress: Progress | None) -> Path:
    def accept(answer: bytes) -> bytes:
        found = hashlib.md5(answer, usedforsecurity=False).hexdigest()
        if found != form.md5:
            raise DataError(f"{form.archive}: has MD5 {found}, expected {form.md5}")
        return answer

    path = places.cache("cifar10") / form.archive
    try:
        answer = fetch(form.archive, MIRRORS, _LARGEST, accept, progress)
    except DataError as error:
        wanted = " or ".join(known.archive for known in FORMS)
        raise DataError(
            f"cifar10: {error}; put {wanted} into $DNI_DATA/cifar10 or {path.parent}"
        ) from error
    keep(path, lambda part: part.write(answer))
    return path


def _unpacked(folder: Path, form: Form) -> Iterator[tuple[str, bytes]]:
    for name, md5 in form.files.items():
        path = folder / name
        try:
            if path.stat().st_size > archive.LARGEST:
                raise DataError(f"{path}: has more than {archive.LARGEST} bytes")
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 and found != md5:
            raise DataError(f"{path}: has MD5 {found}, expected {md5}")
        yield name, content


def _packed(path: Path, form: Form) -> Iterator[tuple[str, bytes]]:
    for member in archive.members(path):
        name = PurePosixPath(member.name)
        if name.parent.name == form.folder and name.name in form.files:
            yield name.name, member.read()


def _assembled(place: Path, form: Form, contents: Iterable[tuple[str, bytes]]) -> Dataset:
    """The data set of all files, of which one is held at a time."""
    names, size = list(form.files), form.records
    x: Array = np.empty((len(names) * size, *_PICTURE[1:], _PICTURE[0]), np.uint8)
    y: Array = np.empty(len(x), np.int64)
    missing = set(names)
    for name, content in contents:
        rows = slice(size * names.index(name), size * (names.index(name) + 1))
        pixels, y[rows] = _checked(form, content, f"{place}: {name}")
        x[rows] = pixels.reshape(-1, *_PICTURE).transpose(0, 2, 3, 1)
        missing.discard(name)
    if missing:
        raise DataError(f"{place}: {min(missing)} is missing; fetch {form.archive} again")
    train = slice(len(x) - size)
    test = slice(len(x) - size, None)
    for rows in (train, test):
        if len(set(np.bincount(y[rows], minlength=CLASSES))) > 1:
            raise DataError(f"{place}: its classes are not of one size; fetch {form.archive} again")
    parts = {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}
    return build("cifar10", parts, str(place))


def _checked(form: Form, content: bytes, label: str) -> Records:
    pixels, labels = form.read(content, label)
    if len(labels) != form.records:
        raise DataError(f"{label}: holds {len(labels)} pictures, expected {form.records}")
    if not (labels.min() >= 0 and labels.max() < CLASSES):
        raise DataError(f"{label}: a label is not in 0 to {CLASSES - 1}")
    return pixels, labels
