"""Agents as tasks of Slurm: a step where this process is in an allocation, else a job of its own.

The token goes to srun's standard input. A job's script has it as a here-document, and comes to
sbatch over a pipe: Slurm shows scripts to their owner and to operators alone.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from coordinator.cluster.addresses import address_towards
from coordinator.cluster.launchers.clients import Clients, asked
from coordinator.cluster.launchers.launcher import last_words
from protocol import RunError
from protocol.endpoint import Endpoint

POLL_SECONDS: Final = 2.0
LEAVE_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 0.5
"""Between looks whether a job is over; each asks the controller."""
CANCEL_TRIES: Final = 3
CANCEL_SECONDS: Final = 1.0
CONTROLLER_PORT: Final = "6817"
HERE: Final = shlex.join((sys.executable, "-P", "-m", "dni_command"))
"""What starts dni on a node that sees the same files as this machine, as is usual with Slurm."""
_NUMBER: Final = re.compile(r"^(\d+)(?:;(\S+))?\s*$", re.MULTILINE)
"""What `sbatch --parsable` prints; lines of the site's own may come before."""
_OVER: Final = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    }
)

_NEVER: Final = frozenset(
    {
        "BadConstraints",
        "PartitionConfig",
        "PartitionDown",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
    }
)
"""Why a job waits that Slurm will not start as things are."""


class Slurm:
    """A task of Slurm a worker. See `Launcher`.

    `sbatch_args` are further words for sbatch, or for srun inside an allocation;
    `remote_command` is what a shell on a node runs.
    """

    start_timeout: float | None = None
    """A job may stay in the queue for as long as it takes."""

    def __init__(self, sbatch_args: str = "", remote_command: str = HERE) -> None:
        words = shlex.split(sbatch_args)
        inside = "SLURM_JOB_ID" in os.environ
        self._agents: _Step | _Job = (_Step if inside else _Job)(words, remote_command)

    def home(self) -> str:
        """This machine's address on the way to Slurm's controller."""
        said = asked("scontrol", "show", "config")
        found = re.search(r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\((.+)\))?", said, re.MULTILINE)
        if not found:
            raise RunError("slurm: scontrol names no controller; say --bind")
        return address_towards(str(Endpoint(found[2] or found[1], CONTROLLER_PORT)))

    def launch(self, token: str, slots: int) -> None:
        """Start so many tasks, each an agent with one slot."""
        self._agents.launch(token, slots)

    def gone(self) -> list[str]:
        """The step or job, where it has ended, with its last words."""
        return self._agents.gone()

    def waiting(self) -> list[str]:
        """What Slurm says of the step or job whose agents have not all joined."""
        return self._agents.waiting()

    def close(self) -> None:
        """Cancel what is left. Raises RunError where Slurm does not let it."""
        self._agents.close()


def task(remote_command: str) -> list[str]:
    """The words of a task: an agent on the cores that Slurm gives it."""
    join = f'{remote_command} join - --slots 1 --cores "${{SLURM_CPUS_PER_TASK:-1}}"'
    return ["sh", "-c", join]


def script(token: str, remote_command: str = HERE) -> str:
    """What sbatch runs. Its tasks end together when one of them ends badly."""
    return f"""\
#!/bin/sh
srun --kill-on-bad-exit=1 --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" \\
  {shlex.join(task(remote_command))} <<'TOKEN'
{token}
TOKEN
"""


class _Step:
    """Tasks inside the allocation in which this process is; srun's input is their lifeline."""

    def __init__(self, words: list[str], remote_command: str) -> None:
        self._words = words
        self._remote = remote_command
        self._clients = Clients()

    def launch(self, token: str, slots: int) -> None:
        srun = ["srun", "--kill-on-bad-exit=1", f"--ntasks={slots}", *self._words]
        shell, option, join = task(self._remote)
        self._clients.start("srun", [*srun, shell, option, f"{join} --lifeline"], token)

    def gone(self) -> list[str]:
        return self._clients.gone()

    def waiting(self) -> list[str]:
        said = self._clients.printed()["srun"]
        return [f"srun: {said}; the allocation may be in use: look at `squeue --steps`"]

    def close(self) -> None:
        self._clients.close()


class _Job:
    """A job of our own. What its tasks print is in a file of the current folder until the end.

    The job carries a comment that no other job has, so that it is found and cancelled even where
    sbatch did not say its number.
    """

    def __init__(self, words: list[str], remote_command: str) -> None:
        self._words = words
        self._remote = remote_command
        self._job = ""
        self._cluster: tuple[str, ...] = ()
        self._mark = f"dni-{secrets.token_hex(8)}"
        self._submitted = False
        self._due = 0.0

    def launch(self, token: str, slots: int) -> None:
        own = ["--parsable", "--job-name=dni", f"--ntasks={slots}", "--output=dni-slurm-%j.out"]
        text = script(token, self._remote)
        self._submitted = True
        said = asked("sbatch", *own, *self._words, f"--comment={self._mark}", text=text)
        found = _NUMBER.findall(said)
        if not found:
            raise RunError(f"sbatch: printed no job number but {said.strip()!r:.200}")
        for job, cluster in found:  # where there are several, the last that Slurm says is ours
            where = (f"--clusters={cluster}",) if cluster else ()
            if len(found) == 1 or self._mark in self._shown(job, where):
                self._job, self._cluster = job, where
        if not self._job:
            raise RunError(f"sbatch: none of the numbers is our job's: {said.strip()!r:.200}")

    def gone(self) -> list[str]:
        now = time.monotonic()
        if now < self._due:
            return []
        self._due = now + POLL_SECONDS
        state, reason = self._state()
        if state in _OVER:
            return [f"slurm job {self._job}: {state}: {self._words_of_tasks()}"]
        if state == "PENDING" and reason in _NEVER:
            return [f"slurm job {self._job}: will not start: {reason}"]
        return []

    def waiting(self) -> list[str]:
        state, reason = self._state()
        why = f" ({reason})" if reason not in ("", "None") else ""
        look = f"look at `{' '.join(('squeue', *self._cluster, f'--jobs={self._job}'))}`"
        if state == "RUNNING":
            look = f"{self._output}: {self._words_of_tasks()}"
        return [f"slurm job {self._job}: {state}{why}; {look}"]

    def _state(self) -> tuple[str, str]:
        """What Slurm calls the job's state, and why; COMPLETED where it has forgotten the job."""
        said = self._shown(self._job, self._cluster)
        if "Invalid job id" in said:
            return "COMPLETED", ""
        found = re.search(r"\bJobState=(\w+) Reason=(\w+)", said)
        return (found[1], found[2]) if found else ("UNKNOWN", "")

    @staticmethod
    def _shown(job: str, cluster: tuple[str, ...]) -> str:
        """What Slurm says of a job, or why it says nothing."""
        try:
            return asked("scontrol", *cluster, "--oneliner", "show", "job", job)
        except RunError as error:
            return str(error)

    @property
    def _output(self) -> Path:
        return Path(f"dni-slurm-{self._job}.out")

    def _words_of_tasks(self) -> str:
        """Their last line; srun's own only say that a task has ended."""
        try:
            lines = self._output.read_text("utf-8", "replace").splitlines()
        except OSError:
            return f"{self._output} is not here"
        own = [line for line in lines if not line.startswith(("srun: ", "slurmstepd: "))]
        return last_words("\n".join(own or lines))

    def close(self) -> None:
        if not self._job:
            self._cancel_by_mark()
            return
        patience = 0.0 if self._state()[0] == "PENDING" else LEAVE_SECONDS
        if not self._over_within(patience):
            self._cancel(self._job)
            if not self._over_within(LEAVE_SECONDS) and self._state()[0] == "PENDING":
                raise RunError(f"slurm: job {self._job} is still in the queue after scancel")
        self._output.unlink(missing_ok=True)

    def _cancel(self, job: str) -> None:
        """Cancel, and try again where the controller is busy. Raises RunError."""
        command = ("scancel", *self._cluster, job)
        for _ in range(CANCEL_TRIES - 1):
            with suppress(RunError):
                asked(*command)
                return
            time.sleep(CANCEL_SECONDS)
        try:
            asked(*command)
        except RunError as error:
            left = f"job {job} is left in the queue; run {' '.join(command)}"
            raise RunError(f"slurm: {left}: {error}") from None

    def _cancel_by_mark(self) -> None:
        """Cancel the job that sbatch may have submitted without saying so."""
        if not self._submitted:
            return
        try:
            jobs = asked("squeue", "--me", "--noheader", "--format=%i %k")
        except RunError as error:
            look = f"a job with the comment {self._mark} may be left; look at `squeue --me`"
            raise RunError(f"slurm: {look}: {error}") from None
        for job, _, comment in (line.strip().partition(" ") for line in jobs.splitlines()):
            if comment.strip() == self._mark:
                self._cancel(job)

    def _over_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._state()[0] not in _OVER:
            if time.monotonic() >= deadline:
                return False
            time.sleep(CLOSE_SECONDS)
        return True
