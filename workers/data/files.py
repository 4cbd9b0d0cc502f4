"""A data set of the user's own: an .npz of four arrays, or a folder of four IDX files."""

from __future__ import annotations

import difflib
import textwrap
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError, nearest
from workers.data import idx
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
    if path.is_dir():
        return build(path.resolve().name, _folder(path), str(path))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder{_beside(path)}")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: is no .npz file; save {', '.join(KEYS)} with numpy.savez_compressed"
        )
    return build(path.stem, _npz(path), str(path))


def _npz(path: Path) -> dict[str, NDArray[np.generic]]:
    key = "the archive"
    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        # Opened here, because numpy leaves a file open that turns out to be broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            _refuse_missing(archive.files, path)
            for key in KEYS:
                arrays[key] = np.asarray(archive[key])
    except DataError:
        raise
    # Every kind: what numpy and zipfile raise over a broken file is no part of their promise.
    except Exception as error:
        raise DataError(f"{path}: {key}: {_reason(error)}") from error
    return arrays


def _refuse_missing(keys: list[str], path: Path) -> None:
    for key in KEYS:
        if key not in keys:
            strange = [other for other in keys if other not in KEYS]
            held = f"; it holds {', '.join(keys) or 'no arrays at all'}"
            hint = nearest(key, strange) if strange else held
            raise DataError(f"{path}: the array {key!r} is missing{hint}")


def _reason(error: Exception) -> str:
    if "allow_pickle" in str(error):
        return "holds Python objects, which are never loaded; save it as a plain array"
    return f"cannot be read: {textwrap.shorten(str(error), 160)}; save the file again"


def _folder(path: Path) -> dict[str, NDArray[np.generic]]:
    found = idx.files(path)
    if not found:
        raise DataError(
            f"{path}: holds no IDX files such as {idx.NAMES['x_train']}.gz{_inside(path)}"
        )
    for key, file in idx.NAMES.items():
        if key not in found:
            names = (child.name for child in path.iterdir())
            raise DataError(f"{path}: {file}[.gz] is missing{_close(file, names)}")
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
