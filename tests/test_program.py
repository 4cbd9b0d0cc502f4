"""Commands in the output, for a person to copy, name the program so that a shell finds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.console.command_line import ROOT, next_steps, program, quoted
from coordinator.console.standard_streams import transliterate


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that was called by its path; the current folder is the parent of its folder."""
    folder = tmp_path / "a venv" / "bin"
    folder.mkdir(parents=True)
    path = folder / "dni"
    path.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.setenv("PATH", os.defpath)
    return path


def test_a_program_on_the_path_is_called_by_its_name(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program() == "dni"


def test_a_program_below_the_current_folder_is_called_by_its_relative_path(
    installed: Path,
) -> None:
    assert installed.is_file()
    assert program() == "'a venv/bin/dni'"


@pytest.mark.parametrize("name", ["dni", "mydni", "-dni"])
def test_a_program_in_the_current_folder_begins_with_a_dot(
    installed: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name != "dni":
        installed.with_name(name).symlink_to(installed)
    monkeypatch.chdir(installed.parent)
    monkeypatch.setattr(sys, "argv", [f"./{name}"])
    assert program() == f"./{name}"


def test_a_program_in_another_folder_is_called_by_its_absolute_path(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert program() == f"'{installed}'"


def test_another_installation_on_the_path_is_not_used(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "dni").touch(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert installed.is_file()
    assert program() == "'a venv/bin/dni'"


@pytest.mark.parametrize("name", ["mydni", "a dni"])
def test_a_link_to_the_program_is_called_by_its_own_name(
    installed: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    link = installed.parent.parent / name
    link.symlink_to(installed)
    monkeypatch.setattr(sys, "argv", [str(link)])
    assert program() == f"'a venv/{name}'"
    monkeypatch.setenv("PATH", str(link.parent))
    assert program() == (name if " " not in name else f"'{name}'")


@pytest.mark.parametrize("name", ["python3", "pypy3.11", "python"])
def test_a_module_is_called_with_its_python(
    installed: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    python = installed.with_name(name)
    python.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(sys, "argv", [str(ROOT / "dni_command.py")])
    assert program() == f"'a venv/bin/{name}' -m dni_command"
    monkeypatch.setenv("PATH", str(python.parent))
    assert program() == f"{name} -m dni_command"


@pytest.mark.parametrize("called", ["", "-c", "/usr/lib/python3/cli.py", "/nowhere/dni"])
def test_any_other_program_has_the_usual_name(monkeypatch: pytest.MonkeyPatch, called: str) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert program() == "dni"


@pytest.mark.parametrize(
    "name",
    [
        "-x",
        "--help",
        "a\nb",
        "é☃λ",
        "a'b\\c\x1b",
        "\udcff",
        "é\u202e9",
        "\t",
        "$(ls)",
        "~",
        "a*\nf",
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "gbk"])
def test_a_quoted_folder_is_one_argument_for_a_shell(
    name: str, encoding: str, tmp_path: Path
) -> None:
    quoted_name = quoted(Path(os.fsdecode(name.encode("utf-8", "surrogateescape"))), encoding)
    assert quoted_name.isprintable()
    assert transliterate(quoted_name, encoding) == quoted_name
    listed = subprocess.run(
        ["bash", "-c", f"cd {tmp_path} && mkdir -p {quoted_name} && ls -A"],
        capture_output=True,
        check=True,
    )
    assert listed.stdout == name.encode("utf-8", "surrogateescape") + b"\n"


@pytest.mark.parametrize(("run", "quoted_name"), [("runs/a", "runs/a"), ("my run", "'my run'")])
def test_the_commands_of_the_next_steps_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, run: str, quoted_name: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    output = next_steps(Path(run), "utf-8")
    assert (
        output == f"next: dni evaluate {quoted_name} | dni trace stats {quoted_name} | dni --help"
    )
