"""Create the folder of a run, and undo that if the start of the run fails.

A failed start leaves no new folder. With --force the files of an earlier run are set aside in a
subfolder until the first worker of the new run has started, so that a failed start restores them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coordinator.run_folder.layout import (
    CONTENT,
    PIPELINE,
    is_recording,
    try_lock,
    utf8_file_name,
)
from protocol import RunError
from protocol.paths import shortened, user_path

RUNS: Final = Path("runs")
SET_ASIDE: Final = ".before"
"""The subfolder that holds the complete earlier run."""
MOVING: Final = ".before.part"
"""The same subfolder while files are moved into it or out of it."""


class RunFolder:
    """The folder of a new run. `create` makes it; `commit` deletes the earlier run; `rollback`
    undoes `create`."""

    def __init__(self, name: str, path: str | os.PathLike[str] | None, force: bool) -> None:
        """Choose the folder `path`, or one in `RUNS` that is named after the time and `name`.

        With `force` the folder of an earlier run is accepted, unless that run is still recorded.
        No other folder that has content is accepted. Raises UserError if the folder cannot be used.
        """
        self._chosen = None if path is None else user_path(path, "--run-dir")
        self._force = force
        self._created: list[Path] = []
        self._lock: int | None = None
        self._owned = False
        self.committed = False
        self.path = self._chosen or RUNS / utf8_file_name(
            f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        )
        with option_errors("--run-dir", self.path):
            require_creatable(self.path, "--run-dir")
            if self._chosen is not None and self._chosen.exists():
                _require_usable(self._chosen, force)

    def create(self) -> Path:
        """Create the folder. Raises RunError if that fails."""
        try:
            with option_errors("--run-dir", self.path):
                self._created = make_folders(self.path.parent)
                self._create_folder()
                (self.path / PIPELINE).touch(exist_ok=False)  # of two concurrent runs one fails
                self._owned = True
        except FileExistsError:
            self.rollback()
            raise RunError(
                f"{self.path}: another run took this folder first; choose another --run-dir"
            ) from None
        except BaseException:
            self.rollback()
            raise
        return self.path

    def _create_folder(self) -> None:
        if self._chosen is None:
            self.path = _create_numbered(self.path)
            self._created.append(self.path)
        elif not self._chosen.exists():
            self._created += make_folders(self._chosen)
        else:
            _require_usable(self._chosen, self._force)
            _restore(self.path)  # an earlier start may have been killed
            if (self._chosen / PIPELINE).exists():
                self._set_aside()

    def _set_aside(self) -> None:
        part = self.path / MOVING
        part.mkdir()
        self._lock = _open_locked(part)
        for name in CONTENT:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(part / name)
        part.rename(self.path / SET_ASIDE)

    def commit(self) -> None:
        """Delete the earlier run: the new one has started."""
        self.committed = True
        if self.replaces_run:
            shutil.rmtree(self.path / SET_ASIDE, ignore_errors=True)
        self.release()

    @property
    def replaces_run(self) -> bool:
        """Whether `rollback` restores an earlier run."""
        return self._lock is not None

    def rollback(self) -> None:
        """Restore the state before `create`."""
        if self.replaces_run:
            _restore(self.path)
        elif self._owned:
            _remove_content(self.path)
        _remove_empty(self._created)
        self.release()

    def release(self) -> None:
        """Unlock the earlier run and keep all files, as the end of the process does."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self._owned, self._created = None, False, []


def _restore(folder: Path) -> None:
    """Replace the content of `folder` by the run that was set aside in it, if there is one.

    `SET_ASIDE` holds all of that run. `MOVING` holds a part; the rest is in its original place.
    """
    aside, part = folder / SET_ASIDE, folder / MOVING
    if aside.is_dir():
        _remove_content(folder)
        aside.rename(part)
    if part.is_dir():
        for old in part.iterdir():
            old.rename(folder / old.name)
        part.rmdir()


def _remove_content(folder: Path) -> None:
    """Remove the files that a run leaves in `folder`."""
    for name in CONTENT:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def restore_abandoned(folder: Path) -> None:
    """Restore the run that a killed start left set aside in `folder`."""
    for name in (SET_ASIDE, MOVING):
        with contextlib.suppress(OSError):
            descriptor = _open_locked(folder / name)
            try:
                _restore(folder)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def option_errors(option: str, path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a RunError that names `option`; keep FileExistsError."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        where = shortened(str(error.filename or path))
        raise RunError(f"{where}: {error.strerror}; choose another {option}") from None


@contextlib.contextmanager
def output_folder(folder: Path, option: str) -> Iterator[None]:
    """Create `folder`, the value of `option`; if the block raises, remove new empty folders.

    Raises RunError if the folder cannot be created.
    """
    with option_errors(option, folder):
        require_creatable(folder, option)
        created = make_folders(folder)
    try:
        yield
    except BaseException:
        _remove_empty(created)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with contextlib.suppress(OSError):  # another process uses it
            folder.rmdir()


def require_creatable(folder: Path, option: str) -> None:
    """Raise RunError if `folder` neither exists nor can be created."""
    for path in (folder, *folder.parents):
        which = "" if path == folder else f"{path} "
        if path.is_dir():
            if os.access(path, os.W_OK | os.X_OK):
                return
            reason = "cannot be written to by this user"
        elif path.is_symlink():
            reason = f"is a link to {os.readlink(path)}, which does not exist"  # noqa: PTH115
        elif path.exists():
            reason = "is a file, not a folder"
        else:
            continue
        raise RunError(f"{folder}: {which}{reason}; choose another {option}")


def make_folders(folder: Path) -> list[Path]:
    """Create `folder` and its parents; return those that were missing, topmost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _create_numbered(path: Path) -> Path:
    """Create `path`, or `path-2` and so on if another run took the name first."""
    number = 1
    while True:
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _require_usable(folder: Path, force: bool) -> None:
    """Raise RunError if the existing `folder` cannot take a new run."""
    if not any(folder.iterdir()):
        return
    if not any((folder / name).exists() for name in (PIPELINE, SET_ASIDE, MOVING)):
        raise RunError(f"{folder}: holds files that are not a run's; choose another --run-dir")
    if not force:
        raise RunError(
            f"{folder}: already holds a run; choose another --run-dir or replace it with --force"
        )
    if _is_busy(folder):
        raise RunError(f"{folder}: a run is in progress there; choose another --run-dir")


def _is_busy(folder: Path) -> bool:
    """Whether a run records into `folder`, or is starting there."""
    if is_recording(folder):
        return True
    for name in (SET_ASIDE, MOVING):
        with contextlib.suppress(FileNotFoundError):
            try:
                os.close(_open_locked(folder / name))
            except BlockingIOError:
                return True
    return False


def _open_locked(folder: Path) -> int:
    """Lock `folder` for as long as the returned descriptor is open.

    Raises OSError if the folder does not exist, or another process holds its lock.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    if not try_lock(descriptor):
        os.close(descriptor)
        raise BlockingIOError(errno.EWOULDBLOCK, "is locked", str(folder))
    return descriptor
