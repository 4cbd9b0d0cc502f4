"""The folders of named data sets: the user's folder and the cache."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

import platformdirs

from protocol.errors import DataError, SpecError
from protocol.paths import user_path

_REMEDY: Final = "set DNI_CACHE to a folder that is yours"


class NoCacheError(DataError):
    """There is no folder for the cache, because the user has no home folder."""


def user_folders(name: str) -> tuple[Path, ...]:
    """The user's folders for the data set `name` in order: $DNI_DATA/name and $DNI_DATA.

    Raises DataError if $DNI_DATA begins with the `~` of an unknown user.
    """
    root = os.environ.get("DNI_DATA")
    if not root:
        return ()
    folder = expanded(root, "DNI_DATA")
    return (folder / name, folder)


def cache_folder(name: str) -> Path:
    """The folder of `name` in the cache: in $DNI_CACHE, or else in the user's cache folder.

    Without a home folder the cache is in the folder for temporary files. Raises DataError if
    $DNI_CACHE begins with the `~` of an unknown user, and NoCacheError if there is no private
    folder for the cache.
    """
    root = os.environ.get("DNI_CACHE")
    return (expanded(root, "DNI_CACHE") if root else _of_user()) / name


def cache_folder_if_any(name: str) -> Path | None:
    """The same, or None if there is no folder for the cache."""
    try:
        return cache_folder(name)
    except NoCacheError:
        return None


def expanded(text: str | Path, key: str) -> Path:
    """The path `text` with `~` and `~user` replaced. Raises DataError that names `key`."""
    try:
        return user_path(text, key)
    except SpecError as error:
        raise DataError(str(error)) from None


def _of_user() -> Path:
    try:
        return platformdirs.user_cache_path("dni")
    except (RuntimeError, KeyError):  # neither HOME nor an entry in /etc/passwd
        pass
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        raise NoCacheError(
            f"there is no home folder, and none for temporary files ({error.strerror}); {_REMEDY}"
        ) from None
    return _private(temporary / f"dni-cache-{os.getuid()}")


def _private(folder: Path) -> Path:
    """`folder`, created if missing. Raises NoCacheError if other users own it or may enter it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NoCacheError(f"{folder}: {error.strerror}; {_REMEDY}") from None
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise NoCacheError(
            f"{folder}: is not a private folder of this user, so it cannot be the cache; {_REMEDY}"
        )
    return folder
