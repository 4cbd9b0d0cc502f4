"""A head whose hosts are no more than a key and a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from coordinator.cluster.agent import software
from coordinator.cluster.head import Head
from coordinator.cluster.registry import Registry
from coordinator.transport import AgentTransport
from protocol import Ping, Pong, ToCoordinator
from protocol.messages import ToAgent, Upload, Welcome
from protocol.security.keys import KeyPair
from protocol.security.token import Token
from protocol.transport.curve import generate_keys
from tests.cluster_help import BIND, enrol_request
from tests.dni import wait_until


class HeadWithHosts:
    """A head, what it reported, and hosts that have enrolled."""

    def __init__(self, folder: Path, uses: int = 60, upload_seconds: float = 0.3) -> None:
        self.reported: list[str] = []
        self.pings = 0
        self.received: list[ToCoordinator] = []
        self.keys = generate_keys()
        self.enrolment = generate_keys()
        stages = ("layer0", "layer1")
        self.registry = Registry(stages, self.enrolment.public, uses, software(), "clock")
        self.head = Head(
            BIND,
            self.registry,
            self.reported.append,
            self.keys,
            generate_keys(),
            upload_seconds=upload_seconds,
        )
        self.head.add_own_host("ada", 0, 1)
        self.folder = folder
        for name in ("trace", "logs"):
            (folder / name).mkdir()
        self.head.record_in(folder)
        self.stack = ExitStack()

    @property
    def token(self) -> Token:
        """The token of the head."""
        secret = bytes.fromhex(self.enrolment.secret)
        return Token((self.head.endpoint,), bytes.fromhex(self.keys.public), secret)

    def host(self, *workers: str) -> tuple[str, KeyPair]:
        """A host that has enrolled, with workers of one layer each; its name and its keys."""
        keys = generate_keys()
        answer = self.registry.enrol(enrol_request(keys), self.enrolment.public, 1e12)
        assert isinstance(answer, Welcome)
        self.registry.hosts[answer.name].workers = {w: frozenset({w}) for w in workers}
        return answer.name, keys

    def connect(self, keys: KeyPair) -> AgentTransport:
        """A connection to the head that authenticates with `keys`."""
        line = AgentTransport(self.head.endpoint, keys, self.keys.public)
        self.stack.callback(line.close, 0)
        return line

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Poll the head until `condition` holds."""

        def held() -> object:
            self.received += self.head.poll(0.02)
            return condition()

        wait_until(held, what)

    def answer(self, line: AgentTransport) -> ToAgent:
        """The next message of the head on `line`."""
        found: list[ToAgent] = []

        def received() -> bool:
            found.extend(line.receive(0.01))
            return bool(found)

        self.until(received, "the head answers")
        return found[0]

    def wait_until_received(self, line: AgentTransport, name: str) -> None:
        """Wait until the head has received all that was sent on `line`."""
        self.pings += 1
        number = self.pings
        line.send(Ping(name, number))

        def answered() -> bool:
            return any(isinstance(m, Pong) and m.sent_at == number for m in line.receive(0.01))

        self.until(answered, "the head answers a ping")


@contextmanager
def head_with_hosts(folder: Path, upload_seconds: float = 0.3) -> Iterator[HeadWithHosts]:
    """A head for a test, which records in `folder`."""
    cluster = HeadWithHosts(folder, upload_seconds=upload_seconds)
    with cluster.stack, closing(cluster.head):
        yield cluster


def part(name: str, path: str, data: bytes, offset: int = 0, last: bool = True) -> Upload:
    """A part of the file `path` from the agent `name`."""
    return Upload(name, path, offset, last, np.frombuffer(data, np.uint8))
