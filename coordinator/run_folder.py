"""The folder of a run: how a user names it, how it is made, and how it goes if the start fails.

A start that fails leaves no folder, and what an earlier run left there stays: with --force that is
set aside, in a folder of its own, until the first worker of the new run has started.
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

from coordinator.observers.recorder import (
    LOGS,
    METRICS,
    PIPELINE,
    REVOKED,
    STATUS,
    SUMMARY,
    TRACE,
    WEIGHTS,
    file_name,
    lock,
    under_way,
)
from protocol import RunError
from protocol.paths import short, user_path

RUNS: Final = Path("runs")
NEWEST: Final = "newest"
ASIDE: Final = ".before"
MOVING: Final = ".before.part"
"""The same while it is moved there or back."""
CONTENT: Final = (PIPELINE, METRICS, SUMMARY, STATUS, REVOKED, WEIGHTS, LOGS, TRACE)
"""All that a run leaves in its folder."""


def run_folder(word: str, key: str = "run") -> Path:
    """The folder of the run that `word` names: a path, the end of a name under runs/, or newest.

    Of several the newest; one that is recorded now goes before those that have ended. Raises
    UserError where there is none; errors call the word `key`.
    """
    path = user_path(word, key)
    for folder in (path, *(aside.parent for aside in RUNS.glob(f"*/{ASIDE}*"))):
        _put_back(folder)
    if os.path.isfile(path / PIPELINE):  # noqa: PTH113  false for a path that is too long
        return path
    name = word.rstrip("/")
    runs = [pipeline.parent for pipeline in RUNS.glob(f"*/{PIPELINE}")]
    found = [run for run in runs if name and run.name.endswith(name)] or runs * (name == NEWEST)
    if not found and os.path.isdir(path):  # noqa: PTH112
        raise RunError(f"{short(word)}: holds no run; a run folder has a {PIPELINE}")
    if not found and os.path.exists(path):  # noqa: PTH110
        raise RunError(f"{short(word)}: is a file; give the folder of a run")
    if not found:
        raise RunError(
            f"{short(word)}: no such folder, and no run under {RUNS}/ whose name ends so; "
            f"a run folder holds a {PIPELINE}"
        )
    return max(found, key=lambda run: (under_way(run), (run / PIPELINE).stat().st_mtime))


class RunFolder:
    """Where a run leaves its files: nothing is made before `open`, nothing lost before `keep`."""

    def __init__(self, name: str, wish: str | os.PathLike[str] | None, force: bool) -> None:
        """The folder `wish`, or one in `RUNS` that is called by the time and `name`.

        With `force` a folder that an earlier run left is used; no other one ever is, nor that of a
        run that is under way. Raises UserError where it is clear that the folder cannot be had.
        """
        self._wish = None if wish is None else user_path(wish, "--run-dir")
        self._force = force
        self._made: list[Path] = []
        self._lock: int | None = None
        self._owned = False
        self.begun = False
        self.path = self._wish or RUNS / file_name(f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
        with naming("--run-dir", self.path):
            refuse_obstacle(self.path, "--run-dir")
            if self._wish is not None and self._wish.exists():
                _refuse(self._wish, force)

    def open(self) -> Path:
        """Make the folder. Raises RunError where that cannot be."""
        try:
            with naming("--run-dir", self.path):
                self._made = made(self.path.parent)
                self._make()
                (self.path / PIPELINE).touch(exist_ok=False)  # of two runs at once one gets it
                self._owned = True
        except FileExistsError:
            self.undo()
            raise RunError(
                f"{self.path}: another run was quicker; choose another --run-dir"
            ) from None
        except BaseException:
            self.undo()
            raise
        return self.path

    def _make(self) -> None:
        if self._wish is None:
            self.path = _numbered(self.path)
            self._made.append(self.path)
        elif not self._wish.exists():
            self._made += made(self._wish)
        else:
            _refuse(self._wish, self._force)
            _restore(self.path)  # where a start was killed
            if (self._wish / PIPELINE).exists():
                self._set_aside()

    def _set_aside(self) -> None:
        part = self.path / MOVING
        part.mkdir()
        self._lock = _locked(part)
        for name in CONTENT:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(part / name)
        part.rename(self.path / ASIDE)

    def keep(self) -> None:
        """The run has begun: what an earlier one left is not needed any more."""
        self.begun = True
        if self.replaces:
            shutil.rmtree(self.path / ASIDE, ignore_errors=True)
        self._release()

    @property
    def replaces(self) -> bool:
        """Whether an earlier run comes back with `undo`."""
        return self._lock is not None

    def undo(self) -> None:
        """Leave all as it was before `open`."""
        if self.replaces:
            _restore(self.path)
        elif self._owned:
            _remove(self.path)
        _unmake(self._made)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self._owned, self._made = None, False, []


def _restore(folder: Path) -> None:
    """Let a run that was set aside in `folder` take the place of what is there.

    In `ASIDE` all of it is; in `MOVING` a part, of which the rest is still, or again, in its place.
    """
    aside, part = folder / ASIDE, folder / MOVING
    if aside.is_dir():
        _remove(folder)
        aside.rename(part)
    if part.is_dir():
        for old in part.iterdir():
            old.rename(folder / old.name)
        part.rmdir()


def _remove(folder: Path) -> None:
    """Remove what a run leaves in `folder`."""
    for name in CONTENT:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def _put_back(folder: Path) -> None:
    """Restore the run that was set aside in `folder` by a start that was killed."""
    for name in (ASIDE, MOVING):
        with contextlib.suppress(OSError):
            descriptor = _locked(folder / name)
            try:
                _restore(folder)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def naming(option: str, place: Path) -> Iterator[None]:
    """Turns what the system refuses about `place` into a RunError; a file in the way stays one."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        where = short(str(error.filename or place))
        raise RunError(f"{where}: {error.strerror}; choose another {option}") from None


@contextlib.contextmanager
def making(folder: Path, option: str) -> Iterator[None]:
    """Make `folder`, which `option` names; where the block raises, what is empty goes again.

    Raises RunError where it cannot be made.
    """
    with naming(option, folder):
        refuse_obstacle(folder, option)
        new = made(folder)
    try:
        yield
    except BaseException:
        _unmake(new)
        raise


def _unmake(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with contextlib.suppress(OSError):  # somebody uses it
            folder.rmdir()


def refuse_obstacle(folder: Path, option: str) -> None:
    """Raise RunError where `folder` is neither there nor can be made."""
    for place in (folder, *folder.parents):
        which = "" if place == folder else f"{place} "
        if place.is_dir():
            if os.access(place, os.W_OK | os.X_OK):
                return
            why = "cannot be written to by this user"
        elif place.is_symlink():
            why = f"is a link to {os.readlink(place)}, where there is nothing"  # noqa: PTH115
        elif place.exists():
            why = "is a file, not a folder"
        else:
            continue
        raise RunError(f"{folder}: {which}{why}; choose another {option}")


def made(folder: Path) -> list[Path]:
    """Make `folder`, and all above it; those that were not there, topmost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _numbered(wish: Path) -> Path:
    """Make `wish` or, where another run was quicker, `wish-2` and so on."""
    number = 1
    while True:
        folder = wish if number == 1 else wish.with_name(f"{wish.name}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _refuse(folder: Path, force: bool) -> None:
    """Raise RunError where the folder, which exists, is not for a new run."""
    if not any(folder.iterdir()):
        return
    if not any((folder / name).exists() for name in (PIPELINE, ASIDE, MOVING)):
        raise RunError(f"{folder}: holds something that is not a run; choose another --run-dir")
    if not force:
        raise RunError(f"{folder}: holds a run already; choose another --run-dir or give --force")
    if _under_way(folder):
        raise RunError(f"{folder}: a run is under way there; choose another --run-dir")


def _under_way(folder: Path) -> bool:
    """Whether a run records into `folder`, or is about to."""
    if under_way(folder):
        return True
    for name in (ASIDE, MOVING):
        with contextlib.suppress(FileNotFoundError):
            try:
                os.close(_locked(folder / name))
            except BlockingIOError:
                return True
    return False


def _locked(folder: Path) -> int:
    """Hold the lock of `folder` for as long as the descriptor is open.

    Raises OSError where there is no such folder, or another process holds its lock.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    if not lock(descriptor):
        os.close(descriptor)
        raise BlockingIOError(errno.EWOULDBLOCK, "is locked", str(folder))
    return descriptor
