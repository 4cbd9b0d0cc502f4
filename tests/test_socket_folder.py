"""Private folders of a process: other processes keep them while it lives, and remove them later."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator import socket_folder as folders
from coordinator.socket_folder import (
    CREATION_SECONDS,
    LOCK,
    OwnFolder,
    file_folder,
    socket_folder,
)
from protocol import RunError

if TYPE_CHECKING:
    from tests.dni import Dni


@pytest.fixture
def base(dni: Dni, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(dni.base))
    return dni.base


def test_a_folder_is_not_removed_while_it_is_created(base: Path) -> None:
    def one_after_the_other(_: int) -> int:
        there = 0
        for _ in range(100):
            with closing(socket_folder()) as folder:
                there += (folder.path / LOCK).exists()
        return there

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one_after_the_other, range(4))) == [100] * 4
    assert not list(base.iterdir())


def test_an_interrupt_during_creation_leaves_no_folder(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert len(list(base.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KeyboardInterrupt):
        socket_folder()
    assert not list(base.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


@pytest.mark.parametrize("how", ["locked", "gone"])
def test_a_folder_that_was_removed_during_its_creation_is_an_error(
    base: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def swept(folder: Path, make: bool = False) -> None:  # noqa: ARG001
        if how == "gone":
            folder.rmdir()
            raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(folders, "lock_folder", swept)
    with pytest.raises(RunError, match=rf"{base}: (removed while|No such file)"):
        socket_folder()
    assert not list(base.iterdir())


@pytest.mark.parametrize(
    ("name", "mode", "files"),
    [
        ("dni-1-abc", 0o700, {LOCK: ""}),
        ("dni-join-abc", 0o700, {LOCK: ""}),
        ("dni-2024-results", 0o755, {LOCK: "1", "x": "precious"}),
        ("dni-2024-measured", 0o700, {LOCK: "1"}),
        ("dni-2024-measured", 0o755, {LOCK: ""}),
        ("dni-2024-measured", 0o700, {"x": "precious"}),
        (".dni-1-ownbacks", 0o700, {"x": "precious"}),
        (".dni-my-own", 0o700, {}),
    ],
)
def test_folders_of_other_programs_are_not_removed(
    base: Path, name: str, mode: int, files: dict[str, str]
) -> None:
    folder = base / name
    folder.mkdir(mode)
    for file, text in files.items():
        (folder / file).write_text(text, "utf-8")
    os.utime(folder, (0, 0))
    socket_folder().close()
    assert folder.exists()


def test_no_lock_is_created_through_a_link(base: Path, tmp_path: Path) -> None:
    folder, outside = base / ".dni-1-abc", tmp_path / "outside"
    folder.mkdir()
    (folder / LOCK).symlink_to(outside)
    os.utime(folder, (0, 0))
    socket_folder().close()
    assert folder.exists()
    assert not outside.exists()


@pytest.mark.parametrize("locked", [False, True], ids=["before its lock", "after its lock"])
def test_the_folder_of_a_process_killed_during_creation_is_removed_later(
    base: Path, locked: bool
) -> None:
    folder = base / ".dni-1-abcdefgh"
    folder.mkdir(0o700)
    if locked:
        (folder / LOCK).touch()
    socket_folder().close()
    assert folder.exists()  # its process may be creating it now
    long_ago = folder.stat().st_mtime - CREATION_SECONDS - 1
    os.utime(folder, (long_ago, long_ago))
    socket_folder().close()
    assert not list(base.iterdir())


@pytest.mark.parametrize("make", ["file_folder", "socket_folder"])
@pytest.mark.parametrize("sweeps", [file_folder, socket_folder])
def test_the_folder_of_a_killed_process_is_removed_with_the_next_folder(
    base: Path, monkeypatch: pytest.MonkeyPatch, make: str, sweeps: Callable[[], OwnFolder]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    code = f"from coordinator.socket_folder import {make}; import os; {make}(); os._exit(9)"
    environment = {**os.environ, "TMPDIR": str(base)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == 9
    assert len(list(base.iterdir())) == 1
    sweeps().close()
    assert not list(base.iterdir())


# -- the place of a folder


def long(place: Path) -> Path:
    folder = place / ("long" * 20)
    folder.mkdir()
    return folder


def missing(place: Path) -> Path:
    return place / "missing"


def a_file(place: Path) -> Path:
    file = place / "file"
    file.touch()
    return file


def relative(place: Path) -> Path:
    (place / "here").mkdir()
    return Path("here")


@pytest.mark.parametrize("odd", [long, missing, a_file, relative])
def test_an_unusable_place_is_skipped(
    base: Path, monkeypatch: pytest.MonkeyPatch, odd: Callable[[Path], Path]
) -> None:
    monkeypatch.chdir(base)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(odd(base)))
    with closing(socket_folder()) as folder:
        assert folder.path.is_dir()
        assert base not in folder.path.parents
    assert not folder.path.exists()


@pytest.mark.parametrize("odd", [long, missing, a_file])
def test_the_error_names_all_unusable_places_and_what_to_do(
    base: Path, monkeypatch: pytest.MonkeyPatch, odd: Callable[[Path], Path]
) -> None:
    place = odd(base)
    monkeypatch.setattr(folders, "base_folders", lambda: iter([place, missing(base)]))
    with pytest.raises(RunError, match="set TMPDIR to a folder that can be written to") as caught:
        socket_folder()
    assert f"{place}: " in str(caught.value)
    assert f"{missing(base)}: No such file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_temporary_folder_is_the_last_place(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("TMPDIR", str(base))
    assert list(folders.base_folders()) == [Path("/dev/shm"), base]


def test_without_a_temporary_folder_the_other_places_are_tried(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(missing(base)))
    assert list(folders.base_folders()) == [missing(base), Path("/dev/shm")]
