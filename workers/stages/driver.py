"""Drives the stages that share a process: chooses the next one, runs it, and routes what it sends.

The worker process, the inline engine, replay and the tests run stages through this one class. It
touches no socket: messages that leave the group go to an `Outlet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from protocol import DataMessage, Edge, Evaluated, Send, State
from protocol.codec.quantization import FLOAT32
from workers.recording.instrument import InstrumentedStage


class Outlet(Protocol):
    """Takes the messages that leave a group of stages."""

    def send(self, edge: Edge, message: DataMessage, edge_dtype: str) -> None:
        """Send `message` along `edge`, with its array in the format `edge_dtype`."""

    def report(self, message: Evaluated | State, copy: bool = False) -> None:
        """Report `message` to the coordinator; with `copy`, its arrays may change afterwards."""


FormatOf: TypeAlias = Callable[[Edge, DataMessage], str]
"""The format of a message's array on an edge."""


def full_precision(edge: Edge, message: DataMessage) -> str:  # noqa: ARG001
    """The format of arrays that are sent unchanged."""
    return FLOAT32


class StageGroup:
    """The stages of one worker, in the order of the pipeline.

    `outlet` takes what leaves the group, and `format_of` gives the format of arrays on each edge.
    Messages between two stages of the group are delivered at once.
    """

    def __init__(
        self,
        stages: Iterable[InstrumentedStage],
        outlet: Outlet,
        format_of: FormatOf = full_precision,
    ) -> None:
        self._stages = tuple(stages)
        self._by_name = {stage.name: stage for stage in self._stages}
        self._outlet = outlet
        self._format_of = format_of
        self.current: InstrumentedStage | None = None  # the stage that runs or ran last

    def __iter__(self) -> Iterator[InstrumentedStage]:
        return iter(self._stages)

    @property
    def finished(self) -> bool:
        """Whether every stage has done and sent everything."""
        for member in self._stages:  # noqa: SIM110  `all` makes a generator for every unit of work
            if not member.stage.finished:
                return False
        return True

    def next(self) -> InstrumentedStage | None:
        """The ready stage with the lowest step; of several, the last one in the order of the group.

        Returns None if no stage is ready.
        """
        chosen = None
        for member in reversed(self._stages):
            if member.stage.ready and (chosen is None or member.stage.step < chosen.stage.step):
                chosen = member
        return chosen

    def deliver(self, edge: Edge, message: DataMessage) -> None:
        """Give `message`, which came along `edge`, to the stage at its end."""
        self._by_name[edge.receiver].receive(edge.sender, message)

    def run(self, stage: InstrumentedStage) -> None:
        """Let `stage` do one unit of work, and route what it sends."""
        self.current = stage
        self._route(stage, stage.work())

    def resend_credits(self, stage: InstrumentedStage) -> None:
        """Send the newest credits of `stage` again, to make up for lost ones."""
        self._route(stage, stage.resend_credits())

    def _route(self, stage: InstrumentedStage, sends: Iterable[Send]) -> None:
        sender, members, format_of = stage.name, self._by_name, self._format_of
        for to, message in sends:
            if isinstance(message, Evaluated | State):
                self._outlet.report(message, copy=True)  # the weights go on changing
                continue
            edge = Edge(sender, to)
            edge_dtype = format_of(edge, message)
            stage.record_send(to, message, edge_dtype)
            if to in members:
                members[to].receive(sender, message)
            else:
                self._outlet.send(edge, message, edge_dtype)
