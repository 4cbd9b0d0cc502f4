"""A data set of the user's own: a file or a folder in any of the forms that are known."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError, nearest
from workers.data import archive, cifar, cifar_files, idx, images, npz, tree
from workers.data.content import opened
from workers.data.dataset import KEYS, Dataset, build


def load(path: Path) -> Dataset:
    """The data set at `path`; raises DataError for whatever it is that is not one."""
    with suppress(RuntimeError):  # a home that nobody has is a file that is not there
        path = path.expanduser()
    try:
        return _load(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _load(path: Path) -> Dataset:
    place = cifar.inside(path) or path
    if form := cifar.form_of(place):
        return cifar_files.read(place, form)
    if path.is_dir():
        return build(path.resolve().name, _folder(path), str(path))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder{_beside(path)}")
    if path.is_file() and zipfile.is_zipfile(path):
        return build(path.stem, npz.read(path), str(path))
    if path.is_file() and archive.is_tar(path):
        return build(path.name.partition(".tar")[0], images.packed(path), str(path))
    raise DataError(
        f"{path}: is no .npz file, nor a tar archive of pictures; "
        f"save {', '.join(KEYS)} with numpy.savez_compressed"
    )


def _folder(path: Path) -> dict[str, NDArray[np.generic]]:
    found = idx.files(path)
    if not found and tree.is_tree(path):
        return images.folder(path)
    if not found:
        raise DataError(
            f"{path}: holds no IDX files such as {idx.NAMES['x_train']}.gz, "
            f"nor pictures such as train/<class>/<name>.png{_inside(path)}"
        )
    for key, file in idx.NAMES.items():
        if key not in found:
            if (path / file).is_dir():
                raise DataError(f"{path / file}: is a folder, not a file")
            names = (child.name for child in path.iterdir())
            strange = (n for n in names if n.removesuffix(".gz") not in idx.NAMES.values())
            raise DataError(f"{path}: {file}[.gz] is missing{_close(file, strange)}")
    return {key: _idx(file) for key, file in found.items()}


def _idx(path: Path) -> NDArray[np.generic]:
    with opened(path) as stream:
        return idx.read(stream, str(path))


def _beside(path: Path) -> str:
    """A hint at what lies where `path` should."""
    if not path.parent.is_dir():
        return f"; there is no folder {str(path.parent)!r} either"
    loadable = (f.name for f in path.parent.iterdir() if f.suffix == ".npz" or f.is_dir())
    return _close(path.name, loadable)


def _inside(path: Path) -> str:
    """A hint at a file that may have been meant by naming its folder."""
    archives = sorted(path.glob("*.npz"))
    return f"; did you mean {str(archives[0])!r}?" if archives else ""


def _close(word: str, words: Iterable[str]) -> str:
    """`nearest`, without its list of all that is known: a folder may hold any number."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return nearest(word, close) if close else ""
