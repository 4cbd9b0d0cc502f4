"""Hosts for tests: network namespaces, each with addresses of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

FORBIDDEN = ("not permitted", "not supported", "Unknown device type", "denied")
"""What `ip` prints where the user may not make networks, or the kernel has no namespaces."""


def ip(*arguments: str) -> None:
    """Run `ip`. Raises CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def try_ip(*arguments: str) -> None:
    """Run `ip`, whether it succeeds or not."""
    subprocess.run(["ip", *arguments], check=False, capture_output=True)


class NetworkHosts:
    """Network namespaces on a bridge in a namespace of its own; they reach nothing else."""

    def __init__(self, stack: ExitStack, count: int, network: str) -> None:
        self._network = network
        tag = secrets.token_hex(2)
        switch = f"dni-{tag}-s"
        self.names = [f"dni-{tag}-{number}" for number in range(count)]
        for name in (switch, *self.names):
            ip("netns", "add", name)
            stack.callback(try_ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "name", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        for number in range(count):
            self._connect(number, switch)

    def _connect(self, number: int, switch: str) -> None:
        """Connect a host to the bridge."""
        name = self.names[number]
        peer = ("peer", "name", f"p{number}", "netns", switch)
        ip("-n", name, "link", "add", "name", "net0", "type", "veth", *peer)
        ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "net0")
        ip("-n", name, "address", "add", f"fd00::{number + 1}/64", "dev", "net0", "nodad")
        ip("-n", name, "link", "set", "net0", "up")
        ip("-n", switch, "link", "set", f"p{number}", "master", "br0", "up")

    def address(self, number: int) -> str:
        """The IPv4 address of a host."""
        return f"{self._network}.{number + 1}"

    def at(self, number: int) -> tuple[str, ...]:
        """The arguments before a command that run it on a host."""
        return ("ip", "netns", "exec", self.names[number])


@contextmanager
def network_hosts(count: int, network: str) -> Iterator[NetworkHosts]:
    """`count` hosts in `network`, such as 10.0.0; skips where namespaces cannot be made."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        pytest.skip("needs Linux and iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    with ExitStack() as stack:
        try:
            made = NetworkHosts(stack, count, network)
        except subprocess.CalledProcessError as error:
            if not any(part in error.stderr for part in FORBIDDEN):
                raise AssertionError(error.stderr) from error
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield made
