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

    Raises DataError where $DNI_DATA begins with a `~` that names nobody.
    """
    root = os.environ.get("DNI_DATA")
    if not root:
        return ()
    folder = expanded(root, "DNI_DATA")
    return (folder / name, folder)


def cache(name: str) -> Path:
    """The folder that keeps what belongs to `name`: in $DNI_CACHE or in the user's cache.

    A user without a home has the cache in the folder of temporary files. Raises DataError where
    $DNI_CACHE begins with a `~` that names nobody.
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
            f"{key}: {str(text)!r}: no such file or folder: {path.parts[0]!r} is nobody's home "
            "here; give the whole path"
        ) from None


def _of_user() -> Path:
    try:
        return platformdirs.user_cache_path("dni")
    except (RuntimeError, KeyError):  # neither HOME nor an entry in /etc/passwd
        return _private(Path(tempfile.gettempdir()) / f"dni-cache-{os.getuid()}")


def _private(folder: Path) -> Path:
    """`folder`, which only this user may enter. Raises DataError where it is somebody else's."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; name a folder in DNI_CACHE") from None
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise DataError(
            f"{folder}: is not a folder of yours alone, so it cannot be the cache; "
            "name a folder in DNI_CACHE"
        )
    return folder
