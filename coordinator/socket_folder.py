"""Private folders of a process, for sockets or files, that are removed with the process.

A process holds the lock of its folder as long as it lives. The folders of killed processes are
removed by the next process that creates one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol import RunError

LONGEST_BASE: Final = 60
"""In bytes: the path of a socket has at most 107, names of the folder and the socket included."""
LOCK: Final = "lock"
_NAME: Final = re.compile(r"\.?dni-\d+-[a-z0-9_]{8}")
"""The names of folders of `OwnFolder`; the last part is made by `tempfile.mkdtemp`."""
CREATION_SECONDS: Final = 60
"""Creation takes far less; an unlocked folder of this age has lost its process."""


class OwnFolder:
    """A folder in `base` that only the user can enter, until it is closed. Raises OSError."""

    def __init__(self, base: Path) -> None:
        self._lock: int | None = None
        _remove_abandoned(base)
        created = Path(tempfile.mkdtemp(prefix=f".dni-{os.getpid()}-", dir=base))
        self.path = created.with_name(created.name[1:])  # when it is locked: see _remove_abandoned
        try:
            self._lock = lock_folder(created, make=True)
            if self._lock is None:
                reason = "removed while it was created; is the clock right?"
                raise OSError(errno.EBUSY, reason)
            created.rename(self.path)
        except BaseException:  # Ctrl-C too must leave no folder
            shutil.rmtree(created, ignore_errors=True)
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder with its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


def socket_folder() -> OwnFolder:
    """A folder for sockets and shared memory, in the first usable one of `base_folders`.

    Raises RunError with the fault of each if none is usable.
    """
    wrong = []
    with contextlib.suppress(OSError):
        _remove_abandoned(Path(tempfile.gettempdir()))
    for base in base_folders():
        try:
            if len(os.fsencode(base)) > LONGEST_BASE:
                raise OSError(errno.ENAMETOOLONG, "the path is too long for sockets")
            return OwnFolder(base)
        except OSError as error:
            wrong.append(f"{base}: {error.strerror}")
    raise RunError(
        f"no folder for sockets: {'; '.join(wrong)}; set TMPDIR to a folder that can be "
        f"written to and whose path has at most {LONGEST_BASE} bytes"
    )


def file_folder() -> OwnFolder:
    """A folder for large files, in the temporary folder of the system. Raises RunError."""
    try:
        return OwnFolder(Path(tempfile.gettempdir()))
    except OSError as error:
        raise RunError(f"no folder for files: {error}; set TMPDIR to one") from None


def base_folders() -> Iterator[Path]:
    """Places for folders with sockets and shared memory; those in memory come first.

    XDG_RUNTIME_DIR is ignored if it is not absolute, as freedesktop.org's specification demands.
    """
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):
        if Path(place).is_absolute():
            yield Path(place)
    with contextlib.suppress(FileNotFoundError):  # no temporary folder can be written to
        yield Path(tempfile.gettempdir())


def lock_folder(folder: Path, make: bool = False) -> int | None:
    """Lock `folder` while the returned descriptor is open; None if another process holds it."""
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    descriptor = os.open(folder / LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of killed processes from `base`.

    A folder gets its name when it is locked. So one without a lock belongs to another program, and
    a hidden one without a lock is being created, unless it is older than `CREATION_SECONDS`.
    """
    for folder in (*base.glob("dni-[0-9]*-*"), *base.glob(".dni-[0-9]*-*")):
        with contextlib.suppress(OSError):
            if not _is_ours(folder):
                continue
            descriptor = lock_folder(folder, make=folder.name[0] == ".")
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _is_ours(folder: Path) -> bool:
    """Whether an `OwnFolder` of this user created `folder`, and not just now. Raises OSError."""
    status = folder.lstat()
    private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
    if not (_NAME.fullmatch(folder.name) and private and status.st_uid == os.getuid()):
        return False
    if folder.name[0] != ".":
        return (folder / LOCK).lstat().st_size == 0
    young = time.time() - status.st_mtime < CREATION_SECONDS
    return not young and {place.name for place in folder.iterdir()} <= {LOCK}
