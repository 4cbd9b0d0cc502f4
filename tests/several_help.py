"""Heads and machines as tests run them: all of them here, joined over the loopback."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from coordinator.cluster.agent import software
from coordinator.control.client import status
from coordinator.transport import AgentTransport
from protocol import VERSION, UserError
from protocol.messages import Enrol, ToAgent, Welcome
from protocol.security.keys import KeyPair
from protocol.security.token import Token
from protocol.transport.curve import keys_from_secret
from tests.conftest import ENDLESS, Dni, Training
from tests.forked import Process, workers_of

BIND = "tcp://127.0.0.1:*"
NOWHERE = KeyPair(public="", secret="")


@dataclass(frozen=True)
class Machine:
    """A `dni join` under way."""

    process: Process
    output: Path

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text("utf-8")

    @property
    def name(self) -> str:
        """How the head calls it; empty before it has."""
        found = re.search(r" as (host\d+);", self.text)
        return found[1] if found else ""

    def workers(self) -> dict[str, psutil.Process]:
        """The workers that it has now."""
        return workers_of(self.process.pid)


@contextmanager
def machines(dni: Dni) -> Iterator[Several]:
    """For a test; whatever a failed one leaves is killed."""
    several = Several(dni)
    try:
        yield several
    finally:
        for machine in several.machines:
            machine.process.kill()
            machine.process.wait()


class Several:
    """A head of TINY and the machines that join it."""

    def __init__(self, dni: Dni) -> None:
        self.dni = dni
        self.machines: list[Machine] = []

    def up(
        self,
        *words: str,
        run_dir: str = "run",
        pipeline: str = "tiny.toml",
        bind: str = BIND,
        command: Sequence[str] = (),
    ) -> Training:
        """Start a head, and wait until one can join. `command` is for `Dni.spawn`."""
        output, errors = (self.dni.home / f"{run_dir}.{part}" for part in ("out", "err"))
        with output.open("wb") as out, errors.open("wb") as err:
            up = ("up", pipeline, "--bind", bind, "--run-dir", run_dir, *words)
            process = self.dni.spawn(up, out, err, command=command)
        head = Training(process, self.dni.home / run_dir, output, errors)
        self.dni.trainings.append(head)
        self.dni.until(lambda: "waiting for" in head.text, "one can join")
        return head

    def join(
        self,
        head: Training,
        *words: str,
        command: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> Machine:
        """Start a machine, in the folder `cwd`; it need not have enrolled when this returns."""
        output = self.dni.home / f"join{len(self.machines)}.out"
        with output.open("wb") as out:
            join = ("join", line(head), *words)
            process = self.dni.spawn(join, out, out, folder=cwd, command=command)
        self.machines.append(Machine(process, output))
        return self.machines[-1]

    def train(self, *words: str) -> tuple[Training, dict[str, Machine]]:
        """A run that does not end by itself, a machine a layer, when all learn; by layers."""
        head = self.up(*ENDLESS, *words)
        layers = ("layer0", "layer1", "layer2")
        for number in range(len(layers)):
            self.join(head, "--layers", str(number))
        learning(self, head)
        at = {worker: m for m in self.machines for worker in m.workers()}
        assert set(at) == set(layers)
        return head, at

    def reserve(self, head: Training) -> Machine:
        """One more machine, of which the head knows."""
        machine = self.join(head)
        self.dni.until(lambda: machine.name, "it has joined")
        self.dni.until(lambda: machine.name in standing(head), "it is in the status")
        return machine

    def ends(self, seconds: float = 20.0) -> list[int]:
        """The exit codes of all machines, in the order of their coming."""
        return [machine.process.wait(seconds) for machine in self.machines]


def line(head: Training) -> str:
    """The token that the head printed."""
    found = re.findall(r"^dni join (\S+)$", head.text, re.MULTILINE)
    assert len(found) == 1, head.text
    return str(found[0])


def token(head: Training) -> Token:
    """The same, read."""
    return Token.read(line(head))


def learning(several: Several, head: Training) -> None:
    """Wait until every layer has learnt more than it has now."""
    before = len(head.metrics())

    def more() -> bool:
        assert head.process.poll() is None, head.text
        said = {entry["layer"] for entry in head.metrics()[before:] if entry.get("updates")}
        return {"layer0", "layer1", "layer2"} <= said

    several.dni.until(more, "every layer has learnt something")


def standing(head: Training) -> dict[str, dict[str, Any]]:
    """The hosts in the status of the run, by name; empty while the run does not answer."""
    with suppress(UserError):
        return {host["name"]: host for host in status(head.folder)["hosts"]}
    return {}


def request(keys: KeyPair, slots: int = 1) -> Enrol:
    """What a machine asks with."""
    return Enrol(VERSION, software(), keys.public, "stranger", "127.0.0.1", slots, 1, ())


@contextmanager
def speaking(head: Training, keys: KeyPair) -> Iterator[AgentTransport]:
    """A line to the head, under a key."""
    spoken = token(head)
    made = AgentTransport(spoken.addresses[0], keys, spoken.head.hex())
    try:
        yield made
    finally:
        made.close(0)


def heard(several: Several, line: AgentTransport) -> ToAgent:
    """The next that the head says."""
    found: list[ToAgent] = []

    def answered() -> bool:
        found.extend(line.receive(0.1))
        return bool(found)

    several.dni.until(answered, "the head says something")
    return found[0]


def enrolled(several: Several, head: Training, keys: KeyPair) -> str:
    """The name under which the head knows `keys` from now on."""
    with speaking(head, keys_from_secret(token(head).secret)) as line:
        line.send(request(keys))
        answer = heard(several, line)
        assert isinstance(answer, Welcome), answer
        return answer.name


def port(endpoint: str) -> int:
    """The port of an address."""
    found = urlsplit(endpoint).port
    assert found is not None
    return found


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    """Where a process waits for others over the network."""
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def raw(at: int, data: bytes) -> bytes:
    """What is answered to bytes that are no ZeroMQ, until the other side leaves or waits."""
    with closing(socket.create_connection(("127.0.0.1", at), timeout=0.2)) as peer:
        answer = b""
        with suppress(ConnectionError, TimeoutError):
            peer.sendall(data)
            while part := peer.recv(4096):
                answer += part
    return answer
