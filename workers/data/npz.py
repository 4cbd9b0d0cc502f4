"""The four arrays of an .npz file."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError, nearest
from workers.data.dataset import KEYS


def read(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays named in `KEYS` of the file at `path`. Raises DataError."""
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
