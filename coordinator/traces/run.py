"""The traces of a run that has ended or is in progress."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from coordinator.control.address import ControlAddress
from coordinator.run_folder.layout import SUMMARY, TRACE, is_recording
from coordinator.run_folder.read import read_run_pipeline
from coordinator.traces.clocks import ClockCorrection, clock_correction
from coordinator.traces.events import RecordFilter, StageEvents, WorkSpans
from coordinator.traces.files import TraceFile
from coordinator.traces.messages import EdgeRecords, Messages, kinds_on, match_messages
from protocol import Edge, Pipeline, RunError
from protocol.pipeline import SOURCE
from protocol.trace_format import SUFFIX

CACHED_STAGES: Final = 3
"""The number of stages whose events are held in memory."""


class Traces:
    """The traces in the run folder `folder`.

    `record_filter` selects the records that are read; None selects all. `remote_stages` are the
    stages whose traces are still on other hosts; these traces arrive when the run records. Raises
    RunError if no trace can be read.
    """

    def __init__(self, folder: Path, record_filter: RecordFilter | None = None) -> None:
        self.folder = folder
        self.pipeline = read_run_pipeline(folder)
        self.summary = _read_summary(folder)
        self.problems: list[str] = []
        self.files: dict[str, TraceFile] = {}
        paths = {stage: folder / TRACE / f"{stage}{SUFFIX}" for stage in self.pipeline.stages}
        self.remote_stages = self._find_remote(paths)
        for stage in [stage for stage in paths if stage not in self.remote_stages]:
            try:
                self.files[stage] = TraceFile.read(paths[stage])
            except RunError as error:
                self.problems.append(str(error))
        if not self.files:
            raise RunError(
                f"{folder}: holds no traces; {_empty_text(self.pipeline, self.problems)}"
            )
        self._clocks = {stage: clock_correction(file) for stage, file in self.files.items()}
        self._filter = record_filter
        self.events = lru_cache(CACHED_STAGES)(self._events)

    def _find_remote(self, paths: dict[str, Path]) -> tuple[str, ...]:
        address = ControlAddress.read(self.folder)
        if not (address and address.cluster and is_recording(self.folder)):
            return ()
        remote = tuple(stage for stage, path in paths.items() if not path.exists())
        if remote:
            self.problems.append(_remote_text(remote))
        return remote

    def _events(self, stage: str) -> StageEvents | None:
        file = self.files.get(stage)
        return None if file is None else StageEvents(file, self._filter)

    @property
    def running(self) -> bool:
        """Whether the run is in progress, or may be.

        The lock of the run is visible only on the host of its coordinator; elsewhere a trace that
        is not closed counts as a sign of progress.
        """
        hosts = {file.metadata.host for file in self.files.values() if not file.closed}
        if self.summary is not None or not hosts:
            return False
        return is_recording(self.folder, unknown=True) or hosts != {socket.gethostname()}

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges of the pipeline."""
        return self.pipeline.edges

    def clock(self, stage: str) -> ClockCorrection:
        """The clock correction of `stage`; that of any stage if `stage` has no trace."""
        return self._clocks.get(stage) or next(iter(self._clocks.values()))

    def bound(self, edge: Edge) -> int:
        """The largest error of a delay on `edge`, ns."""
        return self.clock(edge.sender).bound + self.clock(edge.receiver).bound

    @property
    def start(self) -> int:
        """The time at which the first stage began, ns on the coordinator's clock."""
        return min(
            file.metadata.monotonic_ns + file.metadata.offset_ns for file in self.files.values()
        )

    def edge_records(self, edge: Edge) -> EdgeRecords:
        """The records of both ends of `edge`."""
        sender = self.files.get(edge.sender)
        return EdgeRecords(
            self.events(edge.sender),
            self.events(edge.receiver),
            self.clock(edge.sender),
            self.clock(edge.receiver),
            sender.metadata.edges if sender else (),
        )

    def messages(self, edge: Edge) -> Iterator[Messages]:
        """The messages on `edge`, kind by kind."""
        records = self.edge_records(edge)
        for kind in kinds_on(edge, records):
            yield match_messages(records, edge, kind)

    def work(self, stage: str) -> WorkSpans | None:
        """The spans in which `stage` computed; None if it has no trace."""
        events = self.events(stage)
        return events.work(stage, self.clock(stage)) if events else None

    def all_problems(self) -> list[str]:
        """What could not be read so far, one line per problem."""
        found = self.problems + [text for file in self.files.values() for text in file.problems]
        return list(dict.fromkeys(found))


def _empty_text(pipeline: Pipeline, problems: list[str]) -> str:
    return "with --trace off nothing is recorded" if pipeline.trace.mode == "off" else problems[0]


def _remote_text(remote: tuple[str, ...]) -> str:
    layers = [stage for stage in remote if stage != SOURCE]
    names = ["the source"] if SOURCE in remote else []
    names += [f"{len(layers)} layers"] if len(layers) > 1 else layers
    return f"the traces of {' and '.join(names)} are on other hosts until the run ends"


def _read_summary(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found
