"""`dni run --engine slurm` on a real Slurm, as a job of its own and inside an allocation."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.dni import COMMAND, ENDLESS, LAYERS, PATIENCE, Dni, Training
from tests.slurm_server import slurm_server

pytestmark = [pytest.mark.service, pytest.mark.slow]

HEAD_LOST = 30.0
"""Seconds within which the agents of a job leave when the head is killed; they notice after 10."""


@pytest.fixture(scope="module")
def settings() -> Iterator[str]:
    """The settings of a Slurm that runs."""
    with slurm_server() as found:
        yield found


@pytest.fixture(autouse=True)
def _slurm(settings: str, dni: Dni, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands of the test use that Slurm."""
    monkeypatch.setenv("SLURM_CONF", settings)
    dni.environment["SLURM_CONF"] = settings


def jobs() -> str:
    """The jobs named dni that are not over, one line each with its state."""
    command = ["squeue", "-h", "-n", "dni", "-o", "%i %T"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def nothing_left(dni: Dni) -> None:
    """No process, job or output of a job is left."""
    dni.until(lambda: not dni.processes() and not jobs(), "tasks and jobs are gone", HEAD_LOST)
    assert not list(dni.home.glob("dni-slurm-*"))
    dni.nothing_left()


def until_training(dni: Dni, training: Training) -> None:
    """Wait until every layer has made updates."""

    def trains() -> bool:
        assert training.process.poll() is None, training.text
        return {x["layer"] for x in training.metrics() if x.get("updates")} >= set(LAYERS)

    dni.until(trains, "every layer has made updates")


def test_a_job_trains_and_leaves_nothing(dni: Dni) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--engine", "slurm")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "host3: " in ran.stdout
    assert "dni1:" not in ran.stdout + ran.stderr
    nothing_left(dni)


def test_a_step_in_an_allocation_trains_and_leaves_nothing(dni: Dni) -> None:
    run = shlex.join((*COMMAND, "run", "tiny.toml", "--run-dir", "run", "--engine", "slurm"))
    ran = subprocess.run(
        ["salloc", "--ntasks=3", "--job-name=dni", "sh", "-c", run],
        cwd=dni.home,
        env=dni.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "host3: " in ran.stdout
    assert "dni1:" not in ran.stdout + ran.stderr
    nothing_left(dni)


def test_ctrl_c_ends_the_run_and_its_job(dni: Dni) -> None:
    training = dni.start(*ENDLESS, "--engine", "slurm")
    until_training(dni, training)
    assert "RUNNING" in jobs()
    training.signal(signal.SIGINT)
    assert training.end(PATIENCE) == 130
    assert {path.stem for path in (training.folder / "weights").iterdir()} == set(LAYERS)
    nothing_left(dni)


def test_ctrl_c_cancels_a_job_that_waits_in_the_queue(dni: Dni) -> None:
    training = dni.start("--engine", "slurm", "--sbatch-args", "--begin=now+1hour")
    dni.until(lambda: "PENDING" in jobs(), "the job is in the queue")
    training.signal(signal.SIGINT)
    assert training.end(PATIENCE) == 130
    assert not training.folder.exists()
    nothing_left(dni)


def test_the_agents_of_a_job_leave_when_the_head_is_killed(dni: Dni) -> None:
    training = dni.start(*ENDLESS, "--engine", "slurm")
    until_training(dni, training)
    training.signal(signal.SIGKILL)
    training.end(PATIENCE)
    dni.until(lambda: not dni.processes() and not jobs(), "tasks and jobs are gone", HEAD_LOST)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--remote-command", "/nowhere/dni"), ": FAILED: "),
        (("--sbatch-args", "--cpus-per-task=4096"), "will not start: "),
        (("--sbatch-args", "--partition=nowhere"), "Invalid partition"),
    ],
)
def test_a_job_that_cannot_run_ends_the_run(dni: Dni, options: tuple[str, ...], error: str) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--engine", "slurm", *options)
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: ")
    assert error in line
    nothing_left(dni)
