"""The engine of workers that are processes: on this host alone, or on all hosts of a cluster.

A local run is a cluster of one host, whose workers connect over Unix sockets. Both kinds of run
place their workers with `placement` and configure them with `assembly`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from coordinator.cluster.assembly import complete_config, worker_configs
from coordinator.cluster.gather import Gathering, Policy
from coordinator.cluster.head import Head
from coordinator.cluster.launchers.launcher import Launcher
from coordinator.cluster.listen import Listen
from coordinator.cluster.placement import limit_workers, place_workers
from coordinator.cluster.registry import Host
from coordinator.control.snapshot import HostStatus
from coordinator.engines.processes import Processes
from coordinator.lifecycle.engine import ENGINE_API, Job, require_local_data
from coordinator.lifecycle.events import RunBroken, WorkerExited
from coordinator.lifecycle.run import STOP_SECONDS
from coordinator.resources import blas
from coordinator.resources.descriptors import ensure, of_head, of_workers
from coordinator.run_folder.layout import LOGS, TRACE
from protocol import Pipeline, RunError, ToCoordinator, ToWorker
from protocol.config import HEAD
from protocol.messages import Launch
from protocol.pipeline import SOURCE

REMOTE_STOP_SECONDS: Final = 10.0
"""How long a worker has to send its weights where they travel between hosts."""


class ClusterEngine:
    """Runs workers as processes of this host and of hosts that join.

    `listen` opens the head. `launcher` starts agents, and `policy` decides when enough hosts have
    joined; without them all workers run on this host. Implements
    `coordinator.lifecycle.engine.Engine`.
    """

    api_version = ENGINE_API

    def __init__(
        self,
        listen: Listen,
        launcher: Launcher | None = None,
        policy: Callable[[], Policy] | None = None,
    ) -> None:
        self._listen = listen
        self._launcher = launcher
        self._policy = policy
        self.one_host = launcher is None
        self.stop_seconds = REMOTE_STOP_SECONDS if launcher else STOP_SECONDS
        self._opened = ExitStack()
        self._gathering: Gathering | None = None
        self._training = False
        self._job: Job
        self._head: Head
        self._processes: Processes

    def threads(self, pipeline: Pipeline) -> int:
        """Threads of each worker; with a launcher 0, each host's own choice, unless set."""
        return pipeline.train.threads if self._launcher else blas.threads(pipeline)

    def check(self, pipeline: Pipeline) -> None:
        """Raise SpecError where the data are on a host that cannot join."""
        if self._launcher is None:
            require_local_data(pipeline)

    def open(self, job: Job) -> None:
        """Listen for workers and agents, and start the agents."""
        self._job = job
        if self._launcher:
            self._opened.callback(self._launcher.close)
        workers = len(job.pipeline.workers)
        ensure((of_head(workers, 2 * workers if self._launcher else 0), of_workers(job.pipeline)))
        threads = 1 if self._launcher else self.threads(job.pipeline)
        self._processes = Processes(job.folder / LOGS, threads, job.sockets)
        self._opened.callback(self._processes.close)
        self._head, token = self._listen.open(job)
        self._opened.callback(self._head.close)
        self._head.record_in(job.folder, job.while_waiting)
        if self._launcher and self._policy:
            wanted = workers - 1
            self._launcher.launch(token, wanted)
            registry, host = self._head.registry, job.pipeline.data.host
            self._gathering = Gathering(registry, wanted, host, self._policy())

    def placed(self) -> Pipeline | None:
        """The pipeline, divided among the hosts that have joined; None while hosts are missing."""
        pipeline = self._job.pipeline
        if self._gathering is None:
            return pipeline
        workers = self._gathering.workers()
        if workers is None:
            return None
        if pipeline.remote_data:
            self._job.report(f"{pipeline.data.host} reads the data")
        return limit_workers(pipeline, workers, self._job.work)

    def start(self, pipeline: Pipeline) -> None:
        """Place the workers on hosts, and have them started."""
        self._training = True
        hosts, work = self._head.registry.hosts, self._job.work
        data_host = self._head.registry.find(pipeline.data.host)
        if data_host is None:
            raise RunError(f"data.host: {pipeline.data.host} has left")
        present = [host for host in hosts.values() if host.present]
        placed = {SOURCE: data_host, **place_workers(pipeline, present, work)}
        sockets = None if self._launcher else self._job.sockets
        configs = worker_configs(pipeline, placed, work, sockets)
        for host in {host.name: host for host in placed.values()}.values():
            mine = {name: config for name, config in configs.items() if placed[name] is host}
            host.workers.update({name: frozenset(pipeline.workers[name]) for name in mine})
            self._start_on(host, mine)

    def _start_on(self, host: Host, configs: dict[str, dict[str, object]]) -> None:
        head = self._head
        if host.name != HEAD:
            head.send(host.name, Launch(dict(configs), self._job.pipeline.train.threads))
            return
        trace = str((self._job.folder / TRACE).resolve())
        for worker, config in configs.items():
            own = complete_config(config, head.endpoint, trace, head.worker_keys, head.public)
            self._processes.start(worker, own)

    def send(self, name: str, message: ToWorker) -> None:
        """Send `message` to the worker `name`."""
        self._head.send(name, message)

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """Messages of workers."""
        return self._head.poll(seconds)

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """Workers that ended since the last call, and hosts that have to leave."""
        yield from self._head.exits()
        yield from self._processes.exits()

    @property
    def waiting_for(self) -> str:
        """What is missing before training starts."""
        gathering = self._gathering
        return gathering.text if gathering and not self._training else ""

    @property
    def endpoint(self) -> str:
        """Where hosts join; empty for a run on this host alone."""
        return self._head.endpoint if self._launcher else ""

    def hosts(self) -> list[HostStatus]:
        """The head's own host and those that have joined."""
        now = time.monotonic()
        return [
            HostStatus(
                name=host.name,
                host=host.host,
                address=host.address,
                slots=host.slots,
                cpus=host.cores,
                workers={name: sorted(stages) for name, stages in host.workers.items()},
                silent_seconds=0.0 if host.name == HEAD else now - host.last_seen,
            )
            for host in self._head.registry.hosts.values()
        ]

    def revoke(self, name: str) -> None:
        """Take back the key of the host `name`; nothing happens if there is none."""
        self._head.revoke(name)

    def close(self) -> None:
        """Close the head, which collects what agents send; then end workers and agents."""
        self._opened.close()
