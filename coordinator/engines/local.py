"""All workers on this machine, with sockets in a folder that only the user can enter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from coordinator.control.run_control import RunControl
from coordinator.control.snapshot import LocalHost
from coordinator.engines import blas
from coordinator.engines.descriptors import ensure, of_head, of_workers
from coordinator.engines.processes import Processes
from coordinator.lifecycle.events import RunEnd, WorkerExited
from coordinator.lifecycle.loop import run_processes
from coordinator.lifecycle.train import Drive
from coordinator.observers.observer import Observers
from coordinator.run_folder.layout import LOGS, TRACE
from coordinator.transport import CoordinatorTransport
from protocol import Pipeline
from protocol.clock import clock_name

MUCH: Final = 0.75
"""The share of the slowest layer's work from which a layer counts as slow itself."""
STEP_BACK: Final = 4


class LocalEngine:
    """Runs all workers on this host. Implements `coordinator.lifecycle.loop.Engine`."""

    def __init__(self, run: Path, sockets: Path, threads: int, costs: Mapping[str, float]) -> None:
        """`run` is the run's folder; `costs` the work of each layer per batch, in any unit.

        `sockets` is a folder for sockets and shared memory that only this user can enter.
        """
        self._costs = costs
        self._trace = str((run / TRACE).resolve())
        self._sockets = sockets
        self._processes = Processes(run / LOGS, threads, sockets)
        self._control = self._endpoint("control")

    def _endpoint(self, name: str) -> str:
        return f"ipc://{self._sockets}/{name}"

    def links(self, pipeline: Pipeline) -> CoordinatorTransport:
        """The line to all workers; each speaks for itself and for what lives in it."""
        voices = {*pipeline.workers, *pipeline.stages}
        return CoordinatorTransport(self._control, lambda name, _: name in voices)

    def start(self, pipeline: Pipeline) -> None:
        """Start the workers of `pipeline.workers`, each with an inbox for every edge into it."""
        nice = self._nice(pipeline.workers)
        for name, cores in pipeline.workers.items():
            edges = [e for e in pipeline.edges if e.receiver in cores and e.sender not in cores]
            config = {
                "name": name,
                "control": self._control,
                "inboxes": {str(e): self._endpoint(f"{e.receiver}.{e.sender}") for e in edges},
                "nice": nice[name],
                "trace": self._trace,
                "clock": clock_name(),
            }
            self._processes.start(name, config)

    def _nice(self, processes: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """The slowest worker sets the pace, so where cores are short the others step back."""
        costs = {
            name: sum(self._costs.get(core, 0.0) for core in cores)
            for name, cores in processes.items()
        }
        much = MUCH * max(costs.values())
        return {name: 0 if cost > much else STEP_BACK for name, cost in costs.items()}

    def exits(self) -> Iterator[WorkerExited]:
        """The workers that ended since the last call."""
        return self._processes.exits()

    def close(self) -> None:
        """See to it that nothing is left of any worker."""
        self._processes.close()


def local(
    pipeline: Pipeline, info: dict[str, object], threads: int, costs: Mapping[str, float]
) -> Drive:
    """What trains `pipeline` on this machine, with so many threads a worker.

    Raises RunError where the system does not let processes open what they need.
    """
    ensure((of_head(len(pipeline.workers)), of_workers(pipeline)))

    def drive(observers: Observers, control: RunControl) -> RunEnd:
        control.hosts = LocalHost(pipeline, blas.cores())
        engine = LocalEngine(observers.folder, control.sockets, threads, costs)
        return run_processes(pipeline, info, engine, observers, control)

    return drive
