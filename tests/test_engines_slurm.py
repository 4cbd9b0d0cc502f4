"""`dni run --engine slurm`: the script as text, and jobs where a Slurm answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from coordinator.engines.slurm import _asked, script, task
from tests.conftest import Dni


def _answers() -> bool:
    if not shutil.which("sinfo"):
        return False
    asked = subprocess.run(["sinfo", "-h"], capture_output=True, check=False)
    return asked.returncode == 0


needs_slurm = pytest.mark.skipif(not _answers(), reason="no Slurm answers on this machine")


def jobs() -> str:
    """The jobs named dni that are not over."""
    return subprocess.run(
        ["squeue", "-h", "-n", "dni"], capture_output=True, text=True, check=True
    ).stdout


def nothing_left(dni: Dni) -> None:
    dni.until(lambda: not dni.processes() and not jobs(), "tasks and jobs are gone")
    assert not list(dni.home.glob("dni-slurm-*"))
    dni.nothing_left()


def test_the_token_comes_to_the_tasks_on_their_input_alone() -> None:
    text = script("dni1:abc", "/opt/dni it's")
    before, _, document = text.partition("<<'TOKEN'\n")
    assert document == "dni1:abc\nTOKEN\n"
    assert "dni1:" not in before
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_the_script_hands_its_input_to_the_command() -> None:
    text = script("dni1:abc", "echo").replace("srun ", 'f() { shift 2; "$@"; cat; }; f ', 1)
    ran = subprocess.run(["sh"], input=text, text=True, capture_output=True, check=True)
    assert ran.stdout == "join - --slots 1 --cores 1\ndni1:abc\n"
    assert task("dni")[:2] == ["sh", "-c"]


@pytest.mark.parametrize("banner", [b"caf\xe9", b"\xff\xfe", "λ".encode()])
def test_what_a_site_prints_need_not_be_utf8(banner: bytes, tmp_path: Path) -> None:
    (tmp_path / "banner").write_bytes(banner)
    assert os.fsencode(_asked("cat", str(tmp_path / "banner"))) == banner


@needs_slurm
@pytest.mark.slow
def test_a_job_trains_and_goes(dni: Dni) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--engine", "slurm")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "node3: " in ran.stdout
    assert "dni1:" not in ran.stdout + ran.stderr
    nothing_left(dni)


@needs_slurm
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--remote-command", "/nowhere/dni"), ": FAILED: "),
        (("--sbatch-args", "--cpus-per-task=4096"), ": "),
        (("--sbatch-args", "--partition=nowhere"), "Invalid partition"),
    ],
)
def test_a_job_that_cannot_be_ends_the_run(dni: Dni, words: tuple[str, ...], said: str) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--engine", "slurm", *words)
    assert ran.returncode == 2
    [line] = [line for line in ran.stdout.splitlines() if line.startswith("error: ")]
    assert said in line
    nothing_left(dni)
