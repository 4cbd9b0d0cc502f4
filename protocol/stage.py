"""What a core is: a part of the pipeline that computes and decides but touches nothing.

No socket, no clock, no global randomness: messages come in through `receive`, and `work` yields
what is to be sent, in the order in which it is to be sent. The same cores run in processes
(workers.process), in one process (coordinator.engines.inline) and in tests, joined by queues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from protocol.messages import DataMessage, Evaluated, Report, State
from protocol.trace_format import DropReason, MessageKind

COORDINATOR: Final = "coordinator"


class Send(NamedTuple):
    """An effect: `message` is to go to the core called `to`, or to the COORDINATOR, now."""

    to: str
    message: DataMessage | Evaluated | State


class Tracer(Protocol):
    """Who is told what a core does with its messages; see `protocol.trace_format` for the words."""

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        """The core takes up `message`; what it sends until it takes up another follows from it.

        `staleness` is how many batches it took up since it guessed what the message tells.
        """

    def resumed(self, sender: str, batch: int) -> None:
        """The core goes on with the activation of `batch` that it had taken up before."""

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        """The core will not use `message`."""

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        """The core does not send `to` what there is to say of `batch`: `to` is too far behind."""


class NullTracer:
    """A journal that nobody keeps."""

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        """Nothing."""

    def resumed(self, sender: str, batch: int) -> None:
        """Nothing."""

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        """Nothing."""

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        """Nothing."""


class NonFiniteError(Exception):
    """A number left the range of float32; the text says where."""


class Stage(Protocol):
    """The source or a layer."""

    name: str
    tracer: Tracer

    @property
    def ready(self) -> bool:
        """Whether `work` has anything to do without a further message."""

    @property
    def finished(self) -> bool:
        """Whether everything is done and sent: nothing more comes from this core."""

    @property
    def step(self) -> int:
        """The number of the newest training batch that was worked on."""

    @property
    def version(self) -> int:
        """How many updates its weights have seen."""

    def set_window(self, neighbour: str, window: int) -> None:
        """Let `window` batches be in flight to `neighbour` from now on; the way there is long."""

    def receive(self, sender: str, message: DataMessage) -> None:
        """Take a message in. It waits until `work` gets to it.

        What `sender` has no business to say to this core is ignored.
        """

    def work(self) -> Iterator[Send]:
        """Do the one most urgent thing. Raises NonFiniteError where that breaks the numbers."""

    def resend_credits(self) -> Iterator[Send]:
        """What to repeat now and then so that a lost message cannot stall a neighbour."""

    def report(self) -> Report:
        """What happened since the start; averages since the last call are begun anew."""

    def state(self) -> State | None:
        """Weights and all that training has made of them; None for a core without any."""
