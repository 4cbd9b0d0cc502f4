"""Reads the arrays of an .npz file."""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.dataset import KEYS, TESTS
from workers.data.foreign_formats import SAVE
from workers.data.image_folder import holds_image_folder
from workers.data.listing import listed
from workers.data.names import meant, undivided

_MEMBER = ".npy"


def is_npz(path: Path) -> bool:
    """Whether the zip file at `path` holds only arrays, or arrays and no image folder.

    Raises DataError.
    """
    names = [name for name in zip_names(path) if not name.endswith("/")]
    arrays = [name for name in names if name.endswith(_MEMBER)]
    return len(arrays) == len(names) or (bool(arrays) and not holds_image_folder(names))


def zip_names(path: Path) -> list[str]:
    """The names of the members of the zip file at `path`. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as packed:
            return packed.namelist()
    # Every exception: the errors of zipfile for broken files are not documented.
    except Exception as error:
        raise DataError(f"{path}: {_reason(error)}") from error


def read_npz(path: Path, tests_only: bool = False) -> dict[str, NDArray[np.generic]]:
    """The arrays named in `KEYS` of the file at `path`.

    With `tests_only` only those of the test set are read. Raises DataError.
    """
    held = _held(path)
    wanted = TESTS if tests_only else KEYS
    if missing := [key for key in wanted if key not in held]:
        raise DataError(f"{path}: {_lacks(missing, held)}")
    return read_arrays(path, wanted)


def read_arrays(path: Path, wanted: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """The arrays `wanted` of the file at `path`, which must have them. Raises DataError."""
    key = "the archive"
    found: dict[str, NDArray[np.generic]] = {}
    try:
        # Opened here, because numpy does not close a broken file.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in wanted:
                found[key] = np.asarray(archive[key])
    # Every exception: the errors of numpy and zipfile for broken files are not documented.
    except Exception as error:
        raise DataError(f"{path}: {key}: {_reason(error)}") from error
    return found


def _held(path: Path) -> dict[str, str]:
    """The dtype and shape of each array by name, such as `uint8 (100, 8, 8)`, from its header.

    The text is empty if the header cannot be read. Raises DataError.
    """
    found = {}
    names = [name for name in zip_names(path) if name.endswith(_MEMBER)]
    with zipfile.ZipFile(path) as packed:
        for name in names:
            found[name.removesuffix(_MEMBER)] = ""
            with suppress(Exception), packed.open(name) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
                found[name.removesuffix(_MEMBER)] = f"{dtype} {shape}"
    return found


def _lacks(missing: Sequence[str], held: Mapping[str, str]) -> str:
    """The missing arrays, others that may be meant, and the content of the file."""
    noun = "array" if len(missing) == 1 else "arrays"
    verb = "is" if len(missing) == 1 else "are"
    names = ", ".join(map(repr, missing))
    return f"the {noun} {names} {verb} missing{_hint(missing, held)}; {_listing(held)}"


def _hint(missing: Sequence[str], held: Mapping[str, str]) -> str:
    names = list(held)
    whole = undivided(names)
    parts = {key.partition("_")[2] for key in missing}
    pairs = {key: meant(key, names) for key in missing}
    if len(parts) == 1:  # the other split is there, so a name without a split means this one
        pairs = {key: name or whole.get(key[0]) for key, name in pairs.items()}
    found = [(key, name) for key, name in pairs.items() if name]
    if len(missing) == 1 and found:
        return f"; did you mean {found[0][1]!r}?"
    if found:
        return f"; did you mean {', '.join(f'{name!r} for {key!r}' for key, name in found)}?"
    if names and all(name.startswith("arr_") for name in names):
        return f"; arrays need their names: {SAVE}"
    if objects := [name for name in names if held[name].startswith("object")]:
        return (
            f"; {listed(map(repr, objects))} holds Python objects, which are never loaded: {SAVE}"
        )
    if "x" in whole and len(parts) > 1:
        both = " and ".join(map(repr, whole.values()))
        return f"; split {both} into training and test arrays"
    if missing == list(TESTS):
        return "; split some examples off 'x_train' and 'y_train' for them"
    return ""


def _listing(held: Mapping[str, str]) -> str:
    if not held:
        return "it holds no arrays at all"
    shown = ((name if name.isprintable() else repr(name), what) for name, what in held.items())
    return f"it holds {listed(f'{name:.60} {what}'.strip() for name, what in shown)}"


def _reason(error: Exception) -> str:
    if "allow_pickle" in str(error):
        return "holds Python objects, which are never loaded; save it as a plain array"
    return (
        f"cannot be read: {textwrap.shorten(str(error), 160)}; the file may be truncated or "
        "damaged: copy or save it again"
    )
