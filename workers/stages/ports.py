"""A layer's side towards its neighbours: which message it handles next, its window and its credits.

Messages from above are handled first: they free memory, move the window and bring the true
gradients. An activation is handled only while fewer than `window` batches are in flight to the
layer above; this bounds memory and holds back a layer that is ahead.

In lockstep a layer passes on the credits that come from above; otherwise it credits a batch when it
is done with the batch itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import cast

from protocol import (
    COORDINATOR,
    Activation,
    Credit,
    DataMessage,
    Gradient,
    Marker,
    NullTracer,
    Pipeline,
    Send,
    State,
    Tracer,
)
from protocol.pipeline import layer_name
from workers.nn import Floats
from workers.stages.credits import CreditWindow, OwedCredit
from workers.stages.inbox import Inbox
from workers.stages.pending import PendingBatches, SentBatch
from workers.stages.stats import Stats


def _neighbours(pipeline: Pipeline, index: int) -> tuple[str, str]:
    """The stages below and above layer `index`; "" above the output layer."""
    names = (*pipeline.stages, "")
    return names[index], names[index + 2]


class LayerPorts(ABC):
    """The part of a layer that receives messages and decides which one is handled next.

    Invariant: every batch that was sent up to learn from is counted as used or dropped, or is one
    of at most `window` in `unanswered` (an unlocked layer allows more).
    """

    def __init__(self, index: int, pipeline: Pipeline) -> None:
        self.name = layer_name(index)
        self.tracer: Tracer = NullTracer()
        self.below, self.above = _neighbours(pipeline, index)
        self.stats = Stats()
        self.finished = False
        self.step = 0
        self.window = CreditWindow(pipeline.window)  # of the batches in flight to the layer above
        self.unanswered = PendingBatches()  # batches whose true gradient has not come
        self._max_gradients = pipeline.gradient_queue
        self.inbox = Inbox(self._max_gradients(pipeline.window))
        self._feeder = self.below  # the stage that sends the batches to learn from
        self._settings = pipeline.train
        self._passes_credit = pipeline.lockstep
        self._owed = OwedCredit()  # to the stage below
        self._credit_every = max(1, pipeline.window // 2)
        self._checkpoint = self._next_checkpoint
        self._begun = 0  # the batch that was sent up and is not completed yet, or 0

    # -- messages in

    def receive(self, sender: str, message: DataMessage) -> None:
        """Queue a message. If more gradients wait than allowed, the oldest are dropped."""
        match message:
            case Activation() | Marker() if sender == self.below:
                self.inbox.from_below.append(message)
            case Credit() | Marker() if sender == self.above:
                self.inbox.from_above.append(message)
            case Gradient() if sender == self.above:
                for dropped in self.inbox.add_gradient(message):
                    self.tracer.dropped(self.above, dropped, "overtaken")
            case _:
                self.tracer.dropped(sender, message, "ignored")

    def waiting(self) -> Iterator[DataMessage]:
        """The messages that were received and not handled yet."""
        return self.inbox.messages()

    @property
    def ready(self) -> bool:
        """Whether `work` has anything to do without a further message."""
        return self._may_take_from_above or bool(self._begun) or self._may_take_from_below

    @property
    def _may_take_from_above(self) -> bool:
        """A message about the begun batch itself waits until that batch is completed."""
        queue = self.inbox.from_above
        if not (queue and self._begun):
            return bool(queue)
        match queue[0]:
            case Gradient(batch=batch, credit=credit):
                return max(batch, credit) < self._begun
            case Credit(credit=credit) | int(credit):
                return credit < self._begun
        return False

    @property
    def _may_take_from_below(self) -> bool:
        queue = self.inbox.from_below
        return bool(queue) and (self._window_open or isinstance(queue[0], Marker))

    @property
    def _window_open(self) -> bool:
        return self.window.open

    # -- one unit of work

    def work(self) -> Iterator[Send]:
        """Handle one message; credits that come before it cost nothing.

        A begun batch is completed before the next one, but after older messages from above.
        """
        while self._may_take_from_above:
            match self.inbox.from_above.popleft():
                case Credit() as message:
                    self.tracer.used(self.above, message)
                    self._acknowledge(message.credit)
                    continue
                case int(credit):
                    self._acknowledge(credit)
                    continue
                case Gradient() as gradient:
                    self.inbox.gradients -= 1
                    yield from self._take_gradient(gradient)
                case Marker() as marker:
                    self.tracer.used(self.above, marker)
                    yield Send(self.below, marker)
            break
        else:
            yield from self._go_on()
        if self._credit_due:
            yield self._send_credit()
        if self.step >= self._checkpoint and not self._begun:
            self._checkpoint = self._next_checkpoint
            yield Send(COORDINATOR, self.state())

    def _go_on(self) -> Iterator[Send]:
        """Complete the begun batch, or handle the next message from below."""
        if self._begun:
            self.tracer.resumed(self._feeder, self._begun)
            yield from self._complete()
        elif self._may_take_from_below:
            yield from self._take_from_below(self.inbox.from_below.popleft())

    def _take_gradient(self, message: Gradient) -> Iterator[Send]:
        self._move_window(message.credit)
        yield from self._use_gradient(message)
        self._forget_until(message.credit)

    def _use_gradient(self, message: Gradient) -> Iterator[Send]:
        sent = self.unanswered.pop(message.batch)
        if sent is None:
            self.tracer.dropped(self.above, message, "late")
            return
        staleness = self.step - sent.step
        self.stats.gradients += 1
        self.stats.staleness[staleness] += 1
        self.tracer.used(self.above, message, staleness)
        yield from self.on_true_gradient(message.batch, sent, cast(Floats, message.gradient))

    def _take_from_below(self, message: Activation | Marker) -> Iterator[Send]:
        self.tracer.used(self.below, message)
        yield from self._handle(message)

    def _handle(self, message: Activation | Marker) -> Iterator[Send]:
        match message:
            case Marker():
                if message.name == "drain":
                    self._credit_every = 1  # no training batch follows
                    self._on_drain()
                yield from self._pass_on(message)
                self.finished = message.name == "end"
            case Activation(train=True):
                self.step = message.step
                self.stats.activations += 1
                self.stats.samples += len(message.x)
                yield from self._train(message)
            case Activation():
                yield from self._evaluate(message)
                self._release(message.batch)

    @property
    def _next_checkpoint(self) -> float:
        """The step after which the state is saved next; the last step's state is saved anyway."""
        every = self._settings.checkpoint_every
        following = every * (self.step // every + 1) if every else math.inf
        return following if following < self._settings.steps else math.inf

    # -- credits

    def set_window(self, neighbour: str, window: int) -> None:
        """See `protocol.stage.Stage`."""
        if neighbour == self.above:
            self.window.window = window
            self.inbox.max_gradients = self._max_gradients(window)

    def resend_credits(self) -> Iterator[Send]:
        """See `protocol.stage.Stage`."""
        if not self.finished:
            yield self._send_credit()

    @property
    def _credit_due(self) -> bool:
        """Whether to send a credit without a gradient.

        One credit per half window is enough to keep batches in flight.
        """
        return self._owed.batch - self._owed.sent >= self._credit_every

    def _send_credit(self) -> Send:
        return Send(self.below, Credit(self._owed.pay()))

    def _acknowledge(self, credit: int) -> None:
        self._move_window(credit)
        self._forget_until(credit)

    def _move_window(self, credit: int) -> None:
        self.window.acknowledge(credit)
        if self._passes_credit:
            self._owed.batch = self.window.credit

    def _forget_until(self, credit: int) -> None:
        """Forget the batches up to `credit`: no gradient comes for them any more."""
        self.stats.dropped_gradients += self.unanswered.forget_until(credit)

    def _release(self, batch: int) -> None:
        """Credit `batch` to the stage below, unless credits are passed on from above."""
        if not self._passes_credit:
            self._owed.batch = batch

    def _finish(self, batch: int) -> None:
        """The training batch is done, but for its true gradient."""
        self._release(batch)

    # -- what a layer does with the messages

    @abstractmethod
    def _train(self, message: Activation) -> Iterator[Send]:
        """Handle a training batch, or begin to: then set `_begun`."""

    @abstractmethod
    def _complete(self) -> Iterator[Send]:
        """Do the rest of the begun batch."""

    @abstractmethod
    def _evaluate(self, message: Activation) -> Iterator[Send]:
        """Handle a test batch."""

    @abstractmethod
    def on_true_gradient(
        self, batch: int, sent: SentBatch, true_gradient: Floats
    ) -> Iterator[Send]:
        """Use the true gradient of a batch that was sent up."""

    @abstractmethod
    def _on_drain(self) -> None:
        """No training batch follows."""

    @abstractmethod
    def _pass_on(self, marker: Marker) -> Iterator[Send]:
        """Answer a marker from below."""

    @abstractmethod
    def state(self) -> State:
        """See `protocol.stage.Stage`."""
