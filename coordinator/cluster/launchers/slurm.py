"""Agents as tasks of Slurm: a step inside an allocation, otherwise a job of its own.

A step gets the token on the standard input of srun. The script of a job has the token as a
here-document and reaches sbatch over a pipe: Slurm shows scripts to their owner and to operators.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from coordinator.cluster.addresses import address_towards
from coordinator.cluster.launchers.clients import Clients, query
from coordinator.cluster.launchers.slurm_job import DNI_HERE, SlurmJob, SlurmTimes, task
from coordinator.engines.options import option
from protocol import RunError
from protocol.endpoint import Endpoint

CONTROLLER_PORT: Final = "6817"
_CONTROLLER: Final = re.compile(r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\((.+)\))?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """The options of the launcher `slurm`."""

    sbatch_args: str = option(
        "Further arguments for sbatch, or for srun inside an allocation.", default=""
    )
    remote_command: str = option(
        "Command that starts dni on a host.",
        default=DNI_HERE,
        default_text="the Python of this process",
    )


class Slurm:
    """Starts one task of Slurm for each worker slot. Implements `Launcher`.

    `times` are the intervals and time limits of a job.
    """

    api_version: ClassVar[int] = 1
    options_type: ClassVar[type] = SlurmOptions
    start_timeout: ClassVar[float | None] = None
    """None: a job may stay in the queue for any time."""

    def __init__(self, options: SlurmOptions, times: SlurmTimes | None = None) -> None:
        arguments = shlex.split(options.sbatch_args)
        remote = options.remote_command
        self._tasks: SlurmStep | SlurmJob
        if "SLURM_JOB_ID" in os.environ:
            self._tasks = SlurmStep(arguments, remote)
        else:
            self._tasks = SlurmJob(arguments, remote, times or SlurmTimes())

    def local_address(self) -> str:
        """The address of this host on the route to Slurm's controller."""
        found = _CONTROLLER.search(query("scontrol", "show", "config"))
        if not found:
            raise RunError("slurm: `scontrol show config` names no controller; give --bind")
        return address_towards(str(Endpoint(found[2] or found[1], CONTROLLER_PORT)))

    def launch(self, token: str, slots: int) -> None:
        """Start one task with one agent for each slot."""
        self._tasks.launch(token, slots)

    def ended(self) -> list[str]:
        """The step or job where it has ended, with the last line of its output."""
        return self._tasks.ended()

    def pending(self) -> list[str]:
        """The state of the step or job."""
        return self._tasks.pending()

    def close(self) -> None:
        """Cancel the step or job. Raises RunError where Slurm does not cancel it."""
        self._tasks.close()


class SlurmStep:
    """The tasks of a step in the allocation of this process; srun's input is their lifeline."""

    def __init__(self, arguments: Sequence[str], remote_command: str) -> None:
        self._arguments = arguments
        self._remote = remote_command
        self._clients = Clients()

    def launch(self, token: str, slots: int) -> None:
        """Start srun with one task for each slot."""
        srun = ["srun", "--kill-on-bad-exit=1", f"--ntasks={slots}", *self._arguments]
        shell, command_option, join = task(self._remote)
        self._clients.start("srun", [*srun, shell, command_option, f"{join} --lifeline"], token)

    def ended(self) -> list[str]:
        """The step where it has ended, with the last line that srun has printed."""
        return self._clients.ended()

    def pending(self) -> list[str]:
        """The last line that srun has printed."""
        output = self._clients.last_output()["srun"]
        return [f"srun: {output}; the allocation may be in use: look at `squeue --steps`"]

    def close(self) -> None:
        """Close the input of srun and end it."""
        self._clients.close()
