"""The head of a run on several machines: the one socket, who is there, and what they bring home."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from coordinator.cluster.artifacts import Uploads
from coordinator.cluster.registry import Agent, Registry
from coordinator.control.snapshot import HostStatus
from coordinator.lifecycle.events import RunBroken, WorkerExited
from coordinator.transport import CoordinatorTransport, Received
from protocol import Described, Hello, Leave, Ping, SpecError, ToCoordinator, ToWorker, build
from protocol.dataset_info import DatasetInfo
from protocol.endpoint import host_of
from protocol.messages import Died, Enrol, Goodbye, Refused, ToAgent, Upload
from protocol.pipeline import HEAD
from protocol.security.keys import PLAIN, KeyPair

LOST_SECONDS: Final = 5.0
"""Without a word from an agent for so long, it is taken for dead."""
HOME_SECONDS: Final = 10.0
"""How long a file may take that an agent brings home, after the last part of it came."""
LOOK_SECONDS: Final = 0.1
DEAF_SECONDS: Final = 1.0
"""Where the head did not look for so long, it was the head that was held up, and not the agents."""


class Head:
    """Agents enrol here, and their workers speak. See `coordinator.lifecycle.loop.Wires`.

    `tell` is called with a line for people about who came, went, or was refused.
    """

    def __init__(
        self,
        endpoint: str,
        registry: Registry,
        keys: KeyPair,
        home: KeyPair,
        tell: Callable[[str], None],
        plain: bool = False,
    ) -> None:
        """`keys` are the head's, `home` those of the workers that it starts itself.

        Nothing is encrypted where all is to be `plain`.
        """
        self.registry = registry
        self.public = PLAIN if plain else keys.public
        self.home = home
        self._tell = tell
        self._links = CoordinatorTransport(
            endpoint, registry.may_speak, keys, registry.allowed, plain
        )
        own = host_of(self.endpoint)
        registry.at_home(home.public, own, time.monotonic())
        self._folder: Path | None = None
        self.waiting_for = ""
        self._poll_control: Callable[[], None] = lambda: None
        self._died: list[WorkerExited | RunBroken] = []
        self._uploads = Uploads(tell)
        self._looked = time.monotonic()
        self._closed = False

    @property
    def endpoint(self) -> str:
        """Where agents come to."""
        return self._links.endpoint

    def begin(self, folder: Path, poll_control: Callable[[], None] = lambda: None) -> None:
        """Record the run in `folder`; `poll_control` serves its control socket.

        `poll_control` is called while `close` waits for files of the hosts.
        """
        self._folder = folder
        self._poll_control = poll_control

    # -- for the control socket

    def hosts(self) -> Sequence[HostStatus]:
        """The hosts that have enrolled. See `coordinator.control.snapshot.Hosts`."""
        now = time.monotonic()
        return [
            HostStatus(
                name=agent.name,
                host=platform.node() if agent.name == HEAD else agent.host,
                address=agent.address,
                slots=agent.slots,
                cpus=agent.cores,
                workers={name: sorted(cores) for name, cores in agent.workers.items()},
                silent_seconds=0.0 if agent.name == HEAD else now - agent.seen,
            )
            for agent in self.registry.agents.values()
        ]

    def revoke(self, name: str) -> None:
        """Refuse the key of the host `name` from now on; a run that needs the host ends."""
        if agent := self.registry.revoke(name):
            self._drop(agent, "its key was revoked")

    # -- as the line to the workers

    def send(self, name: str, message: ToWorker | ToAgent) -> None:
        """Hand `message` over for a worker or an agent."""
        self._links.send(name, message)

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """What the workers say; what agents say is dealt with here."""
        for heard in self._links.receive(seconds):
            if agent := self.registry.of(heard.key):
                agent.seen = time.monotonic()
            match heard.message:
                case Enrol() as message:
                    self._enrol(heard, message)
                case Died(name=name) as message:
                    self._bury(name, message)
                case Upload() as message:
                    own = self.registry.living_on(message.name)
                    self._uploads.take(self._folder, message, own)
                case Ping(name=name):
                    self._arrived(name)
                case Goodbye(name=name):
                    self._let_go(name)
                case Described() as message:
                    self._say_data(message)
                    yield message
                case message:
                    yield message
        self._look_after()

    def _say_data(self, message: Described) -> None:
        """Of facts that make no sense the run itself says what is wrong."""
        with suppress(SpecError):
            self._tell(f"data: {build(DatasetInfo, message.facts).summary}")

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """The workers that ended since the last call, and the hosts that have to leave."""
        died, self._died = self._died, []
        yield from died

    def close(self) -> None:
        """Let the agents bring home what they have, and go. To close again does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._see_home()
        finally:
            for name in self.registry.agents:
                self.send(name, Leave())
            self._links.close()
            self._uploads.close()

    def _see_home(self) -> None:
        """Wait for what agents bring. A worker that comes only now was not there to be told."""
        waiting = {name for name, agent in self.registry.agents.items() if agent.workers} - {HEAD}
        done = self._uploads.done
        self._uploads.at = time.monotonic()
        while waiting - done and time.monotonic() - self._uploads.at < HOME_SECONDS:
            for message in self.poll(0.1):
                if isinstance(message, Hello):
                    self.send(message.name, Leave())
            self._poll_control()
            waiting &= set(self.registry.agents)
        for name in sorted(waiting - done):
            self._tell(f"{name} did not bring home all of its traces")

    # -- agents

    def _enrol(self, heard: Received, message: Enrol) -> None:
        """Enrol a host, or refuse it."""
        answer = self.registry.enrol(message, heard.key, time.monotonic())
        self._links.answer(heard.connection, answer)
        if isinstance(answer, Refused):
            self._tell(f"refused {message.host} at {message.address}: {answer.text}")

    def _arrived(self, name: str) -> None:
        """The first word of an agent under its own name."""
        agent = self.registry.agents.get(name)
        if agent is not None and not agent.here:
            agent.here = True
            slots = f"{agent.slots} {'slot' if agent.slots == 1 else 'slots'}"
            begun = any(other.workers for other in self.registry.agents.values())
            reserve = ", in reserve" if begun else ""
            self._tell(f"{name}: {agent.host} at {agent.address}, {slots}{reserve}")

    def _bury(self, name: str, message: Died) -> None:
        agent = self.registry.agents.get(name)
        if agent is not None and message.worker in agent.workers:
            status = -message.signal if message.signal else message.status
            self._died.append(WorkerExited(message.worker, status, message.words))

    def _let_go(self, name: str) -> None:
        """An agent was interrupted. If it has workers the run ends, so that all hand in weights."""
        agent = self.registry.agents.get(name)
        if agent is None or name == HEAD:
            return
        if agent.workers:
            held = ", ".join(agent.workers)
            text = f"{name} ({agent.host}) was interrupted and leaves with {held}"
            self._tell(f"{text}: the run ends")
            self._died.append(RunBroken(text))
        else:
            self.registry.revoke(name)
            self._tell(f"{name} ({agent.host}) has left")
            self.send(name, Leave())

    def _look_after(self) -> None:
        """Now and then: drop the hosts that have been silent for too long."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        deaf, self._looked = now - self._looked > DEAF_SECONDS, now
        for agent in list(self.registry.agents.values()):
            if deaf:
                agent.seen = now
            if agent.name != HEAD and now - agent.seen > LOST_SECONDS:
                self.registry.revoke(agent.name)
                self._drop(agent, f"nothing was heard of it for {LOST_SECONDS:.0f} s")

    def _drop(self, agent: Agent, why: str) -> None:
        self._tell(f"{agent.name} ({agent.host}) is out: {why}")
        self.send(agent.name, Refused(why))
        how = f"is gone: {agent.name}, {why}"
        self._died += [WorkerExited(worker, 0, reason=how) for worker in agent.workers]
