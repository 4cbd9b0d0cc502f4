"""`dni run --engine slurm`: the script as text, and jobs where a Slurm answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from coordinator.cluster.launchers import slurm
from coordinator.cluster.launchers.clients import asked
from coordinator.cluster.launchers.slurm import script, task
from protocol import RunError
from tests.conftest import Dni
from tests.fake_slurm import PENDING, FakeSlurm


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


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A Slurm that answers what it is told to; the current folder is empty."""
    for name in ("bin", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(slurm, "LEAVE_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "CANCEL_SECONDS", 0.01)
    return FakeSlurm(tmp_path / "bin")


@pytest.mark.parametrize(
    ("printed", "job", "cluster"),
    [
        ("4711\n", "4711", []),
        ("4711;east\n", "4711", ["--clusters=east"]),
        ("Welcome to the cluster\n--> Verifying 12 hosts...OK\n4711\n", "4711", []),
        ("99 bottles\n4711\n\n", "4711", []),
        ("7\n4711\nbye\n", "4711", []),
        ("4711\n12 jobs are before yours\n3\n", "4711", []),
    ],
)
def test_the_job_number_is_found_in_what_a_site_prints_and_cancelled(
    fake: FakeSlurm, printed: str, job: str, cluster: list[str]
) -> None:
    fake.answers("sbatch", printed)
    fake.answers("scontrol", PENDING, jobs=[job])
    engine = slurm.Slurm()
    engine.launch("dni1:abc", 3)
    assert engine.gone() == []
    look = " ".join(("squeue", *cluster, f"--jobs={job}"))
    assert engine.waiting() == [f"slurm job {job}: PENDING (Priority); look at `{look}`"]
    engine.close()
    assert fake.asked("scancel") == [[*cluster, job]]
    assert all(words[: len(cluster)] == cluster for words in fake.asked("scontrol"))


@pytest.mark.parametrize("printed", ["", "Welcome\n", "job 4711\n", "4711 submitted\n"])
def test_a_job_whose_number_sbatch_does_not_print_is_found_by_its_comment_and_cancelled(
    fake: FakeSlurm, printed: str
) -> None:
    fake.answers("sbatch", printed)
    fake.answers("squeue", "17 somebody's\n4711 MARK\n")
    engine = slurm.Slurm()
    with pytest.raises(RunError, match="sbatch: printed no job number but"):
        engine.launch("dni1:abc", 3)
    engine.close()
    assert fake.asked("scancel") == [["4711"]]


def test_numbers_of_which_none_is_our_job_are_not_cancelled(fake: FakeSlurm) -> None:
    fake.answers("sbatch", "7\n4711\n")
    fake.answers("scontrol", PENDING, jobs=[])
    fake.answers("squeue", "4712 MARK\n")
    engine = slurm.Slurm()
    with pytest.raises(RunError, match="none of the numbers is our job's"):
        engine.launch("dni1:abc", 3)
    engine.close()
    assert fake.asked("scancel") == [["4712"]]


@pytest.mark.parametrize("fails", ["squeue", "scancel"])
def test_a_job_that_may_be_left_is_said(fake: FakeSlurm, fails: str) -> None:
    fake.answers("sbatch", "", 1, "sbatch: error: Socket timed out\n")
    fake.answers("squeue", "77 MARK\n")
    fake.answers(fails, "", 1, "down\n")
    engine = slurm.Slurm("--comment=mine")
    with pytest.raises(RunError, match="Socket timed out"):
        engine.launch("dni1:abc", 3)
    with pytest.raises(RunError, match=r"may be left; look at `squeue --me`|job 77 is left"):
        engine.close()


def test_a_job_that_stays_in_the_queue_after_scancel_is_said(fake: FakeSlurm) -> None:
    fake.answers("sbatch", "4711\n")
    engine = slurm.Slurm()
    engine.launch("dni1:abc", 3)
    (fake.folder / "scancel").write_text("#!/bin/sh\n", "utf-8")
    with pytest.raises(RunError, match="job 4711 is still in the queue after scancel"):
        engine.close()


def test_a_job_that_sbatch_refuses_is_said_and_nothing_is_cancelled(fake: FakeSlurm) -> None:
    fake.answers("sbatch", "", 1, "sbatch: error: Invalid partition\n")
    engine = slurm.Slurm()
    with pytest.raises(RunError, match="Invalid partition"):
        engine.launch("dni1:abc", 3)
    engine.close()
    assert fake.asked("scancel") == []


def test_a_job_that_cannot_be_cancelled_is_named_with_what_to_do(fake: FakeSlurm) -> None:
    fake.answers("sbatch", "4711\n")
    fake.answers("scancel", "", 1, "scancel: error: timed out\n")
    engine = slurm.Slurm()
    engine.launch("dni1:abc", 3)
    with pytest.raises(RunError, match=r"job 4711 is left in the queue; run scancel 4711: .*timed"):
        engine.close()
    assert len(fake.asked("scancel")) == slurm.CANCEL_TRIES


def test_a_run_whose_job_stays_in_the_queue_says_so_and_ends_in_time(
    dni: Dni, fake: FakeSlurm
) -> None:
    fake.answers("sbatch", "Welcome\n4711\n")
    words = ("--engine", "slurm", "--start-timeout", "6")
    ran = dni("run", "tiny.toml", *words, environment={"PATH": os.environ["PATH"]})
    assert ran.returncode == 2
    job = "slurm job 4711: PENDING (Priority); look at `squeue --jobs=4711`"
    assert f"waited 5 s for agents: 0 of 3 slots joined; need 3 more; {job}\n" in ran.stdout
    assert f"need 3 more; {job} (--start-timeout 6)\n" in ran.stderr
    assert not (dni.home / "runs").exists()
    assert fake.asked("scancel") == [["4711"]]
    dni.nothing_left()


@pytest.mark.parametrize("banner", [b"caf\xe9", b"\xff\xfe", "λ".encode()])
def test_what_a_site_prints_need_not_be_utf8(banner: bytes, tmp_path: Path) -> None:
    (tmp_path / "banner").write_bytes(banner)
    assert os.fsencode(asked("cat", str(tmp_path / "banner"))) == banner


@needs_slurm
@pytest.mark.slow
def test_a_job_trains_and_goes(dni: Dni) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--engine", "slurm")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "host3: " in ran.stdout
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
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: ")
    assert said in line
    nothing_left(dni)
