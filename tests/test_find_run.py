"""A run is found by its path, by the end of its name, or as the newest run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.run_folder.find import find_run
from coordinator.run_folder.layout import METRICS, PIPELINE, try_lock
from protocol import RunError, SpecError
from tests.run_folders import KILLED_START, make_run, snapshot

if TYPE_CHECKING:
    from tests.dni import Dni

INLINE = ("--engine", "inline", "-o", "train.steps=20", "-o", "train.eval_every=0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_is_found_by_path_by_the_end_of_its_name_and_as_newest(here: Path) -> None:
    old, new = (make_run(here / "runs" / name) for name in ("1-mnist", "2-mnist-dni"))
    long_ago = time.time() - 60
    os.utime(old / PIPELINE, (long_ago, long_ago))
    found = {
        argument: find_run(argument).resolve() for argument in ("runs/1-mnist", str(old), "1-mnist")
    }
    assert set(found.values()) == {old}
    for argument in ("dni", "2-mnist-dni", "newest", "runs/2-mnist-dni/"):
        assert find_run(argument).resolve() == new
    (here / "dni").mkdir()
    assert find_run("dni").resolve() == new
    os.utime(new / PIPELINE, (long_ago - 1, long_ago - 1))
    assert find_run("newest").resolve() == old


@pytest.mark.parametrize("argument", ["nowhere", "newest", "x" * 5000, "runs/gone", "", "folder"])
def test_unknown_name_is_refused_in_a_short_line(here: Path, argument: str) -> None:
    (here / "folder").mkdir()
    with pytest.raises((RunError, SpecError)) as caught:
        find_run(argument)
    assert len(str(caught.value)) < 250


COMMANDS = (
    ("evaluate", "{}"),
    ("trace", "stats", "{}"),
    ("trace", "messages", "{}", "--limit", "1"),
    ("trace", "lost", "{}"),
    ("trace", "diff", "{}", "{}"),
)


def test_every_command_accepts_the_same_names(dni: Dni) -> None:
    assert dni("run", "tiny.toml", *INLINE).returncode == 0
    (folder,) = (dni.home / "runs").iterdir()
    for command in COMMANDS:
        for name in (f"runs/{folder.name}", "tiny", "newest"):
            ran = dni(*(argument.format(name) for argument in command))
            assert ran.returncode == 0, (command, name, ran.stderr)
    for arguments in ("status newest", "stop newest", "revoke newest node1"):
        assert f"runs/{folder.name}: the run is over" in dni(*arguments.split()).stderr
    assert folder.name in dni("trace", "replay", "newest", "--layer", "0").stderr


@pytest.mark.parametrize("moved", [0, 1, 8, 9, 11])
def test_run_that_a_killed_start_set_aside_is_found_by_any_name(here: Path, moved: int) -> None:
    before = snapshot(make_run(here / "runs" / "1-mnist"))
    code = KILLED_START.replace('"run"', '"runs/1-mnist"')
    killed = subprocess.run([sys.executable, "-c", code, str(moved)], check=False)
    assert killed.returncode == 9
    assert snapshot(here / "runs" / "1-mnist") != before
    assert find_run("mnist") == Path("runs/1-mnist")
    assert snapshot(here / "runs" / "1-mnist") == before


@pytest.mark.parametrize("argument", ["/", "//", "///"])
def test_root_of_the_file_system_is_not_a_run(here: Path, argument: str) -> None:
    make_run(here / "runs" / "a")
    with pytest.raises(RunError, match="holds no run"):
        find_run(argument)


def test_run_in_progress_takes_precedence(here: Path) -> None:
    for name in ("1-mnist", "2-mnist"):
        make_run(here / "runs" / name)
    os.utime(here / "runs" / "1-mnist" / PIPELINE, (0, 0))
    assert find_run("mnist").name == "2-mnist"
    with (here / "runs" / "1-mnist" / METRICS).open("w") as metrics:
        assert try_lock(metrics.fileno())
        assert find_run("mnist").name == "1-mnist"
