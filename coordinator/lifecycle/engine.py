"""The interface of an engine, which runs the workers of a pipeline. Version 1.

The event loop calls an engine in this order, always from one thread:

1. `check(pipeline)` before anything is made;
2. `open(job)`: bind sockets, start agents;
3. `placed()` ten times a second, until it returns the pipeline with its layers divided among
   workers;
4. `start(pipeline)`: start the workers;
5. `poll`, `send` and `exits` until the run is over;
6. `close()`, exactly once, also after `open` or `start` has raised.

A worker speaks the dialogue of `coordinator.lifecycle.run`: Hello, Start, Ready, Go, reports,
State, Leave. An engine carries these messages and does not act on them. Engines of other packages
are found by the entry point group `dni.engines`; see docs/engines.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from coordinator.control.snapshot import RunHosts
from coordinator.lifecycle.events import RunBroken, WorkerExited
from protocol import Pipeline, SpecError, ToCoordinator, ToWorker, with_absolute_path

ENGINE_API: Final = 1
"""The version of this interface; an engine states the one that it was written for."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is to run.

    `dataset` describes the data (`protocol.dataset_info`); None where the worker of the source
    reads them on another host. `work` holds the multiply-adds per batch of each layer, nothing
    where they are not known. Files go into `folder`; `sockets` is a private folder with a
    short path, for Unix sockets and shared memory, that goes away with the run. `report` takes
    lines for a person. An engine that waits for long calls `while_waiting` several times a second.
    """

    pipeline: Pipeline
    dataset: dict[str, object] | None
    work: Mapping[str, float]
    folder: Path
    sockets: Path
    report: Callable[[str], None] = field(repr=False)
    while_waiting: Callable[[], None] = field(repr=False)


class Engine(RunHosts, Protocol):
    """Runs the workers of a pipeline, and describes their hosts."""

    api_version: int
    one_host: bool
    """Whether all workers run on this host."""
    stop_seconds: float
    """How long a worker that was asked to stop has to send its weights."""

    def threads(self, pipeline: Pipeline) -> int:
        """Threads of each worker's matrix library; 0 where each host decides."""

    def check(self, pipeline: Pipeline) -> None:
        """Raise UserError where this engine cannot run `pipeline`."""

    def open(self, job: Job) -> None:
        """Make ready for workers. Raises OSError or UserError."""

    def placed(self) -> Pipeline | None:
        """The pipeline with its layers divided among workers; None while hosts are missing.

        Raises UserError when the wait has no end.
        """

    def start(self, pipeline: Pipeline) -> None:
        """Start the workers of `pipeline.workers`. Raises OSError or UserError."""

    def send(self, name: str, message: ToWorker) -> None:
        """Send `message` to the worker `name`; never blocks."""

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """Messages of workers, after waiting for at most `seconds` for the first."""

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        """Workers that ended since the last call, and other reasons why the run cannot go on."""

    def close(self) -> None:
        """Leave no worker, agent, socket or file behind."""


def require_local_data(pipeline: Pipeline) -> None:
    """For engines with no other host. Raises SpecError where the data are on another one."""
    if with_absolute_path(pipeline).remote_data:
        raise SpecError(
            f"data.host: {pipeline.data.host!r} is not this host, on which the engine runs all "
            "workers"
        )
