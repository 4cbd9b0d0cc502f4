"""The folder for sockets: nobody takes it from who is alive, and none is left by who is not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.engines.processes import LOCK, MAKING_SECONDS, SocketFolder

if TYPE_CHECKING:
    from tests.conftest import Dni


@pytest.fixture
def base(dni: Dni, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(dni.base))
    return dni.base


def test_no_folder_is_swept_while_it_is_made(base: Path) -> None:
    def one_after_the_other(_: int) -> int:
        there = 0
        for _ in range(100):
            with closing(SocketFolder()) as folder:
                there += (folder.path / LOCK).exists()
        return there

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one_after_the_other, range(4))) == [100] * 4
    assert not list(base.iterdir())


def test_a_folder_is_not_left_by_who_was_interrupted_while_making_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert len(list(base.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SocketFolder()
    assert not list(base.iterdir())


@pytest.mark.parametrize("locked", [False, True], ids=["before its lock", "after its lock"])
def test_a_folder_whose_maker_was_killed_is_swept_later(base: Path, locked: bool) -> None:
    folder = base / ".dni-1-abc"
    folder.mkdir()
    if locked:
        (folder / LOCK).touch()
    SocketFolder().close()
    assert folder.exists()  # its maker may just be making it
    long_ago = folder.stat().st_mtime - MAKING_SECONDS - 1
    os.utime(folder, (long_ago, long_ago))
    SocketFolder().close()
    assert not list(base.iterdir())
