"""A real Slurm for tests: its daemons run from a folder of their own, on one node of 16 CPUs."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.dni import wait_until
from tests.ssh_server import free_port

PROGRAMS: Final = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
START_SECONDS: Final = 30.0
_SETTINGS: Final = """\
ClusterName=dni-tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2
KillWait=2
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def _program(name: str) -> str:
    """The path of a program. Skips where it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: this test needs slurm-wlm and munge")
    return found


def _write_settings(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    settings = _SETTINGS.format(
        host=socket.gethostname().partition(".")[0],
        user=getpass.getuser(),
        controller=free_port(),
        node=free_port(),
        folder=folder,
    )
    (folder / "slurm.conf").write_text(settings, "utf-8")
    plugin = "CgroupPlugin=cgroup/v1\n"  # works where no control groups are mounted, too
    (folder / "cgroup.conf").write_text(plugin, "utf-8")


def _munged(folder: Path) -> list[str]:
    places = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid"}
    places |= {"seed-file": "munge.seed", "log-file": "munge.log"}
    options = [f"--{key}={folder / name}" for key, name in places.items()]
    return [_program("munged"), "--foreground", *options]


def _start(stack: ExitStack, folder: Path, command: list[str]) -> None:
    """Start a daemon, which ends with `stack`."""
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    name = Path(command[0]).name
    with (folder / f"{name}.out").open("wb") as output:
        daemon = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    stack.callback(daemon.wait, START_SECONDS)
    stack.callback(daemon.terminate)


def _is_ready(environment: Mapping[str, str]) -> bool:
    """Whether the node can run jobs."""
    command = ["sinfo", "--noheader", "--format=%T"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return shown.stdout.strip() == "idle"


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text("utf-8", "replace") for path in folder.glob("*.out"))


@contextmanager
def slurm_server() -> Iterator[str]:
    """Run Slurm; the value is that of SLURM_CONF. Skips where its programs are missing."""
    for name in PROGRAMS:
        _program(name)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path is short
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        _write_settings(folder)
        _start(stack, folder, _munged(folder))
        wait_until((folder / "munge.socket").exists, "munged listens")
        _start(stack, folder, [_program("slurmctld"), "-D"])
        _start(stack, folder, [_program("slurmd"), "-D"])
        settings = str(folder / "slurm.conf")
        environment = {**os.environ, "SLURM_CONF": settings}
        try:
            wait_until(lambda: _is_ready(environment), "the node is idle", START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_logs(folder)}") from None
        yield settings
