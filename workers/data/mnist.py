"""MNIST: 70,000 handwritten digits of 28 x 28 pixels, read from the disk or downloaded.

Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". The checksums are
of the decompressed content, so a file may be compressed by any gzip or not at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data import idx, paths
from workers.data.dataset import Dataset, build_dataset
from workers.data.download import Progress, fetch, write_whole
from workers.data.streams import decompressed, open_decompressed, read_verified

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_SLACK = 1 << 20  # bytes that compression may add to the content


@dataclass(frozen=True, slots=True)
class MnistFile:
    """One of the four files, with the size in bytes and the MD5 of its decompressed content."""

    name: str
    size: int
    md5: str


FILES = {
    "x_train": MnistFile(idx.NAMES["x_train"], 47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "y_train": MnistFile(idx.NAMES["y_train"], 60_008, "a25bea736e30d166cdddb491f175f624"),
    "x_test": MnistFile(idx.NAMES["x_test"], 7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "y_test": MnistFile(idx.NAMES["y_test"], 10_008, "27ae3e4e09519cfbb04c329615203637"),
}


def load() -> Dataset:
    """The verified data set, `(n, 28, 28)` uint8; downloaded if it is not on the disk."""
    folder = find()
    found = {key: _array(_content(key, folder, None), key) for key in FILES}
    return build_dataset("mnist", found, "mnist")


def get(progress: Progress | None) -> Path:
    """The folder of the four verified files; missing ones are downloaded."""
    folder = find() or paths.cache_folder("mnist")
    for key in FILES:
        _content(key, folder, progress)
    return folder


def find() -> Path | None:
    """The first folder with all four files: $DNI_DATA/mnist, $DNI_DATA, the cache.

    In $DNI_DATA the files may also be in `MNIST/raw`, where torchvision stores them.
    """
    return next((f for f in _folders() if idx.files_in(f).keys() >= FILES.keys()), None)


def _folders() -> Iterator[Path]:
    yield from _given()
    if kept := paths.cache_folder_if_any("mnist"):
        yield kept


def _given() -> list[Path]:
    below = ((), (idx.RAW,), ("MNIST", idx.RAW))
    return [folder.joinpath(*inner) for folder in paths.user_folders("mnist") for inner in below]


def _array(content: bytes, key: str) -> NDArray[np.generic]:
    return idx.read_idx(io.BytesIO(content), FILES[key].name)


def _content(key: str, folder: Path | None, progress: Progress | None) -> bytes:
    """The verified content of a file. A broken file is an error, or is replaced in the cache."""
    if folder in _given():
        return _given_content(idx.files_in(folder)[key], FILES[key])
    path = _cached(key)
    if path is not None:
        with suppress(DataError):
            return _read(path, FILES[key])
    return _download(FILES[key], progress)


def _cached(key: str) -> Path | None:
    """The copy in the cache: a downloaded one, or else one that the user has put there."""
    path = paths.cache_folder("mnist") / f"{FILES[key].name}.gz"
    return path if path.is_file() else idx.files_in(paths.cache_folder("mnist")).get(key)


def _given_content(path: Path, file: MnistFile) -> bytes:
    try:
        return _read(path, file)
    except DataError as error:
        raise DataError(f"{error}; replace that file, or unset DNI_DATA") from error


def _read(path: Path, file: MnistFile) -> bytes:
    with open_decompressed(path) as stream:
        return read_verified(stream, file.size, file.md5, str(path))


def _download(file: MnistFile, progress: Progress | None) -> bytes:
    """The content of `file` from a mirror. The download replaces a broken copy in the cache."""
    folder = paths.cache_folder("mnist")

    def accept(response: bytes) -> tuple[bytes, bytes]:
        with decompressed(io.BytesIO(response), file.name) as stream:
            return response, read_verified(stream, file.size, file.md5, file.name)

    try:
        response, content = fetch(f"{file.name}.gz", MIRRORS, file.size + _SLACK, accept, progress)
    except DataError as error:
        wanted = ", ".join(f"{known.name}.gz" for known in FILES.values())
        raise DataError(
            f"mnist: {error}; put the four files {wanted} into $DNI_DATA/mnist or {folder}"
        ) from error
    write_whole(folder / f"{file.name}.gz", lambda part: part.write(response))
    return content
