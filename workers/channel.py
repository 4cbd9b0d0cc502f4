"""What a worker needs: its configuration, and a channel for its messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from protocol import Edge, Message
from workers.stages.driver import Outlet


class WorkerChannel(Outlet, Protocol):
    """A worker's transport; no method but `poll` blocks."""

    lossless: bool
    """Whether every message arrives, so that no credit is sent again."""

    @property
    def remote_edges(self) -> Iterator[Edge]:
        """The edges out of this worker that lead to other hosts."""

    def bind(self, edge: Edge, endpoint: str) -> str:
        """Open the inbox at the end of `edge`; returns the endpoint at which it is reached."""

    def connect(self, edge: Edge, endpoint: str, window: int) -> None:
        """Open the outlet of `edge`, on which `window` batches may be in flight."""

    def report(self, message: Message, copy: bool = False) -> None:
        """Report `message` to the coordinator; with `copy`, its arrays may change afterwards."""

    def poll(self, seconds: float) -> Iterator[tuple[Edge | None, Message]]:
        """The messages that have come, after waiting for at most `seconds` for the first.

        The edge of a message from the coordinator is None. Raises EOFError if the coordinator is
        gone.
        """


@dataclass(frozen=True, slots=True)
class Config:
    """What a worker is started with; in a process of its own, a line of JSON on standard input.

    `control` is the endpoint of the coordinator. `inboxes` maps the name of each edge into this
    worker to the endpoint where its inbox is bound. `nice` is the process's niceness, `trace` the
    folder for recordings and `clock` the name of the coordinator's clock. `keys` are the fields of
    `workers.transport.transport.WorkerKeys`; None on one host, where nothing is encrypted.
    """

    name: str
    control: str = ""
    inboxes: dict[str, str] = field(default_factory=dict)
    nice: int = 0
    trace: str = ""
    clock: str = ""
    keys: list[object] | None = None
