"""The wheel is complete, and the installed command imports nothing from the current folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.dni import Dni

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent.parent
NO_SOURCES = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist", "*.egg-info")
PACKAGES = ("coordinator", "protocol", "workers")


def pip(*arguments: str, cwd: Path) -> str:
    """Run pip; return "", or the end of its output if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-500:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this project, built from a copy so that the project stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "project"
    shutil.copytree(PROJECT, copy, ignore=NO_SOURCES)
    assert pip("wheel", "--no-deps", "--wheel-dir", str(folder), ".", cwd=copy) == ""
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed in, with the console script in `bin`."""
    folder = tmp_path_factory.mktemp("installed")
    assert pip("install", "--no-deps", "--target", str(folder), str(wheel), cwd=folder) == ""
    return folder


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.partition("/")[0] for name in names}
    info = {name for name in top if name.endswith(".dist-info")}
    assert len(info) == 1
    assert top - info == {"cli.py", "dni_command.py", *PACKAGES}


def test_the_wheel_holds_every_source_and_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
        for path in (PROJECT / package).rglob("*.py"):
            assert path.relative_to(PROJECT).as_posix() in names
    assert {"workers/data/digits.npz", "workers/data/digits.toml"} <= names


def test_hostile_files_in_the_current_folder_are_not_imported(dni: Dni, installed: Path) -> None:
    hostile = "raise SystemExit('hostile code was run')\n"
    for name in (*PACKAGES, "zmq", "numpy", "json"):
        (dni.home / name).mkdir()
        (dni.home / name / "__init__.py").write_text(hostile, "utf-8")
    (dni.home / "cli.py").write_text(hostile, "utf-8")
    environment = {**dni.environment, "PYTHONPATH": str(installed)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            cwd=dni.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    location = run(sys.executable, "-P", "-c", "import cli; print(cli.__file__)")
    assert Path(location.stdout.strip()).parent == installed
    command = str(installed / "bin" / "dni")
    ran = run(command, "run", "tiny.toml", "--run-dir", "run", "--json")
    assert "hostile" not in ran.stdout + ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["outcome"] == "completed"
    assert run(command, "evaluate", "run").returncode == 0
    assert run(command, "check").returncode == 0
    dni.nothing_left()


def test_the_installed_command_prints_its_version(installed: Path) -> None:
    shown = subprocess.run(
        [installed / "bin" / "dni", "--version"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    (info,) = installed.glob("dni_train-*.dist-info")
    assert info.name.removeprefix("dni_train-").removesuffix(".dist-info") in shown.stdout
