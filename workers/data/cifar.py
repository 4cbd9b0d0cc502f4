"""CIFAR-10: 60,000 photographs of 32 x 32 pixels, read from the disk or downloaded.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009),
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol.errors import DataError
from workers.data import paths
from workers.data.cifar_files import CifarFormat, read_binary, read_cifar, read_pickled
from workers.data.dataset import Dataset
from workers.data.download import Progress, fetch, write_whole

MIRRORS: tuple[str, ...] = ("https://www.cs.toronto.edu/~kriz/",)
_MAX_DOWNLOAD: Final = 1 << 28  # limit of a download in bytes; the archives have 170 MB

FORMATS = (
    CifarFormat(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        files=dict.fromkeys([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], ""),
        read=read_binary,
    ),
    CifarFormat(
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
        read=read_pickled,
    ),
)


def load() -> Dataset:
    """The verified data set, `(n, 32, 32, 3)` uint8; downloaded if it is not on the disk."""
    return _obtain(None)[1]


def get(progress: Progress | None) -> Path:
    """The verified archive or folder; downloaded if it is not on the disk."""
    return _obtain(progress)[0]


def find() -> Path | None:
    """The first archive or folder in $DNI_DATA/cifar10, $DNI_DATA and the cache."""
    return next((found for folder in _folders() if (found := find_inside(folder))), None)


def _folders() -> Iterator[Path]:
    yield from paths.user_folders("cifar10")
    if kept := paths.cache_folder_if_any("cifar10"):
        yield kept


def find_inside(folder: Path) -> Path | None:
    """CIFAR-10 in `folder`: an archive, an unpacked folder, or `folder` itself; else None."""
    archives = (folder / form.archive for form in FORMATS)
    unpacked = (place for form in FORMATS for place in (folder / form.folder, folder))
    return next((place for place in (*archives, *unpacked) if format_of(place)), None)


def format_of(place: Path) -> CifarFormat | None:
    """The format of an archive with a known name, or of a folder with known files; else None."""
    for form in FORMATS:
        if place.name == form.archive and place.is_file():
            return form
        if any((place / name).is_file() for name in form.files):
            return form
    return None


def _obtain(progress: Progress | None) -> tuple[Path, Dataset]:
    """The location and the data set. A broken user's file is an error; a cached one is replaced."""
    place = find()
    if place is not None and (form := format_of(place)):
        try:
            return place, read_cifar(place, form)
        except DataError as error:
            if paths.cache_folder_if_any("cifar10") not in (place, *place.parents):
                raise DataError(f"{error}; replace it, or unset DNI_DATA") from error
    place = _download(FORMATS[0], progress)
    return place, read_cifar(place, FORMATS[0])


def _download(form: CifarFormat, progress: Progress | None) -> Path:
    def accept(answer: bytes) -> bytes:
        found = hashlib.md5(answer, usedforsecurity=False).hexdigest()
        if found != form.md5:
            raise DataError(f"{form.archive}: has MD5 {found}, expected {form.md5}")
        return answer

    path = paths.cache_folder("cifar10") / form.archive
    try:
        answer = fetch(form.archive, MIRRORS, _MAX_DOWNLOAD, accept, progress)
    except DataError as error:
        wanted = " or ".join(known.archive for known in FORMATS)
        raise DataError(
            f"cifar10: {error}; put {wanted} into $DNI_DATA/cifar10 or {path.parent}"
        ) from error
    write_whole(path, lambda part: part.write(answer))
    return path
