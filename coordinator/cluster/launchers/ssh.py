"""Agents on machines that `ssh` reaches, with the user's own program, keys and configuration."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import Final

from coordinator.cluster.addresses import address_towards, is_loopback
from coordinator.cluster.launchers.clients import Clients, asked
from protocol import RunError
from protocol.endpoint import Endpoint

OPTIONS: Final = (
    *("-o", "BatchMode=yes"),  # nobody is there to be asked
    *("-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5"),  # so that a broken link is noticed
    "-T",
)
_HOST: Final = re.compile(r"[\w.:%\[\]@][\w.:%\[\]@-]*")


class Ssh:
    """An agent on each of `hosts`, which share the workers. See `Launcher`.

    A host that is named twice gets two shares. `remote_command` is what a shell there runs;
    `ssh_args` are further words for ssh.
    """

    start_timeout: float | None = 120.0

    def __init__(self, hosts: str, remote_command: str = "dni", ssh_args: str = "") -> None:
        self._hosts = _read(hosts)
        self._remote = remote_command
        self._ssh = ["ssh", *OPTIONS, *shlex.split(ssh_args)]
        self._clients = Clients()

    def home(self) -> str:
        """This machine's address on the way to the hosts; that of its loopback if to no other."""
        found = [address_towards(self._endpoint(host)) for host in dict.fromkeys(self._hosts)]
        return next((address for address in found if not is_loopback(address)), found[0])

    def _endpoint(self, host: str) -> str:
        """Where ssh would go for `host`, by its configuration."""
        try:
            text = asked(*self._ssh, "-G", "--", host)
        except RunError as error:
            raise RunError(f"{host}: {error}") from None
        pairs = (line.partition(" ") for line in text.splitlines())
        said = {key: value for key, _, value in pairs}
        if not {"hostname", "port"} <= said.keys():
            raise RunError(f"{host}: `ssh -G` names no hostname and port; is ssh OpenSSH's?")
        return str(Endpoint(said["hostname"], said["port"]))

    def launch(self, token: str, slots: int) -> None:
        """Start an agent on every host, the first with one slot more where they do not divide."""
        for host, share in shares(self._hosts, slots).items():
            remote = f"{self._remote} join - --lifeline --slots {share}"
            self._clients.start(host, [*self._ssh, "--", host, remote], token)

    def gone(self) -> list[str]:
        """The hosts whose agents have ended, with their last words."""
        return self._clients.gone()

    def waiting(self) -> list[str]:
        """The hosts from which no agent has joined; see `Launcher`."""
        printed, missing = self._clients.printed(), self._clients.missing()
        if not missing:
            return []
        silent = ", ".join(f"{name} ({printed[name]})" for name in missing)
        why = "ssh is connecting, or a start-up file there has read the token"
        return [f"no agent from {silent}: {why}; try `ssh {missing[0]} {self._remote} --version`"]

    def close(self) -> None:
        """End the agents and the programs that lead to them."""
        self._clients.close()


def shares(hosts: list[str], slots: int) -> dict[str, int]:
    """How many of `slots` each host gets; those that would get none are left out."""
    return Counter(hosts[i % len(hosts)] for i in range(slots))


def _read(hosts: str) -> list[str]:
    names = [name.strip() for name in hosts.split(",")]
    for name in names:
        if not _HOST.fullmatch(name):
            raise RunError(f"--hosts: {name!r} is no host; give names such as a,b,c")
    return names
