"""The control socket of a run that this process coordinates."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from coordinator.control.messages import RevokeRequest, StopRequest
from coordinator.control.server import ControlServer
from coordinator.control.snapshot import RunHosts, RunState, Snapshot
from coordinator.interrupts import InterruptCounter
from coordinator.observers.run_stats import RunStats

POLL_SECONDS: Final = 0.05


class RunControl:
    """Answers status requests, and hands on stop and revoke requests.

    A stop request counts as an interrupt of the user in `interrupts`, unless the run is stopping
    already: a second interrupt would end it without its weights. `hosts` are the hosts of the
    run, None until the event loop sets them. `stopping` is set by the event loop when the run ends
    for whatever reason. Other parameters are those of `ControlServer`.
    """

    def __init__(
        self, sockets: Path, run: Path, stats: RunStats, interrupts: InterruptCounter, cluster: bool
    ) -> None:
        self.hosts: RunHosts | None = None
        self.stopping = False
        self._stats = stats
        self._interrupts = interrupts
        self._due = 0.0
        self._server = ControlServer(sockets, run, self.snapshot, cluster)

    def poll(self) -> None:
        """Serve the clients, at most twenty times a second; never blocks."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + POLL_SECONDS
        for request in self._server.poll():
            match request:
                case StopRequest() if self._state() != "stopping":
                    self._interrupts.request_stop()
                case RevokeRequest(host=host) if self.hosts:
                    self.hosts.revoke(host)

    def snapshot(self) -> Snapshot:
        """How the run stands now."""
        stats, state = self._stats, self._state()
        return Snapshot(
            state=state,
            waiting_for=self.hosts.waiting_for if self.hosts and state == "waiting" else "",
            endpoint=self.hosts.endpoint if self.hosts else "",
            step=stats.step,
            steps=stats.pipeline.train.steps,
            train_loss=stats.loss,
            test_error=stats.test_error,
            hosts=self.hosts.hosts() if self.hosts else (),
            stages=[stats.rows[name] for name in stats.pipeline.stages if name in stats.rows],
        )

    def _state(self) -> RunState:
        if self._interrupts.count or self.stopping:
            return "stopping"
        if self.hosts and self.hosts.waiting_for:
            return "waiting"
        return "training" if self._stats.rows else "starting"

    def close(self) -> None:
        """Answer nothing any more, and remove what leads here."""
        self._server.close()
