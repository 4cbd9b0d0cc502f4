"""Launchers are found by their entry points, and their options become those of `dni run`."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Final

import pytest

from coordinator.cluster.launchers.installed import choose, installed_options
from coordinator.cluster.launchers.launcher import API_VERSION, LauncherClass
from coordinator.cluster.launchers.ray import Ray
from coordinator.cluster.launchers.slurm import Slurm
from coordinator.cluster.launchers.ssh import Ssh
from protocol import RunError, SpecError
from tests.dni import COMMAND, Dni

ENGINES: Final = ("local", "inline")
LAUNCHERS: Final[tuple[LauncherClass, ...]] = (Ray, Slurm, Ssh)
MINE: Final = """\
from dataclasses import dataclass
from coordinator.engines.options import option

@dataclass(frozen=True)
class MineOptions:
    queue: str = option("Queue to submit to.")
    tasks: int = option("Tasks on a host.", default=2)
    json: str = option("A flag that `dni run` has too.", default="")
    overrides: str = option("The name of an argument of `dni run`.", default="")
    hosts: str = option("Hosts to leave out.", default="")

class Mine:
    api_version = {version}
    options_type = MineOptions
    start_timeout = 50.0

    def __init__(self, options: MineOptions) -> None:
        self.options = options
"""


def install(folder: Path, name: str, value: str, module: str) -> None:
    """Install a launcher in `folder` as pip does."""
    information = folder / f"{name}_launcher-1.0.dist-info"
    information.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}-launcher\nVersion: 1.0\n"
    (information / "METADATA").write_text(metadata, "utf-8")
    points = f"[dni.launchers]\n{name} = {value}\n"
    (information / "entry_points.txt").write_text(points, "utf-8")
    (folder / f"{name}_launcher.py").write_text(module, "utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for name in ("mine_launcher", "other_launcher"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_launcher_states_the_version_of_the_interface(launcher: LauncherClass) -> None:
    assert launcher.api_version == API_VERSION


def test_an_installed_launcher_is_chosen_by_its_name() -> None:
    chosen = choose("ssh", {"hosts": "a", "bind": "tcp://x:1", "start_timeout": "7.5"})
    assert isinstance(chosen.launcher, Ssh)
    assert chosen.bind == "tcp://x:1"
    assert chosen.start_timeout == 7.5


def test_a_launcher_sets_the_time_limit_where_the_user_sets_none() -> None:
    assert choose("ssh", {"hosts": "a"}).start_timeout == 120.0
    assert choose("slurm", {}).start_timeout is None


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_time_limit_that_is_not_a_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"--start-timeout: .* is not a number of seconds above 0"):
        choose("ssh", {"hosts": "a", "start_timeout": text})


@pytest.mark.parametrize(
    ("engine", "options", "error"),
    [
        ("shs", {}, "unknown engine 'shs'; did you mean 'ssh'?; known: local, inline, ray, slurm"),
        ("zzzzzz", {}, "unknown engine 'zzzzzz'; known: local, inline, ray, slurm, ssh"),
        ("ssh", {}, "engine ssh: needs --hosts"),
        ("ssh", {"host": "a"}, "engine ssh: has no option --host; did you mean '--hosts'?"),
        ("ssh", {"hosts": "a", "bind": 3}, "engine ssh: --bind: 3 is not a text"),
    ],
)
def test_an_unknown_launcher_or_option_is_refused_with_what_is_known(
    engine: str, options: dict[str, object], error: str
) -> None:
    with pytest.raises(RunError) as caught:
        choose(engine, options, ENGINES)
    assert error in str(caught.value)


def test_a_launcher_of_another_package_gets_its_options_with_their_types(site: Path) -> None:
    install(site, "mine", "mine_launcher:Mine", MINE.format(version=1))
    chosen = choose("mine", {"queue": "long", "tasks": "3"})
    options = getattr(chosen.launcher, "options", None)
    assert (options.queue, options.tasks) == ("long", 3)  # type: ignore[union-attr]
    assert chosen.start_timeout == 50.0
    assert ("mine", "queue") in [(name, made.key) for name, made in installed_options()]


@pytest.mark.parametrize(
    ("value", "module", "error"),
    [
        ("mine_launcher:Mine", "import no_such_module", "cannot be loaded: No module named"),
        ("mine_launcher:Mine", MINE.format(version=7), "is written for launcher interface 7, this"),
        ("mine_launcher:Mine", "class Mine: pass", "is written for launcher interface None, this"),
        ("mine_launcher:Yours", "", "cannot be loaded: .* has no attribute 'Yours'"),
    ],
)
def test_a_launcher_that_cannot_be_used_is_an_error_only_where_it_is_chosen(
    site: Path, value: str, module: str, error: str
) -> None:
    install(site, "mine", value, module)
    assert "mine" not in [name for name, _ in installed_options()]
    with pytest.raises(RunError, match=f"^engine mine: .*{error}"):
        choose("mine", {})


def test_a_launcher_whose_library_is_missing_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # its import fails
    with pytest.raises(RunError, match=r"run pip install '\.\[ray\]' in the checkout of dni"):
        choose("ray", {})


def test_the_options_of_all_launchers_are_in_the_help_of_run(dni: Dni, site: Path) -> None:
    install(site, "mine", "mine_launcher:Mine", MINE.format(version=1))
    ran = dni("run", "--help", environment={"PYTHONPATH": str(site), "COLUMNS": "200"})
    assert ran.returncode == 0, ran.stderr
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    assert "--queue TEXT mine: Queue to submit to." in lines
    assert "--tasks INTEGER mine: Tasks on a host. [default: 2]" in lines
    assert [line for line in lines if line.startswith("--sbatch-args TEXT slurm: Further")]
    (hosts,) = [line for line in lines if line.startswith("--hosts ")]
    assert "mine: Hosts to leave out. ssh: Hosts," in hosts
    assert len([line for line in lines if line.startswith("--json ")]) == 1
    assert not [line for line in lines if line.startswith("--overrides ")]
    assert "mine: 50; " in " ".join(lines)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--engine", "shs"), "engine: unknown engine 'shs'; did you mean 'ssh'?"),
        (("--hosts", "a"), "engine local: has no option --hosts"),
        (("--engine", "inline", "--bind", "tcp://x:1"), "engine inline: has no option --bind"),
        (("-E", "hosts"), "-E: 'hosts' is not KEY=VALUE"),
        (("--engine", "ssh", "-E", "hosts=-x"), "--hosts: '-x' is not a host"),
        (("--engine", "ssh", "-E", "hots=x"), "engine ssh: has no option --hots; did you mean"),
        (
            ("--engine", "ssh", "--hosts", "localhost", "--bind", "here"),
            "--bind: 'here' is not tcp://ADDRESS:PORT",
        ),
    ],
)
def test_a_wrong_engine_is_one_line_and_status_2(
    dni: Dni, arguments: tuple[str, ...], error: str
) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {error}")
    assert ran.stderr.count("\n") == 1
    assert not (dni.home / "run").exists()
    dni.nothing_left()


def test_the_launcher_of_the_documentation_trains(dni: Dni, site: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "engines.md").read_text("utf-8")
    (module,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    install(site, "prefix", "prefix_launcher:Prefix", module)
    program = dni.home / "bin" / "dni"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n', "utf-8")
    program.chmod(0o755)
    path = f"{program.parent}:{dni.environment['PATH']}"
    ran = dni(
        *("run", "tiny.toml", "--run-dir", "run", "--engine", "prefix", "--prefix", "nice -n 1"),
        environment={"PYTHONPATH": str(site), "PATH": path},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "host3: " in ran.stdout
    assert "dni1:" not in ran.stdout + ran.stderr
    dni.nothing_left()
