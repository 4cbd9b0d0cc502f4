"""The folder of a run: when it is created, and what a failed start leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.run_folder.create import SET_ASIDE, RunFolder
from coordinator.run_folder.find import find_run
from coordinator.run_folder.layout import CONTENT, METRICS, PIPELINE, WEIGHTS
from protocol import RunError, SpecError
from tests.dni import COMMAND
from tests.run_folders import KILLED_START, make_run, snapshot

if TYPE_CHECKING:
    from tests.dni import Dni

INLINE = ("--engine", "inline", "-o", "train.steps=20", "-o", "train.eval_every=0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- obstacles


def a_file(here: Path) -> str:
    (here / "path").touch()
    return "is a file, not a folder"


def a_file_above(here: Path) -> str:
    (here / "above").touch()
    (here / "path").symlink_to(here / "above" / "below")
    return "is a link to "


def a_dangling_link(here: Path) -> str:
    (here / "path").symlink_to("/nowhere/x")
    return "is a link to /nowhere/x, which does not exist"


def a_loop(here: Path) -> str:
    (here / "path").symlink_to("path")
    return "is a link to path"


@pytest.mark.parametrize("obstacle", [a_file, a_file_above, a_dangling_link, a_loop])
@pytest.mark.parametrize("path", ["path", "path/run/of/mine"])
def test_obstacle_is_reported_before_anything_is_created(
    here: Path, obstacle: Callable[[Path], str], path: str
) -> None:
    reason = obstacle(here)
    before = snapshot(here)
    with pytest.raises(RunError, match="choose another --run-dir") as caught:
        RunFolder("name", path, force=True)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "another run" not in str(caught.value)
    assert snapshot(here) == before


@pytest.mark.parametrize("name", ["file", "link", "loop"])
def test_obstacle_at_runs_is_reported(here: Path, name: str) -> None:
    target = {"file": None, "link": "/nowhere", "loop": "runs"}[name]
    (here / "runs").symlink_to(target) if target else (here / "runs").touch()
    with pytest.raises(RunError, match=r"^runs/\d{8}-\d{6}-name: runs is a (file|link)"):
        RunFolder("name", None, force=False)


@pytest.mark.parametrize(
    ("path", "reason"), [("x" * 300, "File name too long"), ("a\0b", "cannot be")]
)
def test_impossible_folder_is_refused_in_a_short_line(here: Path, path: str, reason: str) -> None:
    with pytest.raises((RunError, SpecError), match=reason) as caught:
        RunFolder("name", path, force=False)
    assert len(str(caught.value)) < 200
    assert not list(here.iterdir())


def test_folder_without_write_permission_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match=r"^a/b: \. cannot be written to by this user"):
        RunFolder("name", "a/b", force=False)
    assert not list(here.iterdir())


# -- failed starts


@pytest.mark.parametrize("path", ["new", "new/below", None])
def test_failed_start_leaves_no_folder(here: Path, path: str | None) -> None:
    folder = RunFolder("name", path, force=False)
    assert not list(here.iterdir())
    make_run(folder.create(), "half")
    assert folder.path.is_dir()
    folder.rollback()
    assert not list(here.iterdir())


@pytest.mark.parametrize("path", ["there", "there/run"])
def test_failed_start_leaves_an_existing_folder(here: Path, path: str) -> None:
    (here / "there").mkdir()
    folder = RunFolder("name", path, force=False)
    folder.create()
    folder.rollback()
    assert snapshot(here) == {"there": "a folder"}


@pytest.mark.parametrize("made", [CONTENT, (PIPELINE, METRICS), ()])
def test_failed_start_with_force_restores_the_old_run(here: Path, made: tuple[str, ...]) -> None:
    before = snapshot(make_run(here / "run"))
    folder = RunFolder("name", "run", force=True)
    assert snapshot(here / "run") == before
    folder.create()
    assert snapshot(here / "run")[f"{SET_ASIDE}/{WEIGHTS}/layer0"] == "old"
    for name in made:
        place = here / "run" / name
        place.write_text("new", "utf-8") if "." in name else place.mkdir()
    folder.rollback()
    assert snapshot(here / "run") == before


def test_successful_start_with_force_removes_the_old_run(here: Path) -> None:
    make_run(here / "run")
    folder = RunFolder("name", "run", force=True)
    folder.create()
    folder.commit()
    assert snapshot(here / "run") == {PIPELINE: ""}
    folder.rollback()
    assert snapshot(here / "run") == {PIPELINE: ""}


def test_run_that_a_killed_start_set_aside_is_restored(here: Path) -> None:
    before = snapshot(make_run(here / "run"))
    killed = RunFolder("name", "run", force=True)
    killed.create()
    with pytest.raises(RunError, match="in progress"):
        RunFolder("name", "run", force=True)
    killed.release()
    with pytest.raises(RunError, match="with --force"):
        RunFolder("name", "run", force=False)
    again = RunFolder("name", "run", force=True)
    again.create()
    again.rollback()
    assert snapshot(here / "run") == before


@pytest.mark.parametrize("moved", range(13))
def test_start_killed_at_any_moment_loses_nothing_of_the_old_run(here: Path, moved: int) -> None:
    before = snapshot(make_run(here / "run"))
    killed = subprocess.run([sys.executable, "-c", KILLED_START, str(moved)], check=False)
    assert killed.returncode in (0, 9)
    assert find_run("run") == Path("run")
    assert snapshot(here / "run") == before


def test_only_one_of_two_concurrent_starts_gets_a_folder(here: Path) -> None:
    first, second = (RunFolder("name", "run", force=False) for _ in range(2))
    first.create()
    with pytest.raises(RunError, match=r"already holds a run|another run took this folder first"):
        second.create()
    assert (here / "run" / PIPELINE).exists()
    first.rollback()
    assert not list(here.iterdir())


@pytest.mark.parametrize("mistake", ["descriptors", "bind", "ssh", "data", "shapes"])
@pytest.mark.parametrize("force", [False, True])
def test_command_that_cannot_start_touches_no_folder(dni: Dni, mistake: str, force: bool) -> None:
    arguments, said = {
        "descriptors": (("run", "tiny.toml"), "file descriptors"),
        "bind": (("up", "tiny.toml", "--bind", "tcp://203.0.113.7:*"), "--bind"),
        "ssh": (("run", "tiny.toml", "--engine", "ssh", "--hosts", "a"), "ssh"),
        "data": (("run", "tiny.toml", "-o", "data.path=nowhere.npz"), "nowhere.npz"),
        "shapes": (("run", "tiny.toml", "-o", 'layer.2.modules=["linear 3"]'), "layer"),
    }[mistake]
    if force:
        make_run(dni.home / "run")
    before = snapshot(dni.home)
    few = ("prlimit", "--nofile=20") if mistake == "descriptors" else ()
    ran = subprocess.run(
        [*few, *COMMAND, *arguments, "--run-dir", "run", *["--force"] * force],
        cwd=dni.home,
        env={**dni.environment, **({"PATH": "/nowhere"} if mistake == "ssh" else {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert said in line
    assert snapshot(dni.home) == before
    dni.nothing_left()


@pytest.mark.parametrize("out", ["out", "out/below", ""])
def test_comparison_that_cannot_start_leaves_no_folder(dni: Dni, out: str) -> None:
    where = ("--out", out) if out else ()
    said = dni("compare", "tiny.toml", "-o", 'layer.2.modules=["linear 3"]', *where)
    assert said.returncode == 2, said.stdout
    assert [path.name for path in dni.home.iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("tiny.toml/a", "tiny.toml is a file"),
        ("link", "is a link to"),
        ("link/a", "link is a link"),
    ],
)
def test_obstacle_of_a_comparison_is_reported(dni: Dni, out: str, reason: str) -> None:
    (dni.home / "link").symlink_to("/nowhere/x")
    said = dni("compare", "tiny.toml", "--out", out)
    assert said.returncode == 2
    assert said.stderr.startswith(f"Error: {out}: ")
    assert reason in said.stderr
    assert said.stderr.endswith("choose another --out\n")
