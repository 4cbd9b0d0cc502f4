"""The launcher `slurm`: its script as text, and how it treats what Slurm's programs print."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from coordinator.cluster.launchers.slurm import Slurm, SlurmOptions
from coordinator.cluster.launchers.slurm_job import CANCEL_TRIES, SlurmTimes, script, task
from protocol import RunError
from tests.dni import Dni
from tests.fake_slurm import PENDING, FakeSlurm


def launcher(sbatch_args: str = "") -> Slurm:
    """The launcher with short time limits."""
    return Slurm(SlurmOptions(sbatch_args), SlurmTimes(leave=0.1, cancel=0.01))


def test_a_task_gets_the_token_on_its_standard_input_alone() -> None:
    text = script("dni1:abc", "/opt/dni it's")
    before, _, document = text.partition("<<'TOKEN'\n")
    assert document == "dni1:abc\nTOKEN\n"
    assert "dni1:" not in before
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_the_script_passes_its_standard_input_to_the_command() -> None:
    text = script("dni1:abc", "echo").replace("srun ", 'f() { shift 2; "$@"; cat; }; f ', 1)
    ran = subprocess.run(["sh"], input=text, text=True, capture_output=True, check=True)
    assert ran.stdout == "join - --slots 1 --cpus 1\ndni1:abc\n"
    assert task("dni")[:2] == ["sh", "-c"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Programs in the place of Slurm's; the current folder is empty."""
    for name in ("bin", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.chdir(tmp_path / "here")
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
def test_a_job_is_cancelled_whatever_a_site_prints_around_its_number(
    fake: FakeSlurm, printed: str, job: str, cluster: list[str]
) -> None:
    fake.set_answer("sbatch", printed)
    fake.set_answer("scontrol", PENDING, jobs=[job])
    slurm = launcher()
    slurm.launch("dni1:abc", 3)
    assert slurm.ended() == []
    squeue = " ".join(("squeue", *cluster, f"--jobs={job}"))
    assert slurm.pending() == [f"slurm job {job}: PENDING (Priority); look at `{squeue}`"]
    slurm.close()
    assert fake.calls("scancel") == [[*cluster, job]]
    assert all(call[: len(cluster)] == cluster for call in fake.calls("scontrol"))


@pytest.mark.parametrize("printed", ["", "Welcome\n", "job 4711\n", "4711 submitted\n"])
def test_a_job_without_a_printed_number_is_found_by_its_comment_and_cancelled(
    fake: FakeSlurm, printed: str
) -> None:
    fake.set_answer("sbatch", printed)
    fake.set_answer("squeue", "17 somebody's\n4711 COMMENT\n")
    slurm = launcher()
    with pytest.raises(RunError, match="sbatch: printed no job number but"):
        slurm.launch("dni1:abc", 3)
    slurm.close()
    assert fake.calls("scancel") == [["4711"]]


def test_jobs_of_others_whose_numbers_are_printed_are_not_cancelled(fake: FakeSlurm) -> None:
    fake.set_answer("sbatch", "7\n4711\n")
    fake.set_answer("scontrol", PENDING, jobs=[])
    fake.set_answer("squeue", "4712 COMMENT\n")
    slurm = launcher()
    with pytest.raises(RunError, match="no number it printed is our job's"):
        slurm.launch("dni1:abc", 3)
    slurm.close()
    assert fake.calls("scancel") == [["4712"]]


@pytest.mark.parametrize("fails", ["squeue", "scancel"])
def test_a_job_that_may_be_left_is_named(fake: FakeSlurm, fails: str) -> None:
    fake.set_answer("sbatch", "", 1, "sbatch: error: Socket timed out\n")
    fake.set_answer("squeue", "77 COMMENT\n")
    fake.set_answer(fails, "", 1, "down\n")
    slurm = launcher("--comment=mine")
    with pytest.raises(RunError, match="Socket timed out"):
        slurm.launch("dni1:abc", 3)
    with pytest.raises(RunError, match=r"may be left; look at `squeue --me`|job 77 is left"):
        slurm.close()


def test_a_job_that_stays_in_the_queue_after_scancel_is_named(fake: FakeSlurm) -> None:
    fake.set_answer("sbatch", "4711\n")
    slurm = launcher()
    slurm.launch("dni1:abc", 3)
    (fake.folder / "scancel").write_text("#!/bin/sh\n", "utf-8")
    with pytest.raises(RunError, match="job 4711 is still in the queue after scancel"):
        slurm.close()


def test_a_job_that_sbatch_refuses_is_an_error_and_nothing_is_cancelled(fake: FakeSlurm) -> None:
    fake.set_answer("sbatch", "", 1, "sbatch: error: Invalid partition\n")
    slurm = launcher()
    with pytest.raises(RunError, match="Invalid partition"):
        slurm.launch("dni1:abc", 3)
    slurm.close()
    assert fake.calls("scancel") == []


def test_a_job_that_cannot_be_cancelled_is_named_with_the_command_to_run(fake: FakeSlurm) -> None:
    fake.set_answer("sbatch", "4711\n")
    fake.set_answer("scancel", "", 1, "scancel: error: timed out\n")
    slurm = launcher()
    slurm.launch("dni1:abc", 3)
    with pytest.raises(RunError, match=r"job 4711 is left in the queue; run scancel 4711: .*timed"):
        slurm.close()
    assert len(fake.calls("scancel")) == CANCEL_TRIES


def test_a_run_whose_job_stays_in_the_queue_ends_after_the_start_timeout(
    dni: Dni, fake: FakeSlurm
) -> None:
    fake.set_answer("sbatch", "Welcome\n4711\n")
    options = ("--engine", "slurm", "--start-timeout", "6")
    ran = dni("run", "tiny.toml", *options, environment={"PATH": os.environ["PATH"]})
    assert ran.returncode == 2
    job = "slurm job 4711: PENDING (Priority); look at `squeue --jobs=4711`"
    assert f"waited 5 s for agents: 0 of 3 slots joined; need 3 more; {job}\n" in ran.stdout
    assert f"need 3 more; {job} (--start-timeout 6)\n" in ran.stderr
    assert not (dni.home / "runs").exists()
    assert fake.calls("scancel") == [["4711"]]
    dni.nothing_left()
