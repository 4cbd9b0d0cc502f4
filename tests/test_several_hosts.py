"""Real hosts: a head and two machines, each with a network and an address of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import COMMAND, Dni
from tests.several_help import Several, machines

pytestmark = pytest.mark.slow

HOSTS = 3
MNIST = Path(__file__).parents[1] / "examples" / "mnist-fcn4.toml"
LATE = 240.0
FORBIDDEN = ("not permitted", "not supported", "Unknown device type", "denied")
"""Of what `ip` says where one has no right to networks of one's own, or the kernel none to give."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def gone(*words: str) -> None:
    subprocess.run(["ip", *words], check=False, capture_output=True)


class Hosts:
    """Network namespaces on a bridge, which is in one of its own; nothing else is reached."""

    def __init__(self, stack: ExitStack, count: int) -> None:
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
            ip("-n", name, "link", "set", "net0", "up")
            ip("-n", switch, "link", "set", f"p{number}", "master", "br0", "up")

    @staticmethod
    def address(number: int) -> str:
        return f"10.78.0.{number + 1}"

    def command(self, number: int) -> tuple[str, ...]:
        """What runs `dni` on a host."""
        return ("ip", "netns", "exec", self.names[number], *COMMAND)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if sys.platform != "linux" or shutil.which("ip") is None:
        pytest.skip("needs Linux and iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    with ExitStack() as stack:
        try:
            made = Hosts(stack, HOSTS)
        except subprocess.CalledProcessError as error:
            if not any(words in error.stderr for words in FORBIDDEN):
                raise AssertionError(error.stderr) from error
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield made


@pytest.fixture
def several(dni: Dni) -> Iterator[Several]:
    with machines(dni) as found:
        yield found


def test_a_head_and_machines_on_hosts_of_their_own_learn_what_one_machine_does(
    dni: Dni, several: Several, hosts: Hosts
) -> None:
    data = os.environ.get("DNI_DATA")
    if not data:
        pytest.skip("DNI_DATA names no folder with MNIST in it")
    dni.environment["DNI_DATA"] = data
    words = ("-o", "train.steps=3000", "-o", "train.lr_drops=[1800,2550]", "--workers", "4")
    head = several.up(
        *words,
        pipeline=str(MNIST),
        bind=f"tcp://{hosts.address(0)}:*",
        command=hosts.command(0),
    )
    for number in (1, 2):
        several.join(head, "--slots", "2", command=hosts.command(number))
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0, 0]
    assert head.summary()["test_error"] <= 2.0
    for number in (1, 2):
        assert f" at {hosts.address(number)}, 2 slots" in head.text
    dni.nothing_left()
