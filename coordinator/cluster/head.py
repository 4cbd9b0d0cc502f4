"""The head of a run: its connections to workers and agents, its hosts, and the files they send."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from coordinator.cluster.artifacts import ArtifactCollector
from coordinator.cluster.host_monitor import LOST_SECONDS, HostMonitor
from coordinator.cluster.registry import Host, Registry
from coordinator.lifecycle.events import RunBroken, WorkerExited
from coordinator.transport import CoordinatorTransport, Received
from protocol import DatasetReady, Hello, Leave, Ping, SpecError, ToCoordinator, ToWorker, from_dict
from protocol.config import HEAD
from protocol.dataset_info import DatasetInfo
from protocol.endpoint import host_of
from protocol.messages import Died, Enrol, Goodbye, ToAgent, Upload
from protocol.security.keys import PLAIN, KeyPair

UPLOAD_SECONDS: Final = 10.0
"""How long the next part of a file may take that an agent sends at the end of a run."""


class Head:
    """Connects the coordinator with workers and agents.

    Without `keys` the run is one of this host alone: only the head's own workers may connect, over
    a Unix socket. With `keys` all connections are authenticated, and encrypted unless `plain`;
    `worker_keys` belong to the workers that the head itself starts. `report` takes lines for a
    person about hosts that join, leave or are refused.
    """

    def __init__(
        self,
        endpoint: str,
        registry: Registry,
        report: Callable[[str], None],
        keys: KeyPair | None = None,
        worker_keys: KeyPair | None = None,
        plain: bool = False,
        *,
        lost_seconds: float = LOST_SECONDS,
        upload_seconds: float = UPLOAD_SECONDS,
    ) -> None:
        self.registry = registry
        self.public = PLAIN if plain or keys is None else keys.public
        self.worker_keys = worker_keys
        self._report = report
        self._upload_seconds = upload_seconds
        self._transport = CoordinatorTransport(
            endpoint, registry.may_send_as, keys, registry.may_connect, plain
        )
        self._monitor = HostMonitor(registry, self.send, report, lost_seconds)
        self._artifacts = ArtifactCollector(report)
        self._folder: Path | None = None
        self._while_waiting: Callable[[], None] = lambda: None
        self._closed = False

    @property
    def endpoint(self) -> str:
        """Where workers and agents connect."""
        return self._transport.endpoint

    def add_own_host(self, host: str, slots: int, cores: int) -> None:
        """Register the head's own host, named `host`, which runs workers without an agent."""
        key = self.worker_keys.public if self.worker_keys else ""
        address = host_of(self.endpoint) if key else ""
        now = time.monotonic()
        own = Host(HEAD, host, address, key, slots, cores, (), now, present=True)
        self.registry.add_head(own)

    def record_in(self, folder: Path, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Write the files that agents send into `folder`, the folder of the run.

        `while_waiting` is called while `close` waits for these files.
        """
        self._folder = folder
        self._while_waiting = while_waiting

    def send(self, name: str, message: ToWorker | ToAgent) -> None:
        """Send `message` to a worker or an agent; never blocks."""
        self._transport.send(name, message)

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """Messages of workers; those of agents are handled here."""
        for received in self._transport.receive(seconds):
            if host := self.registry.by_key(received.key):
                host.last_seen = time.monotonic()
            match received.message:
                case Enrol() | Died() | Upload() | Ping() | Goodbye():
                    self._on_agent_message(received)
                case DatasetReady() as message:
                    self._report_dataset(message)
                    yield message
                case message:
                    yield message
        self._monitor.check()

    def _on_agent_message(self, received: Received) -> None:
        match received.message:
            case Enrol() as message:
                answer = self._monitor.on_enrol(message, received.key)
                self._transport.answer(received.connection, answer)
            case Died() as message:
                self._monitor.on_died(message)
            case Upload() as message:
                own = self.registry.names_on(message.name)
                self._artifacts.add(self._folder, message, own)
            case Ping(name=name):
                self._monitor.on_ping(name)
            case Goodbye(name=name):
                self._monitor.on_goodbye(name)
            case _:
                pass

    def _report_dataset(self, message: DatasetReady) -> None:
        """Invalid dataset information is not reported: the state machine fails the run for it."""
        with suppress(SpecError):
            self._report(f"data: {from_dict(DatasetInfo, message.dataset).summary}")

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """Workers on other hosts that ended since the last call, and hosts that have to leave."""
        return self._monitor.exits()

    def revoke(self, name: str) -> None:
        """Take back the key of the host `name`; nothing happens if there is none."""
        self._monitor.revoke(name)

    def close(self) -> None:
        """Collect what agents still send, and let them leave. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._collect_artifacts()
        finally:
            for name in self.registry.hosts:
                self.send(name, Leave())
            self._transport.close()
            self._artifacts.close()

    def _collect_artifacts(self) -> None:
        """Wait until every agent has sent its files, or sends nothing for too long.

        A worker that says Hello only now was not connected when the others were told to leave.
        """
        hosts = self.registry.hosts
        waiting = {name for name, host in hosts.items() if host.workers} - {HEAD}
        done = self._artifacts.complete
        self._artifacts.last_part = time.monotonic()
        while waiting - done and not self._artifacts.silent(self._upload_seconds):
            for message in self.poll(0.1):
                if isinstance(message, Hello):
                    self.send(message.name, Leave())
            self._while_waiting()
            waiting &= set(hosts)
        for name in sorted(waiting - done):
            self._report(f"{name} did not send all of its traces and logs")
