"""Loads a user's data set from a file or folder in any known format."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.did_you_mean import did_you_mean
from protocol.errors import DataError
from workers.data import (
    archive,
    cifar,
    cifar_files,
    foreign_formats,
    idx,
    image_folder,
    images,
    npz,
    paths,
)
from workers.data.dataset import KEYS, TESTS, Dataset, build_dataset
from workers.data.listing import listed
from workers.data.streams import open_decompressed

_PACKED: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz")


def load(path: str | Path, tests_only: bool = False) -> Dataset:
    """The data set at `path`; with `tests_only` only its test set.

    Raises DataError if there is no data set at `path`, or if it is broken.
    """
    place = paths.expanded(path, "data.path")
    try:
        return _load(place, tests_only)
    except OSError as error:
        place = error.filename or place
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error


def _load(path: Path, tests_only: bool) -> Dataset:
    if path.is_dir():
        return _folder(path, tests_only)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder{_similar_name(path)}")
    if not path.is_file():
        raise DataError(f"{path}: is neither a file nor a folder")
    if form := cifar.format_of(path):
        return cifar_files.read_cifar(path, form)
    if zipfile.is_zipfile(path):
        if npz.is_npz(path):
            return build_dataset(path.stem, npz.read_npz(path, tests_only), str(path))
        if what := foreign_formats.describe_zip(npz.zip_names(path)):
            raise DataError(f"{path}: {what}")
        return _of_images(path.stem, path, images.read_archive(path, tests_only))
    if archive.is_tar(path):
        name = path.name.partition(".tar")[0]
        return _of_images(name, path, images.read_archive(path, tests_only))
    raise DataError(f"{path}: {foreign_formats.describe_file(path)}")


def _of_images(name: str, path: Path, read: images.ImageArrays) -> Dataset:
    return build_dataset(name, read.arrays, str(path), read.notes, read.class_names)


def _folder(path: Path, tests_only: bool) -> Dataset:
    found = _inside(path)
    if len(found) > 1:
        names = listed(repr(str(place.relative_to(path))) for place in found)
        raise DataError(f"{path}: holds several data sets: {names}; give the path of one of them")
    if not found and image_folder.is_image_folder(path):
        return _of_images(path.resolve().name, path, images.read_folder(path, tests_only))
    if not found:
        raise DataError(
            f"{path}: holds no IDX files such as {idx.NAMES['x_train']}.gz, "
            f"nor images such as train/<class>/<name>.png{_content_hint(path)}"
        )
    (place,) = found
    if form := cifar.format_of(place):
        return cifar_files.read_cifar(place, form)
    full = place.resolve()
    name = full.parent.name if full.name == idx.RAW else full.name
    return build_dataset(name, _idx_files(place, tests_only), str(place))


def _inside(path: Path) -> list[Path]:
    """The folders and archives of data sets in the folder `path`, or `path` itself if it is one."""
    if idx.files_in(path):
        return [path]
    known = cifar.find_inside(path)
    return [*([known] if known else []), *idx.raw_folders(path)]


def _idx_files(path: Path, tests_only: bool) -> dict[str, NDArray[np.generic]]:
    found = idx.files_in(path)
    wanted = TESTS if tests_only else KEYS
    for key in wanted:
        if key not in found:
            file = idx.NAMES[key]
            if (path / file).is_dir():
                raise DataError(f"{path / file}: is a folder, not a file")
            names = (child.name for child in path.iterdir())
            unknown = (n for n in names if n.removesuffix(".gz") not in idx.NAMES.values())
            raise DataError(f"{path}: {file}[.gz] is missing{_hint(file, unknown)}")
    return {key: _idx(found[key]) for key in wanted}


def _idx(path: Path) -> NDArray[np.generic]:
    with open_decompressed(path) as stream:
        return idx.read_idx(stream, str(path))


def _similar_name(path: Path) -> str:
    """A hint at a file or folder with a similar name, for a `path` that does not exist."""
    if not path.parent.is_dir():
        return f"; there is no folder {str(path.parent)!r} either"
    seen = (f for f in path.parent.iterdir() if not f.name.startswith("."))
    return _hint(path.name, (f.name for f in seen if f.suffix == ".npz" or f.is_dir()))


def _content_hint(path: Path) -> str:
    """A hint at a data set in the folder `path`, or else the list of its content."""
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    packed = (child for child in children if child.name.lower().endswith(_PACKED))
    if meant := next((child for child in children if _is_likely(child)), next(packed, None)):
        return f"; did you mean {str(meant)!r}?"
    names = listed(repr(child.name) for child in children)
    if prefix := idx.common_prefix(child.name for child in children):
        return f"; it holds {names}: leave {prefix!r} out of the names of the four IDX files"
    if any(child.suffix == ".npy" for child in children):
        return f"; it holds {names}: put the arrays into one file with {foreign_formats.SAVE}"
    if children and all(child.is_dir() for child in children):
        return (
            f"; it holds the folders {names}: if these are classes, move them into train/ and test/"
        )
    return f"; it holds {names}" if names else "; it is empty"


def _is_likely(child: Path) -> bool:
    """Whether `child` of a folder that is not a data set looks like a data set."""
    return child.suffix == ".npz" or (
        child.is_dir() and (bool(_inside(child)) or image_folder.is_image_folder(child))
    )


def _hint(name: str, names: Iterable[str]) -> str:
    """`did_you_mean`, without the list of all names, because a folder may hold any number."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return did_you_mean(name, close) if close else ""
