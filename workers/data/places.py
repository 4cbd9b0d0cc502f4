"""Where data sets with a name lie: the user's folder, and the cache."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from protocol.errors import DataError


def given(name: str) -> tuple[Path, ...]:
    """The user's folders for the data set `name`, best first: $DNI_DATA/name and $DNI_DATA.

    Raises DataError where $DNI_DATA begins with the `~` of an unknown user.
    """
    root = os.environ.get("DNI_DATA")
    if not root:
        return ()
    folder = expanded(root, "DNI_DATA")
    return (folder / name, folder)


def cache(name: str) -> Path:
    """The folder that keeps what belongs to `name`: in $DNI_CACHE or in the user's cache.

    A user without a home has the cache in the folder of temporary files. Raises DataError where
    $DNI_CACHE begins with the `~` of an unknown user.
    """
    root = os.environ.get("DNI_CACHE")
    return (expanded(root, "DNI_CACHE") if root else _of_user()) / name


def expanded(text: str | Path, key: str) -> Path:
    """The path `text` with `~` and `~user` replaced. Raises DataError that names `key`."""
    path = Path(text)
    try:
        return path.expanduser()
    except (RuntimeError, KeyError):
        raise DataError(
            f"{key}: {str(text)!r}: no such file or folder: there is no home folder "
            f"{path.parts[0]!r}; give the full path"
        ) from None


def _of_user() -> Path:
    try:
        return platformdirs.user_cache_path("dni")
    except (RuntimeError, KeyError):  # neither HOME nor an entry in /etc/passwd
        return _private(Path(tempfile.gettempdir()) / f"dni-cache-{os.getuid()}")


def _private(folder: Path) -> Path:
    """`folder`, made where it is missing. Raises DataError where others may enter or own it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; set DNI_CACHE to another folder") from None
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise DataError(
            f"{folder}: is not a private folder of this user, so it cannot be the cache; "
            "set DNI_CACHE to another folder"
        )
    return folder
