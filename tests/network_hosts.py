"""Hosts as tests make them: network namespaces, each with an address of its own."""

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
"""Of what `ip` says where one has no right to networks of one's own, or the kernel none to give."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def gone(*words: str) -> None:
    subprocess.run(["ip", *words], check=False, capture_output=True)


class Hosts:
    """Network namespaces on a bridge, which is in one of its own; nothing else is reached."""

    def __init__(self, stack: ExitStack, count: int, network: str) -> None:
        self._network = network
        tag = secrets.token_hex(2)
        switch = f"dni-{tag}-s"
        self.names = [f"dni-{tag}-{number}" for number in range(count)]
        for name in (switch, *self.names):
            ip("netns", "add", name)
            stack.callback(gone, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "name", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        for number, name in enumerate(self.names):
            far = ("peer", "name", f"p{number}", "netns", switch)
            ip("-n", name, "link", "add", "name", "net0", "type", "veth", *far)
            ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "net0")
            six = f"fd00::{number + 1}/64"
            ip("-n", name, "address", "add", six, "dev", "net0", "nodad")
            ip("-n", name, "link", "set", "net0", "up")
            ip("-n", switch, "link", "set", f"p{number}", "master", "br0", "up")

    def address(self, number: int) -> str:
        """The address of a host."""
        return f"{self._network}.{number + 1}"

    def at(self, number: int) -> tuple[str, ...]:
        """The words before a command that run it on a host."""
        return ("ip", "netns", "exec", self.names[number])


@contextmanager
def network_hosts(count: int, network: str) -> Iterator[Hosts]:
    """So many hosts in `network`, such as 10.0.0; skips where there can be none."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        pytest.skip("needs Linux and iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    with ExitStack() as stack:
        try:
            made = Hosts(stack, count, network)
        except subprocess.CalledProcessError as error:
            if not any(words in error.stderr for words in FORBIDDEN):
                raise AssertionError(error.stderr) from error
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield made
