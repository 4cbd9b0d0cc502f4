"""A job of Slurm whose tasks are agents: how it is submitted, observed and cancelled."""

from __future__ import annotations

import re
import secrets
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.cluster.launchers.clients import query
from coordinator.cluster.launchers.launcher import last_line
from protocol import RunError

CANCEL_TRIES: Final = 3
DNI_HERE: Final = shlex.join((sys.executable, "-P", "-m", "dni_command"))
"""Starts dni on a host that has the files of this host at the same paths, as is usual in Slurm."""
_NUMBER: Final = re.compile(r"^(\d+)(?:;(\S+))?\s*$", re.MULTILINE)
"""The line of `sbatch --parsable`; a site's own lines may come before or after."""
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
"""Reasons for which Slurm keeps a job in the queue until somebody changes the job or the site."""


@dataclass(frozen=True, slots=True)
class SlurmTimes:
    """Intervals and time limits in seconds; each query is a load for the controller."""

    poll: float = 2.0
    """Between queries of the job's state while agents are missing."""
    leave: float = 5.0
    """How long the tasks may take to end by themselves, and the job after scancel."""
    close_poll: float = 0.5
    """Between queries while the job ends."""
    cancel: float = 1.0
    """Between two tries of scancel."""


def task(remote_command: str) -> list[str]:
    """The arguments of a task: an agent with the processors that Slurm assigns to the task."""
    join = f'{remote_command} join - --slots 1 --cpus "${{SLURM_CPUS_PER_TASK:-1}}"'
    return ["sh", "-c", join]


def script(token: str, remote_command: str = DNI_HERE) -> str:
    """The script for sbatch. All its tasks end when one of them fails."""
    return f"""\
#!/bin/sh
srun --kill-on-bad-exit=1 --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" \\
  {shlex.join(task(remote_command))} <<'TOKEN'
{token}
TOKEN
"""


class SlurmJob:
    """A job with one task for each worker slot.

    The output of the tasks is in a file of the current folder until `close`. The job carries a
    comment that no other job has, so that it is found and cancelled even where sbatch does not
    print its number.
    """

    def __init__(self, arguments: Sequence[str], remote_command: str, times: SlurmTimes) -> None:
        self._arguments = arguments
        self._remote = remote_command
        self._times = times
        self._job = ""
        self._cluster: tuple[str, ...] = ()
        self._comment = f"dni-{secrets.token_hex(8)}"
        self._submitted = False
        self._poll_due = 0.0

    def launch(self, token: str, slots: int) -> None:
        """Submit the job. Raises RunError where sbatch fails or prints no number of the job."""
        own = ["--parsable", "--job-name=dni", f"--ntasks={slots}", "--output=dni-slurm-%j.out"]
        arguments = (*own, *self._arguments, f"--comment={self._comment}")
        self._submitted = True
        printed = query("sbatch", *arguments, text=script(token, self._remote))
        found = _NUMBER.findall(printed)
        if not found:
            raise RunError(f"sbatch: printed no job number but {printed.strip()!r:.200}")
        for job, cluster in found:  # of several numbers, the last job with our comment counts
            where = (f"--clusters={cluster}",) if cluster else ()
            if len(found) == 1 or self._comment in _show_job(job, where):
                self._job, self._cluster = job, where
        if not self._job:
            raise RunError(f"sbatch: no number it printed is our job's: {printed.strip()!r:.200}")

    def ended(self) -> list[str]:
        """The job where it has ended or will never start; queries Slurm every `poll` seconds."""
        now = time.monotonic()
        if now < self._poll_due:
            return []
        self._poll_due = now + self._times.poll
        state, reason = self._state()
        if state in _OVER:
            return [f"slurm job {self._job}: {state}: {self._last_output()}"]
        if state == "PENDING" and reason in _NEVER:
            return [f"slurm job {self._job}: will not start: {reason}"]
        return []

    def pending(self) -> list[str]:
        """The state of the job with its reason, and where to look."""
        state, reason = self._state()
        because = f" ({reason})" if reason not in ("", "None") else ""
        hint = f"look at `{' '.join(('squeue', *self._cluster, f'--jobs={self._job}'))}`"
        if state == "RUNNING":
            hint = f"{self._output}: {self._last_output()}"
        return [f"slurm job {self._job}: {state}{because}; {hint}"]

    def close(self) -> None:
        """Let a running job end, cancel it otherwise, and remove its output.

        Raises RunError that names the job where Slurm does not cancel it.
        """
        if not self._job:
            self._cancel_by_comment()
            return
        patience = 0.0 if self._state()[0] == "PENDING" else self._times.leave
        if not self._is_over_within(patience):
            self._cancel(self._job)
            if not self._is_over_within(self._times.leave) and self._state()[0] == "PENDING":
                raise RunError(f"slurm: job {self._job} is still in the queue after scancel")
        self._output.unlink(missing_ok=True)

    def _state(self) -> tuple[str, str]:
        """Slurm's state of the job and its reason; COMPLETED where Slurm has deleted the record."""
        shown = _show_job(self._job, self._cluster)
        if "Invalid job id" in shown:
            return "COMPLETED", ""
        found = re.search(r"\bJobState=(\w+) Reason=(\w+)", shown)
        return (found[1], found[2]) if found else ("UNKNOWN", "")

    @property
    def _output(self) -> Path:
        return Path(f"dni-slurm-{self._job}.out")

    def _last_output(self) -> str:
        """The last line of a task; srun's own lines only report that a task has ended."""
        try:
            lines = self._output.read_text("utf-8", "replace").splitlines()
        except OSError:
            return f"{self._output} does not exist"
        of_tasks = [line for line in lines if not line.startswith(("srun: ", "slurmstepd: "))]
        return last_line("\n".join(of_tasks or lines))

    def _cancel(self, job: str) -> None:
        """Cancel `job`; try again where the controller is busy. Raises RunError."""
        command = ("scancel", *self._cluster, job)
        for _ in range(CANCEL_TRIES - 1):
            with suppress(RunError):
                query(*command)
                return
            time.sleep(self._times.cancel)
        try:
            query(*command)
        except RunError as error:
            left = f"job {job} is left in the queue; run {' '.join(command)}"
            raise RunError(f"slurm: {left}: {error}") from None

    def _cancel_by_comment(self) -> None:
        """Cancel the job that sbatch may have submitted without printing its number."""
        if not self._submitted:
            return
        try:
            jobs = query("squeue", "--me", "--noheader", "--format=%i %k")
        except RunError as error:
            hint = f"a job with the comment {self._comment} may be left; look at `squeue --me`"
            raise RunError(f"slurm: {hint}: {error}") from None
        for job, _, comment in (line.strip().partition(" ") for line in jobs.splitlines()):
            if comment.strip() == self._comment:
                self._cancel(job)

    def _is_over_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._state()[0] not in _OVER:
            if time.monotonic() >= deadline:
                return False
            time.sleep(self._times.close_poll)
        return True


def _show_job(job: str, cluster: Sequence[str]) -> str:
    """The record of a job, or the error of scontrol."""
    try:
        return query("scontrol", *cluster, "--oneliner", "show", "job", job)
    except RunError as error:
        return str(error)
