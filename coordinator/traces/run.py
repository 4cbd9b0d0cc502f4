"""The traces of a run, or of one that is still going on."""

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
from coordinator.traces.clocks import Clock, clock
from coordinator.traces.events import Events, Keep, Work
from coordinator.traces.files import TraceFile
from coordinator.traces.messages import Ends, Messages, kinds, messages
from protocol import Edge, RunError
from protocol.pipeline import SOURCE
from protocol.trace_format import SUFFIX

AT_ONCE: Final = 3
"""Cores whose events are held in memory."""


class Traces:
    """What was recorded in the run folder `folder`.

    `keep` chooses the records that are looked at; all where it is None. `away` are the cores of a
    run on several hosts whose traces come to this folder when it ends. Raises RunError where the
    folder holds no traces that can be read.
    """

    def __init__(self, folder: Path, keep: Keep | None = None) -> None:
        self.folder = folder
        self.pipeline = read_run_pipeline(folder)
        self.summary = _summary(folder)
        self.problems: list[str] = []
        self.files: dict[str, TraceFile] = {}
        places = {core: folder / TRACE / f"{core}{SUFFIX}" for core in self.pipeline.stages}
        self.away = tuple(core for core, path in places.items() if not path.exists())
        address = ControlAddress.read(folder)
        if not (address and address.cluster and is_recording(folder)):
            self.away = ()
        if self.away:
            self.problems.append(_said_of(self.away))
        for core in [core for core in places if core not in self.away]:
            path = places[core]
            try:
                self.files[core] = TraceFile.read(path)
            except RunError as error:
                self.problems.append(str(error))
        if not self.files:
            why = "with --trace off nothing is recorded" if self._off else self.problems[0]
            raise RunError(f"{folder}: holds no traces; {why}")
        self._clocks = {core: clock(file) for core, file in self.files.items()}
        self._keep = keep
        self.events = lru_cache(AT_ONCE)(self._events)

    @property
    def _off(self) -> bool:
        return self.pipeline.trace.mode == "off"

    def _events(self, core: str) -> Events | None:
        file = self.files.get(core)
        return None if file is None else Events(file, self._keep)

    @property
    def running(self) -> bool:
        """Whether the run goes on: it is recorded, or nobody can say that it is not.

        The lock of a run tells that on the host of its head.
        """
        hosts = {file.metadata.host for file in self.files.values() if not file.closed}
        if self.summary is not None or not hosts:
            return False
        return is_recording(self.folder, unknown=True) or hosts != {socket.gethostname()}

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Who speaks to whom."""
        return self.pipeline.edges

    def clock(self, core: str) -> Clock:
        """The clock of `core`; where it has no trace, any."""
        return self._clocks.get(core) or next(iter(self._clocks.values()))

    def bound(self, edge: Edge) -> int:
        """How far a delay on `edge` may be wrong, ns."""
        return self.clock(edge.sender).bound + self.clock(edge.receiver).bound

    @property
    def start(self) -> int:
        """When the first core began, ns of the coordinator's clock."""
        return min(
            file.metadata.monotonic_ns + file.metadata.offset_ns for file in self.files.values()
        )

    def ends(self, edge: Edge) -> Ends:
        """Both ends of `edge`."""
        sender = self.files.get(edge.sender)
        return Ends(
            self.events(edge.sender),
            self.events(edge.receiver),
            self.clock(edge.sender),
            self.clock(edge.receiver),
            sender.metadata.edges if sender else (),
        )

    def messages(self, edge: Edge) -> Iterator[Messages]:
        """The messages on `edge`, kind by kind."""
        ends = self.ends(edge)
        for kind in kinds(ends, edge):
            yield messages(ends, edge, kind)

    def work(self, core: str) -> Work | None:
        """When `core` was at work; None where there is no trace of it."""
        events = self.events(core)
        return events.work(core, self.clock(core)) if events else None

    def all_problems(self) -> list[str]:
        """What could not be read, of what was looked at."""
        found = self.problems + [text for file in self.files.values() for text in file.problems]
        return list(dict.fromkeys(found))


def _said_of(away: tuple[str, ...]) -> str:
    """Where the traces of the cores `away` are."""
    layers = [core for core in away if core != SOURCE]
    whose = ["the source"] if SOURCE in away else []
    whose += [f"{len(layers)} layers"] if len(layers) > 1 else layers
    return f"the traces of {' and '.join(whose)} are on other hosts until the run ends"


def _summary(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found
