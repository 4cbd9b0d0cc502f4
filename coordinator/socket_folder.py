"""Folders that a process has to itself, for sockets or for files, gone when it is.

The lock of a folder tells whether its owner lives. What owners left that were killed is swept away
by the next process that makes a folder.
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
"""Bytes; a socket's path has at most 107, and the folder's and the socket's names want theirs."""
LOCK: Final = "lock"
_NAME: Final = re.compile(r"\.?dni-\d+-[a-z0-9_]{8}")
"""How `OwnFolder` names a folder; the end is that of `tempfile.mkdtemp`."""
MAKING_SECONDS: Final = 60
"""A folder is made and locked in far less; one of this age has lost its owner."""


class OwnFolder:
    """A folder in `base` that only the user can enter, gone when it is closed. Raises OSError."""

    def __init__(self, base: Path) -> None:
        self._lock: int | None = None
        _sweep(base)
        made = Path(tempfile.mkdtemp(prefix=f".dni-{os.getpid()}-", dir=base))
        self.path = made.with_name(made.name[1:])  # once it is locked: see _sweep
        try:
            self._lock = _lock(made, make=True)
            if self._lock is None:
                reason = "swept away while it was made; is the clock right?"
                raise OSError(errno.EBUSY, reason)
            made.rename(self.path)
        except BaseException:  # whatever it is, Ctrl-C too, no folder is left
            shutil.rmtree(made, ignore_errors=True)
            self.close()
            raise

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


def socket_folder() -> OwnFolder:
    """A folder for sockets and shared memory, in the first of `_bases` that will do.

    Raises RunError that says what is wrong with each where none does.
    """
    wrong = []
    with contextlib.suppress(OSError):
        _sweep(Path(tempfile.gettempdir()))
    for base in _bases():
        try:
            if len(os.fsencode(base)) > LONGEST_BASE:
                raise OSError(errno.ENAMETOOLONG, "too long a path for sockets")
            return OwnFolder(base)
        except OSError as error:
            wrong.append(f"{base}: {error.strerror}")
    raise RunError(
        f"no folder for sockets: {'; '.join(wrong)}; set TMPDIR to a folder that can be "
        f"written to and whose path has at most {LONGEST_BASE} bytes"
    )


def file_folder() -> OwnFolder:
    """A folder for files that may be large, in that for temporary files. Raises RunError."""
    try:
        return OwnFolder(Path(tempfile.gettempdir()))
    except OSError as error:
        raise RunError(f"no folder for files: {error}; set TMPDIR to one") from None


def _bases() -> Iterator[Path]:
    """Where folders for sockets and shared memory may go: into memory first, where that can be.

    An XDG_RUNTIME_DIR that is not absolute is no such place (freedesktop.org's specification).
    """
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):
        if Path(place).is_absolute():
            yield Path(place)
    with contextlib.suppress(FileNotFoundError):  # there is none that can be written to
        yield Path(tempfile.gettempdir())


def _lock(folder: Path, make: bool = False) -> int | None:
    """Hold the lock of `folder` for as long as the descriptor is open; None where another does."""
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    descriptor = os.open(folder / LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(base: Path) -> None:
    """Remove what runs left that were killed together with all their workers.

    Folders have their names once they are locked: one without a lock is somebody else's, and a
    hidden one without is being made, if it is not too old for that.
    """
    for folder in (*base.glob("dni-[0-9]*-*"), *base.glob(".dni-[0-9]*-*")):
        with contextlib.suppress(OSError):
            if not _is_ours(folder):
                continue
            descriptor = _lock(folder, make=folder.name[0] == ".")
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _is_ours(folder: Path) -> bool:
    """Whether an `OwnFolder` of this user made it, and is not making it now. Raises OSError."""
    status = folder.lstat()
    private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
    if not (_NAME.fullmatch(folder.name) and private and status.st_uid == os.getuid()):
        return False
    if folder.name[0] != ".":
        return (folder / LOCK).lstat().st_size == 0
    young = time.time() - status.st_mtime < MAKING_SECONDS
    return not young and {place.name for place in folder.iterdir()} <= {LOCK}
