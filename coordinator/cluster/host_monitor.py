"""Watches the hosts of a run: joins, exits of their workers, silence, departure, revocation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from coordinator.cluster.registry import Host, Registry
from coordinator.lifecycle.events import RunBroken, WorkerExited
from protocol import Leave
from protocol.config import HEAD
from protocol.messages import Died, Enrol, Refused, ToAgent, Welcome

LOST_SECONDS: Final = 5.0
"""Silence after which a host is lost."""
CHECK_SECONDS: Final = 0.1
STALL_SECONDS: Final = 1.0
"""If the head itself did not check for this long, the silence of hosts proves nothing."""


class HostMonitor:
    """Keeps `registry` up to date.

    `send` sends a message to an agent, `report` takes lines for a person, `lost_seconds` is the
    silence after which a host is lost, and `clock` gives the time in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        send: Callable[[str, ToAgent], None],
        report: Callable[[str], None],
        lost_seconds: float = LOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._send = send
        self._report = report
        self._lost_seconds = lost_seconds
        self._exits: list[WorkerExited | RunBroken] = []
        self._clock = clock
        self._checked = clock()

    def on_enrol(self, message: Enrol, key: str) -> Welcome | Refused:
        """The answer to a request to join the run."""
        answer = self._registry.enrol(message, key, self._clock())
        if isinstance(answer, Refused):
            self._report(f"refused {message.host} at {message.address}: {answer.text}")
        return answer

    def on_ping(self, name: str) -> None:
        """The agent of a host sent a message under its own name; the first one makes it present."""
        host = self._registry.hosts.get(name)
        if host is None or host.present:
            return
        host.present = True
        slots = f"{host.slots} {'slot' if host.slots == 1 else 'slots'}"
        training = any(other.workers for other in self._registry.hosts.values())
        reserve = ", in reserve" if training else ""
        self._report(f"{name}: {host.host} at {host.address}, {slots}{reserve}")

    def on_died(self, message: Died) -> None:
        """A worker on the host `message.name` ended."""
        host = self._registry.hosts.get(message.name)
        if host is not None and message.worker in host.workers:
            status = -message.signal if message.signal else message.status
            self._exits.append(WorkerExited(message.worker, status, message.log_tail))

    def on_goodbye(self, name: str) -> None:
        """The agent of a host was interrupted; if it runs workers the run ends."""
        host = self._registry.hosts.get(name)
        if host is None or name == HEAD:
            return
        if host.workers:
            held = ", ".join(host.workers)
            text = f"{name} ({host.host}) was interrupted and leaves with {held}"
            self._report(f"{text}: the run ends")
            self._exits.append(RunBroken(text))
        else:
            self._registry.revoke(name)
            self._report(f"{name} ({host.host}) has left")
            self._send(name, Leave())

    def revoke(self, name: str) -> None:
        """Take back the key of the host `name`; nothing happens if there is none."""
        if host := self._registry.revoke(name):
            self._remove(host, "its key was revoked")

    def check(self) -> None:
        """Remove hosts that have been silent for too long; called often, cheap."""
        now = self._clock()
        if now - self._checked < CHECK_SECONDS:
            return
        stalled, self._checked = now - self._checked > STALL_SECONDS, now
        for host in list(self._registry.hosts.values()):
            if stalled:
                host.last_seen = now
            if host.name != HEAD and now - host.last_seen > self._lost_seconds:
                self._registry.revoke(host.name)
                self._remove(host, f"no message for {self._lost_seconds:g} s")

    def _remove(self, host: Host, reason: str) -> None:
        self._report(f"{host.name} ({host.host}) is out: {reason}")
        self._send(host.name, Refused(reason))
        reason = f"is gone: {host.name}, {reason}"
        self._exits += [WorkerExited(worker, 0, reason=reason) for worker in host.workers]

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """What happened since the last call."""
        exits, self._exits = self._exits, []
        yield from exits
