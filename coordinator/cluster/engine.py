"""Workers on the machines that joined, and the source where the data are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from coordinator.cluster.agent import at_home
from coordinator.cluster.head import Head
from coordinator.cluster.placement import Offer, place
from coordinator.engines.processes import Processes
from coordinator.lifecycle.events import RunBroken, WorkerExited
from coordinator.run_folder.layout import LOGS, TRACE
from protocol import Pipeline, RunError
from protocol.clock import clock_name
from protocol.endpoint import ANY_PORT, Endpoint
from protocol.messages import Launch
from protocol.pipeline import HEAD, SOURCE


class SeveralEngine:
    """Has the agents of `head` start the workers. See `coordinator.lifecycle.loop.Engine`.

    A worker there has so many `threads`; 0: as many as its machine has cores for it.
    """

    def __init__(
        self, head: Head, run: Path, sockets: Path, threads: int, costs: Mapping[str, float]
    ) -> None:
        self._head = head
        self._trace = str((run / TRACE).resolve())
        self._threads = threads
        self._costs = costs
        self._processes = Processes(run / LOGS, 1, sockets)

    def links(self, pipeline: Pipeline) -> Head:  # noqa: ARG002
        """The line to all workers."""
        return self._head

    def start(self, pipeline: Pipeline) -> None:
        """Place the workers, and have them started."""
        agents = self._head.registry.agents
        offers = [Offer(a.name, a.slots, a.cores, a.wishes) for a in agents.values() if a.here]
        at = self._head.registry.called(pipeline.data.host)
        if at is None:
            raise RunError(f"data.host: {pipeline.data.host} is gone")
        placed = {SOURCE: at.name, **place(pipeline, offers, self._costs)}
        for worker, name in placed.items():
            agents[name].workers[worker] = frozenset(pipeline.workers[worker])
        configs = {worker: self._config(pipeline, worker, placed) for worker in placed}
        for name in dict.fromkeys(placed.values()):
            mine = {worker: configs[worker] for worker, at in placed.items() if at == name}
            if name == HEAD:
                head = self._head
                for worker, config in mine.items():
                    own = at_home(config, head.endpoint, self._trace, head.home, head.public)
                    self._processes.start(worker, own)
            else:
                self._head.send(name, Launch(dict(mine), self._threads))

    def _config(
        self, pipeline: Pipeline, worker: str, placed: Mapping[str, str]
    ) -> dict[str, object]:
        """What the worker is started with, but for what its own machine adds."""
        agents = self._head.registry.agents
        hosts = {core: name for name, cores in pipeline.workers.items() for core in cores}
        inboxes, peers = {}, {}
        for edge in pipeline.edges:
            ends = hosts[edge.sender], hosts[edge.receiver]
            if worker not in ends or ends[0] == ends[1]:
                continue
            other = ends[0] if ends[1] == worker else ends[1]
            peers[str(edge)] = agents[placed[other]].key
            if ends[1] == worker:
                inboxes[str(edge)] = str(Endpoint(agents[placed[worker]].address, ANY_PORT))
        return {"name": worker, "inboxes": inboxes, "peers": peers, "clock": clock_name()}

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """The workers that ended since the last call, and who has to leave."""
        yield from self._head.exits()
        yield from self._processes.exits()

    def close(self) -> None:
        """See to it that nothing is left at the head."""
        self._processes.close()
