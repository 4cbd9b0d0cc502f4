"""A stage: a node of the pipeline's graph, which computes and decides but does no input or output.

A stage has no socket, no clock and no global randomness. `receive` takes messages in, and `work`
yields the messages to send, in order. The same stages run in processes (`workers.process`), in one
process (`coordinator.engines.inline`) and in tests, where queues connect them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from protocol.messages import DataMessage, Evaluated, Report, State
from protocol.trace_format import DropReason, MessageKind

COORDINATOR: Final = "coordinator"


class Send(NamedTuple):
    """An effect: send `message` to the stage named `to`, or to the COORDINATOR, now."""

    to: str
    message: DataMessage | Evaluated | State


class Tracer(Protocol):
    """Traces what a stage does with its messages; `protocol.trace_format` defines the events."""

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        """The stage starts to process `message`, which causes all it sends until the next call.

        `staleness` counts the batches that the stage took up between the prediction of a gradient
        or an input and the arrival of `message` with the true value.
        """

    def resumed(self, sender: str, batch: int) -> None:
        """The stage continues with the activation of `batch`, which it started before."""

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        """The stage discards `message`."""

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        """The stage does not send the message of `batch`: `to` is a whole window behind."""


class NullTracer:
    """A tracer that records nothing."""

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        """Do nothing."""

    def resumed(self, sender: str, batch: int) -> None:
        """Do nothing."""

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        """Do nothing."""

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        """Do nothing."""


class NonFiniteError(Exception):
    """A number left the range of float32; the text names the layer and the array."""


class Stage(Protocol):
    """The source or a layer."""

    name: str
    tracer: Tracer

    @property
    def ready(self) -> bool:
        """Whether `work` can do something before another message arrives."""

    @property
    def finished(self) -> bool:
        """Whether the stage has done and sent everything."""

    @property
    def step(self) -> int:
        """The number of the newest training batch that the stage has started."""

    @property
    def version(self) -> int:
        """The number of updates of the weights."""

    def set_window(self, neighbour: str, window: int) -> None:
        """Allow `window` batches in flight to `neighbour` from now on."""

    def receive(self, sender: str, message: DataMessage) -> None:
        """Queue `message` for `work`. A message that `sender` may not send is ignored."""

    def work(self) -> Iterator[Send]:
        """Do the most urgent unit of work. Raises NonFiniteError."""

    def resend_credits(self) -> Iterator[Send]:
        """Repeat the newest credits, so that a lost one does not stall a neighbour."""

    def report(self) -> Report:
        """Counts since the start, and averages since the last report."""

    def state(self) -> State | None:
        """The weights and the state of training; None for a stage without weights."""
