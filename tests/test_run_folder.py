"""The folder of a run: by which names it goes, when it is made, and what a failed start leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.run_folder.create import SET_ASIDE, RunFolder
from coordinator.run_folder.find import find_run
from coordinator.run_folder.layout import CONTENT, METRICS, PIPELINE, SUMMARY, WEIGHTS, try_lock
from protocol import RunError, SpecError
from tests.conftest import COMMAND

if TYPE_CHECKING:
    from tests.conftest import Dni

INLINE = ("--engine", "inline", "-o", "train.steps=20", "-o", "train.eval_every=0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_run(folder: Path, arguments: str = "old") -> Path:
    """A folder as a run leaves it, whose files hold `arguments`."""
    (folder / WEIGHTS).mkdir(parents=True)
    for file in (
        folder / PIPELINE,
        folder / METRICS,
        folder / SUMMARY,
        folder / WEIGHTS / "layer0",
    ):
        file.write_text(arguments, "utf-8")
    return folder


def tree(folder: Path) -> dict[str, str]:
    """All that is below `folder`, and what the files hold or where the links lead."""
    return {str(path.relative_to(folder)): _content(path) for path in folder.rglob("*")}


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return "a folder" if path.is_dir() else path.read_text("utf-8")


# -- what is in the way


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
def test_an_obstacle_is_named_before_anything_is_made(
    here: Path, obstacle: Callable[[Path], str], path: str
) -> None:
    reason = obstacle(here)
    before = tree(here)
    with pytest.raises(RunError, match="choose another --run-dir") as caught:
        RunFolder("name", path, force=True)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "another run" not in str(caught.value)
    assert tree(here) == before


@pytest.mark.parametrize("name", ["file", "link", "loop"])
def test_what_stands_where_runs_go_is_named(here: Path, name: str) -> None:
    target = {"file": None, "link": "/nowhere", "loop": "runs"}[name]
    (here / "runs").symlink_to(target) if target else (here / "runs").touch()
    with pytest.raises(RunError, match=r"^runs/\d{8}-\d{6}-name: runs is a (file|link)"):
        RunFolder("name", None, force=False)


@pytest.mark.parametrize(
    ("path", "reason"), [("x" * 300, "File name too long"), ("a\0b", "cannot be")]
)
def test_what_can_be_no_folder_is_refused_in_a_short_line(
    here: Path, path: str, reason: str
) -> None:
    with pytest.raises((RunError, SpecError), match=reason) as caught:
        RunFolder("name", path, force=False)
    assert len(str(caught.value)) < 200
    assert not list(here.iterdir())


def test_a_folder_that_this_user_cannot_write_to_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match=r"^a/b: \. cannot be written to by this user"):
        RunFolder("name", "a/b", force=False)
    assert not list(here.iterdir())


# -- a start that fails


@pytest.mark.parametrize("path", ["new", "new/below", None])
def test_a_failed_start_leaves_no_folder(here: Path, path: str | None) -> None:
    folder = RunFolder("name", path, force=False)
    assert not list(here.iterdir())
    a_run(folder.create(), "half")
    assert folder.path.is_dir()
    folder.rollback()
    assert not list(here.iterdir())


@pytest.mark.parametrize("path", ["there", "there/run"])
def test_a_failed_start_leaves_a_folder_that_was_there(here: Path, path: str) -> None:
    (here / "there").mkdir()
    folder = RunFolder("name", path, force=False)
    folder.create()
    folder.rollback()
    assert tree(here) == {"there": "a folder"}


@pytest.mark.parametrize("made", [CONTENT, (PIPELINE, METRICS), ()])
def test_a_failed_start_with_force_gives_the_old_run_back(
    here: Path, made: tuple[str, ...]
) -> None:
    before = tree(a_run(here / "run"))
    folder = RunFolder("name", "run", force=True)
    assert tree(here / "run") == before
    folder.create()
    assert tree(here / "run")[f"{SET_ASIDE}/{WEIGHTS}/layer0"] == "old"
    for name in made:
        place = here / "run" / name
        place.write_text("new", "utf-8") if "." in name else place.mkdir()
    folder.rollback()
    assert tree(here / "run") == before


def test_a_start_that_succeeds_with_force_leaves_nothing_of_the_old_run(here: Path) -> None:
    a_run(here / "run")
    folder = RunFolder("name", "run", force=True)
    folder.create()
    folder.commit()
    assert tree(here / "run") == {PIPELINE: ""}
    folder.rollback()
    assert tree(here / "run") == {PIPELINE: ""}


def test_what_a_killed_start_had_set_aside_is_an_old_run(here: Path) -> None:
    before = tree(a_run(here / "run"))
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
    assert tree(here / "run") == before


DIES = """
import os, sys
from pathlib import Path
from coordinator.run_folder.create import RunFolder
calls, rename = 0, Path.rename
def dies(self, target):
    global calls
    calls += 1
    if calls > int(sys.argv[1]):
        os._exit(9)
    return rename(self, target)
Path.rename = dies
folder = RunFolder("name", "run", force=True)
folder.create()
(folder.path / "metrics.jsonl").write_text("new")
folder.rollback()
"""


@pytest.mark.parametrize("moved", range(13))
def test_a_start_that_is_killed_at_any_moment_loses_nothing_of_the_old_run(
    here: Path, moved: int
) -> None:
    before = tree(a_run(here / "run"))
    killed = subprocess.run([sys.executable, "-c", DIES, str(moved)], check=False)
    assert killed.returncode in (0, 9)
    assert find_run("run") == Path("run")
    assert tree(here / "run") == before


@pytest.mark.parametrize("moved", [0, 1, 8, 9, 11])
def test_what_a_killed_start_had_set_aside_comes_back_by_any_name(here: Path, moved: int) -> None:
    before = tree(a_run(here / "runs" / "1-mnist"))
    code = DIES.replace('"run"', '"runs/1-mnist"')
    killed = subprocess.run([sys.executable, "-c", code, str(moved)], check=False)
    assert killed.returncode == 9
    assert tree(here / "runs" / "1-mnist") != before
    assert find_run("mnist") == Path("runs/1-mnist")
    assert tree(here / "runs" / "1-mnist") == before


@pytest.mark.parametrize("argument", ["/", "//", "///"])
def test_the_root_of_the_file_system_is_no_run(here: Path, argument: str) -> None:
    a_run(here / "runs" / "a")
    with pytest.raises(RunError, match="holds no run"):
        find_run(argument)


def test_a_run_that_goes_on_is_meant_before_those_that_have_ended(here: Path) -> None:
    for name in ("1-mnist", "2-mnist"):
        a_run(here / "runs" / name)
    os.utime(here / "runs" / "1-mnist" / PIPELINE, (0, 0))
    assert find_run("mnist").name == "2-mnist"
    with (here / "runs" / "1-mnist" / METRICS).open("w") as metrics:
        assert try_lock(metrics.fileno())
        assert find_run("mnist").name == "1-mnist"


def test_of_two_starts_in_one_new_folder_one_gets_it(here: Path) -> None:
    first, second = (RunFolder("name", "run", force=False) for _ in range(2))
    first.create()
    with pytest.raises(RunError, match=r"already holds a run|another run took this folder first"):
        second.create()
    assert (here / "run" / PIPELINE).exists()
    first.rollback()
    assert not list(here.iterdir())


@pytest.mark.parametrize("mistake", ["descriptors", "bind", "ssh", "data", "shapes"])
@pytest.mark.parametrize("force", [False, True])
def test_no_command_that_cannot_start_touches_a_folder(dni: Dni, mistake: str, force: bool) -> None:
    arguments, said = {
        "descriptors": (("run", "tiny.toml"), "file descriptors"),
        "bind": (("up", "tiny.toml", "--bind", "tcp://203.0.113.7:*"), "--bind"),
        "ssh": (("run", "tiny.toml", "--engine", "ssh", "--hosts", "a"), "ssh"),
        "data": (("run", "tiny.toml", "-o", "data.path=nowhere.npz"), "nowhere.npz"),
        "shapes": (("run", "tiny.toml", "-o", 'layer.2.modules=["linear 3"]'), "layer"),
    }[mistake]
    if force:
        a_run(dni.home / "run")
    before = tree(dni.home)
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
    assert tree(dni.home) == before
    dni.nothing_left()


@pytest.mark.parametrize("out", ["out", "out/below", ""])
def test_a_comparison_that_cannot_start_leaves_no_folder(dni: Dni, out: str) -> None:
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
def test_what_is_in_the_way_of_a_comparison_is_named(dni: Dni, out: str, reason: str) -> None:
    (dni.home / "link").symlink_to("/nowhere/x")
    said = dni("compare", "tiny.toml", "--out", out)
    assert said.returncode == 2
    assert said.stderr.startswith(f"Error: {out}: ")
    assert reason in said.stderr
    assert said.stderr.endswith("choose another --out\n")


# -- by which names a run goes


def test_a_run_goes_by_its_path_by_the_end_of_its_name_and_by_newest(here: Path) -> None:
    old, new = (a_run(here / "runs" / name) for name in ("1-mnist", "2-mnist-dni"))
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
def test_a_name_that_no_run_has_is_refused_in_a_short_line(here: Path, argument: str) -> None:
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


def test_every_command_takes_the_same_names(dni: Dni) -> None:
    assert dni("run", "tiny.toml", *INLINE).returncode == 0
    (folder,) = (dni.home / "runs").iterdir()
    for command in COMMANDS:
        for name in (f"runs/{folder.name}", "tiny", "newest"):
            ran = dni(*(argument.format(name) for argument in command))
            assert ran.returncode == 0, (command, name, ran.stderr)
    for arguments in ("status newest", "stop newest", "revoke newest node1"):
        assert f"runs/{folder.name}: the run is over" in dni(*arguments.split()).stderr
    assert folder.name in dni("trace", "replay", "newest", "--layer", "0").stderr
