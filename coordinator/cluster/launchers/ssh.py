"""Agents on hosts that `ssh` reaches, with the user's own ssh program, keys and configuration."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, Final

from coordinator.cluster.addresses import address_towards, is_loopback
from coordinator.cluster.launchers.clients import Clients, query
from coordinator.engines.options import option
from protocol import RunError
from protocol.endpoint import Endpoint

SSH_OPTIONS: Final = (
    *("-o", "BatchMode=yes"),  # nobody can answer a question
    *("-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5"),  # so that a broken link is noticed
    "-T",
)
_HOST: Final = re.compile(r"[\w.:%\[\]@][\w.:%\[\]@-]*")


@dataclass(frozen=True, slots=True)
class SshOptions:
    """The options of the launcher `ssh`."""

    hosts: str = option("Hosts, separated by commas; a host named twice gets two shares.")
    remote_command: str = option("Command that starts dni on a host.", default="dni")
    ssh_args: str = option("Further arguments for ssh.", default="")


class Ssh:
    """Starts one agent on each host; the hosts share the worker slots. Implements `Launcher`."""

    api_version: ClassVar[int] = 1
    options_type: ClassVar[type] = SshOptions
    start_timeout: ClassVar[float | None] = 120.0

    def __init__(self, options: SshOptions) -> None:
        self._hosts = _parse_hosts(options.hosts)
        self._remote = options.remote_command
        self._ssh = ["ssh", *SSH_OPTIONS, *shlex.split(options.ssh_args)]
        self._clients = Clients()

    def local_address(self) -> str:
        """The address of this host on the route to the hosts; loopback only if all are local."""
        found = [address_towards(self._endpoint(host)) for host in dict.fromkeys(self._hosts)]
        return next((address for address in found if not is_loopback(address)), found[0])

    def _endpoint(self, host: str) -> str:
        """The address and port that ssh's configuration gives for `host`."""
        try:
            text = query(*self._ssh, "-G", "--", host)
        except RunError as error:
            raise RunError(f"{host}: {error}") from None
        pairs = (line.partition(" ") for line in text.splitlines())
        settings = {key: value for key, _, value in pairs}
        if not {"hostname", "port"} <= settings.keys():
            raise RunError(f"{host}: `ssh -G` prints no hostname and port; is it OpenSSH's ssh?")
        return str(Endpoint(settings["hostname"], settings["port"]))

    def launch(self, token: str, slots: int) -> None:
        """Start an agent on every host; the first hosts get one slot more where needed."""
        for host, share in shares(self._hosts, slots).items():
            remote = f"{self._remote} join - --lifeline --slots {share}"
            self._clients.start(host, [*self._ssh, "--", host, remote], token)

    def ended(self) -> list[str]:
        """The hosts whose agents have ended, each with its last line of output."""
        return self._clients.ended()

    def pending(self) -> list[str]:
        """The hosts from which no agent has joined, with the last output of ssh."""
        output, missing = self._clients.last_output(), self._clients.not_joined()
        if not missing:
            return []
        hosts = ", ".join(f"{name} ({output[name]})" for name in missing)
        reason = "ssh is connecting, or a start-up file there has read the token"
        return [f"no agent from {hosts}: {reason}; try `ssh {missing[0]} {self._remote} --version`"]

    def close(self) -> None:
        """End the agents and the ssh programs."""
        self._clients.close()


def shares(hosts: list[str], slots: int) -> dict[str, int]:
    """The number of `slots` of each host; hosts that get none are left out."""
    return Counter(hosts[i % len(hosts)] for i in range(slots))


def _parse_hosts(hosts: str) -> list[str]:
    names = [name.strip() for name in hosts.split(",")]
    for name in names:
        if not _HOST.fullmatch(name):
            raise RunError(f"--hosts: {name!r} is not a host; give names such as a,b,c")
    return names
