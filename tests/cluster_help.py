"""A cluster on this host: a head and hosts that join it over the loopback interface."""

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
from safetensors.numpy import load_file

from coordinator.cluster.agent import software
from coordinator.control.client import status
from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from coordinator.transport import AgentTransport
from protocol import VERSION, UserError
from protocol.messages import Enrol, ToAgent, Welcome
from protocol.security.keys import KeyPair
from protocol.security.token import Token
from protocol.transport.curve import keys_from_secret
from tests.dni import ENDLESS, LAYERS, Dni, Training
from tests.forked import CommandProcess, workers_of

BIND = "tcp://127.0.0.1:*"
NOWHERE = KeyPair(public="", secret="")


@dataclass(frozen=True)
class JoinedHost:
    """A `dni join` in progress."""

    process: CommandProcess
    output: Path

    @property
    def text(self) -> str:
        """The output so far."""
        return self.output.read_text("utf-8")

    @property
    def name(self) -> str:
        """The name of the host in the run; empty until the head has enrolled it."""
        found = re.search(r" as (host\d+);", self.text)
        return found[1] if found else ""

    def workers(self) -> dict[str, psutil.Process]:
        """The workers that run there now."""
        return workers_of(self.process.pid)


@contextmanager
def loopback_cluster(dni: Dni) -> Iterator[Cluster]:
    """A cluster for a test; at the end its hosts are killed."""
    cluster = Cluster(dni)
    try:
        yield cluster
    finally:
        for host in cluster.hosts:
            host.process.kill()
            host.process.wait()


class Cluster:
    """A head that runs TINY, and the hosts that join it."""

    def __init__(self, dni: Dni) -> None:
        self.dni = dni
        self.hosts: list[JoinedHost] = []

    def up(
        self,
        *arguments: str,
        run_dir: str = "run",
        pipeline: str = "tiny.toml",
        bind: str = BIND,
        command: Sequence[str] = (),
    ) -> Training:
        """Start a head, and wait until hosts can join. `command` is for `Dni.spawn`."""
        output, errors = (self.dni.home / f"{run_dir}.{part}" for part in ("out", "err"))
        with output.open("wb") as out, errors.open("wb") as err:
            up = ("up", pipeline, "--bind", bind, "--run-dir", run_dir, *arguments)
            process = self.dni.spawn(up, out, err, command=command)
        head = Training(process, self.dni.home / run_dir, output, errors)
        self.dni.trainings.append(head)
        self.dni.until(lambda: "waiting for" in head.text, "hosts can join")
        return head

    def join(
        self,
        head: Training,
        *arguments: str,
        command: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> JoinedHost:
        """Start a host in the folder `cwd`; the host enrols later."""
        output = self.dni.home / f"join{len(self.hosts)}.out"
        with output.open("wb") as out:
            join = ("join", token_text(head), *arguments)
            process = self.dni.spawn(join, out, out, folder=cwd, command=command)
        self.hosts.append(JoinedHost(process, output))
        return self.hosts[-1]

    def train(self, *arguments: str) -> tuple[Training, dict[str, JoinedHost]]:
        """An endless run with one host per layer, once all layers learn; the hosts by layer."""
        head = self.up(*ENDLESS, *arguments)
        layers = ("layer0", "layer1", "layer2")
        for number in range(len(layers)):
            self.join(head, "--layers", str(number))
        until_learning(self, head)
        at = {worker: host for host in self.hosts for worker in host.workers()}
        assert set(at) == set(layers)
        return head, at

    def reserve(self, head: Training) -> JoinedHost:
        """One more host, once the head shows it in the status."""
        host = self.join(head)
        self.dni.until(lambda: host.name, "it has joined")
        self.dni.until(lambda: host.name in status_hosts(head), "it is in the status")
        return host

    def exit_codes(self, seconds: float = 20.0) -> list[int]:
        """The exit codes of all hosts, in the order in which they were started."""
        return [host.process.wait(seconds) for host in self.hosts]


def token_text(head: Training) -> str:
    """The token that the head printed."""
    found = re.findall(r"^dni join (\S+)$", head.text, re.MULTILINE)
    assert len(found) == 1, head.text
    return str(found[0])


def token(head: Training) -> Token:
    """The token that the head printed, parsed."""
    return Token.parse(token_text(head))


def until_learning(cluster: Cluster, head: Training) -> None:
    """Wait until every layer has reported more updates."""
    before = len(head.metrics())

    def more() -> bool:
        assert head.process.poll() is None, head.text
        said = {entry["layer"] for entry in head.metrics()[before:] if entry.get("updates")}
        return {"layer0", "layer1", "layer2"} <= said

    cluster.dni.until(more, "every layer has learnt something")


def status_hosts(head: Training) -> dict[str, dict[str, Any]]:
    """The hosts in the status of the run, by name; empty while the run does not answer."""
    with suppress(UserError):
        return {host["name"]: host for host in status(head.folder)["hosts"]}
    return {}


def enrol_request(keys: KeyPair, slots: int = 1) -> Enrol:
    """A request to enrol `keys`."""
    return Enrol(VERSION, software(), keys.public, "stranger", "127.0.0.1", slots, 1, ())


@contextmanager
def agent_transport(head: Training, keys: KeyPair) -> Iterator[AgentTransport]:
    """A connection to the head that authenticates with `keys`."""
    parsed = token(head)
    connection = AgentTransport(parsed.addresses[0], keys, parsed.head.hex())
    try:
        yield connection
    finally:
        connection.close(0)


def next_message(cluster: Cluster, connection: AgentTransport) -> ToAgent:
    """The next message of the head."""
    found: list[ToAgent] = []

    def answered() -> bool:
        found.extend(connection.receive(0.1))
        return bool(found)

    cluster.dni.until(answered, "the head sends a message")
    return found[0]


def enrol(cluster: Cluster, head: Training, keys: KeyPair) -> str:
    """Enrol `keys`; the name of their host in the run."""
    with agent_transport(head, keys_from_secret(token(head).secret)) as connection:
        connection.send(enrol_request(keys))
        answer = next_message(cluster, connection)
        assert isinstance(answer, Welcome), answer
        return answer.name


def port(endpoint: str) -> int:
    """The port of an address."""
    found = urlsplit(endpoint).port
    assert found is not None
    return found


def listening_addresses(process: psutil.Process) -> list[tuple[str, int]]:
    """The addresses at which a process listens on the network."""
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def raw_reply(number: int, data: bytes) -> bytes:
    """The reply to `data`, until the peer closes the connection or stops sending."""
    with closing(socket.create_connection(("127.0.0.1", number), timeout=0.2)) as peer:
        answer = b""
        with suppress(ConnectionError, TimeoutError):
            peer.sendall(data)
            while part := peer.recv(4096):
                answer += part
    return answer


def weights(folder: Path) -> dict[str, bytes]:
    """The bytes of every array that the layers of a run left."""
    return {
        f"{name}.{key}": array.tobytes()
        for name in LAYERS
        for key, array in load_file(folder / "weights" / f"{name}.safetensors").items()
    }


def assert_balanced(folder: Path) -> None:
    """Both ends of every edge account for every message."""
    traces = Traces(folder)
    assert set(traces.files) == {"source", *LAYERS}
    found = edge_counts(traces)
    assert {str(counts.edge) for counts in found} == {str(edge) for edge in traces.edges}
    for counts in found:
        assert counts.balanced, counts
        assert not (counts.kind == "activation" and counts.lost_messages), counts
