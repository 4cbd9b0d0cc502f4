"""A real sshd for tests, with keys, configuration and host names of its own."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.dni import COMMAND, wait_until

PASSED: Final = ("XDG_RUNTIME_DIR", "TMPDIR", "DNI_CACHE", "PATH")
REMOTE: Final = shlex.join(COMMAND)


def free_port() -> int:
    """A port of the loopback at which nobody listens."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _is_open(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Server:
    """An sshd in which this user can log in as `alpha` and `beta`; nothing listens at `closed`."""

    folder: Path
    port: int

    def options(self, hosts: str, remote: str = REMOTE) -> tuple[str, ...]:
        """The options of `dni run` for this server."""
        ssh = ("--engine", "ssh", "--hosts", hosts, "--ssh-args", f"-F {self.folder}/config")
        return (*ssh, "--remote-command", remote)


def _make_keys(folder: Path) -> None:
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    key = (folder / "host.pub").read_text("utf-8")
    (folder / "known").write_text(f"the-server {key}", "utf-8")


def _write_settings(folder: Path, port: int, environment: Mapping[str, str]) -> None:
    passed = " ".join(f"{name}={environment[name]}" for name in PASSED)
    server = f"""\
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {folder}/host
        AuthorizedKeysFile {folder}/authorized
        PidFile none
        StrictModes no
        UsePAM no
        SetEnv {passed}
        """
    client = f"""\
        Host alpha beta
            Port {port}
        Host closed
            Port {free_port()}
        Host *
            HostName 127.0.0.1
            HostKeyAlias the-server
            User {getpass.getuser()}
            IdentityFile {folder}/user
            IdentitiesOnly yes
            UserKnownHostsFile {folder}/known
        """
    (folder / "sshd_config").write_text(server, "utf-8")
    (folder / "config").write_text(client, "utf-8")


@contextmanager
def ssh_server(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """An sshd whose sessions get the variables `PASSED` of `environment`; its files in `folder`.

    Skips where ssh or sshd is missing.
    """
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH')}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("ssh or sshd is not installed")
    port = free_port()
    folder.mkdir()
    _make_keys(folder)
    _write_settings(folder, port, environment)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        command = [sshd, "-D", "-e", "-f", f"{folder}/sshd_config"]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: server.poll() is not None or _is_open(port), "sshd listens")
        assert server.poll() is None, (folder / "log").read_text("utf-8")
        yield Server(folder, port)
    finally:
        server.terminate()
        server.wait()
