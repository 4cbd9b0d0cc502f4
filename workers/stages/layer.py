"""The core of a layer: what it does with each message, whatever its rule.

Two queues, one of messages from below and one from above, so that a full one cannot starve the
other. Messages from above come first: they free memory, move the window and teach. An activation
is taken up only while fewer than `window` batches are in flight on the edge above, which is what
bounds memory and holds back a layer that is ahead.

A batch is in flight on an edge from the moment it is sent until its credit comes back. A credit
is for all that was sent before it too, so a later one makes up for any that was lost. In lockstep
a layer passes on the credit that comes from above; otherwise it gives one when it is done with the
batch itself.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np

from protocol import (
    COORDINATOR,
    Activation,
    Credit,
    DataMessage,
    Gradient,
    Mark,
    NonFiniteError,
    NullTracer,
    Pipeline,
    Report,
    Send,
    State,
    Tracer,
)
from protocol.pipeline import SOURCE, layer_name
from workers.nn import Floats, Stack
from workers.nn.optim import Optimizer, learning_rate
from workers.stages.credits import Flow
from workers.stages.stats import Stats

Rng: TypeAlias = np.random.Generator

CHECK_EVERY: Final = 250
"""Updates between looks whether all that is kept is finite."""


class Sent(NamedTuple):
    """What a layer keeps of a batch until its true gradient comes.

    `memory` is what its rule needs to use that gradient.
    """

    step: int
    memory: object


def _neighbours(pipeline: Pipeline, index: int) -> tuple[str, str]:
    """Who is below and above the layer `index`; above the top layer is nobody, ""."""
    cores = (*pipeline.stages, "")
    return cores[index], cores[index + 2]


class Layer:
    """A layer that passes activations on and does not learn; the rules build on it.

    Invariant: the batches sent up to learn from are those whose gradient was used, those whose
    gradient was dropped, and at most `window` that are unanswered (unlocked layers allow more).
    """

    def __init__(
        self, index: int, pipeline: Pipeline, stack: Stack, optimizer: Optimizer, rng: Rng
    ) -> None:
        self.name = layer_name(index)
        self.tracer: Tracer = NullTracer()
        self.below, self.above = _neighbours(pipeline, index)
        self.stack = stack
        self.optimizer = optimizer
        self.stats = Stats()
        self.finished = False
        self.step = 0
        self.data_facts: dict[str, object] = {}  # of the data, kept beside the weights
        self._fed_by = self.below  # who sends the batches to learn from
        self._settings = pipeline.train
        self._rng = rng
        self._fail_on_nonfinite = pipeline.train.on_nonfinite == "fail"
        self._drops = sorted(pipeline.train.lr_drops)
        self._passes_credit = pipeline.lockstep
        self._flow = Flow(pipeline.window)
        self._may_wait = pipeline.gradient_queue
        self._most_gradients = self._may_wait(pipeline.window)
        self._from_below: deque[Activation | Mark] = deque()
        self._from_above: deque[Gradient | Credit | Mark | int] = deque()
        self._gradients_waiting = 0
        self._unanswered: dict[int, Sent] = {}
        self._done = 0
        self._told = 0
        self._credit_every = max(1, pipeline.window // 2)
        self._checkpoint = self._next_checkpoint
        self._begun = 0  # the batch that was sent up and is still to be completed, or 0

    # -- messages in

    def receive(self, sender: str, message: DataMessage) -> None:
        """Queue a message. Of more waiting gradients than allowed the oldest is dropped."""
        match message:
            case Activation() | Mark() if sender == self.below:
                self._from_below.append(message)
            case Credit() | Mark() if sender == self.above:
                self._from_above.append(message)
            case Gradient() if sender == self.above:
                self._from_above.append(message)
                self._gradients_waiting += 1
                while self._gradients_waiting > self._most_gradients:
                    self._drop_oldest()
            case _:
                self.tracer.dropped(sender, message, "ignored")

    def _drop_oldest(self) -> None:
        """Forget the oldest waiting gradient but for the credit in it."""
        waiting = enumerate(self._from_above)
        place, oldest = next((i, m) for i, m in waiting if isinstance(m, Gradient))
        self._from_above[place] = oldest.credit
        self._gradients_waiting -= 1
        self.tracer.dropped(self.above, oldest, "overtaken")

    @property
    def ready(self) -> bool:
        """Whether `work` has anything to do without a further message."""
        return self._may_take_from_above or bool(self._begun) or self._may_take_from_below

    @property
    def _may_take_from_above(self) -> bool:
        """Not what is about the batch in hand itself, before that is completed."""
        if not (self._from_above and self._begun):
            return bool(self._from_above)
        match self._from_above[0]:
            case Gradient(batch=batch, credit=credit):
                return max(batch, credit) < self._begun
            case Credit(credit=credit) | int(credit):
                return credit < self._begun
        return False

    @property
    def _may_take_from_below(self) -> bool:
        if not self._from_below:
            return False
        return self._window_open or isinstance(self._from_below[0], Mark)

    @property
    def _window_open(self) -> bool:
        return self._flow.open

    # -- one thing at a time

    def work(self) -> Iterator[Send]:
        """Handle one message; those from above first, of which credits cost nothing.

        A batch once begun is completed before the next, but after what came from above meanwhile.
        """
        while self._may_take_from_above:
            match self._from_above.popleft():
                case Credit() as message:
                    self.tracer.used(self.above, message)
                    self._settle(message.credit)
                    continue
                case int(credit):
                    self._settle(credit)
                    continue
                case Gradient() as gradient:
                    yield from self._take_gradient(gradient)
                case Mark() as mark:
                    self.tracer.used(self.above, mark)
                    yield Send(self.below, mark)
            break
        else:
            if self._begun:
                self.tracer.resumed(self._fed_by, self._begun)
                yield from self._complete()
            elif self._may_take_from_below:
                yield from self._take_from_below(self._from_below.popleft())
        if self._credit_due:
            yield self._tell()
        if self.step >= self._checkpoint and not self._begun:
            self._checkpoint = self._next_checkpoint
            yield Send(COORDINATOR, self.state())

    @property
    def _credit_due(self) -> bool:
        """Whether it is time for a credit that rides on no gradient.

        One for half a window is soon enough for a sender to have always something under way.
        """
        return self._done - self._told >= self._credit_every

    @property
    def _next_checkpoint(self) -> float:
        """The step after which the weights are to be kept next; the last ones are anyhow."""
        every = self._settings.checkpoint_every
        following = every * (self.step // every + 1) if every else math.inf
        return following if following < self._settings.steps else math.inf

    def set_window(self, neighbour: str, window: int) -> None:
        """See `protocol.stage.Stage`."""
        if neighbour == self.above:
            self._flow.window = window
            self._most_gradients = self._may_wait(window)

    def resend_credits(self) -> Iterator[Send]:
        """The credit again: it makes up for one that was lost."""
        if not self.finished:
            yield self._tell()

    def _tell(self) -> Send:
        self._told = self._done
        return Send(self.below, Credit(self._done))

    def _take_gradient(self, message: Gradient) -> Iterator[Send]:
        self._gradients_waiting -= 1
        self._move_window(message.credit)
        yield from self._answered(message)
        self._forget_until(message.credit)

    def _answered(self, message: Gradient) -> Iterator[Send]:
        sent = self._unanswered.pop(message.batch, None)
        if sent is None:
            self.tracer.dropped(self.above, message, "late")
            return
        staleness = self.step - sent.step
        self.stats.gradients += 1
        self.stats.staleness[staleness] += 1
        self.tracer.used(self.above, message, staleness)
        yield from self._taught(message.batch, sent, cast(Floats, message.gradient))

    def _settle(self, credit: int) -> None:
        self._move_window(credit)
        self._forget_until(credit)

    def _forget_until(self, credit: int) -> None:
        """No gradient comes any more for the batches up to `credit`."""
        for batch in list(itertools.takewhile(lambda b: b <= credit, self._unanswered)):
            self._forget(batch)

    def _forget(self, batch: int) -> None:
        del self._unanswered[batch]
        self.stats.dropped_gradients += 1

    def _move_window(self, credit: int) -> None:
        self._flow.settle(credit)
        if self._passes_credit:
            self._done = self._flow.credit

    def _take_from_below(self, message: Activation | Mark) -> Iterator[Send]:
        self.tracer.used(self.below, message)
        yield from self._taken(message)

    def _taken(self, message: Activation | Mark) -> Iterator[Send]:
        match message:
            case Mark():
                if message.mark == "drain":
                    self._credit_every = 1  # no more come behind
                    self._check()
                yield from self._pass(message)
                self.finished = message.mark == "end"
            case Activation(train=True):
                self.step = message.step
                self.stats.activations += 1
                self.stats.samples += len(message.x)
                yield from self._train(message)
            case Activation():
                yield from self._evaluate(message)
                self._release(message.batch)

    def _release(self, batch: int) -> None:
        """The batch leaves the edge below, unless that is for the layer above to say."""
        if not self._passes_credit:
            self._done = batch

    def _finish(self, batch: int) -> None:
        """All that there is to do with a training batch before its true gradient is done."""
        self._release(batch)

    # -- what rules do otherwise

    def _pass(self, mark: Mark) -> Iterator[Send]:
        yield Send(self.above, mark)

    def _train(self, message: Activation) -> Iterator[Send]:
        y, _ = self._forward(message)
        yield from self._up(message, y)
        self._finish(message.batch)

    def _complete(self) -> Iterator[Send]:
        """Do the rest of the batch that was begun."""
        return iter(())

    def _evaluate(self, message: Activation) -> Iterator[Send]:
        y, _ = self._forward(message)
        yield from self._up(message, y)

    def _taught(self, batch: int, sent: Sent, truth: Floats) -> Iterator[Send]:  # noqa: ARG002
        """Use the true gradient of a batch that was sent up."""
        return iter(())

    # -- what rules are made of

    def _forward(self, message: Activation) -> tuple[Floats, list[object]]:
        """The activation, and what going back needs.

        The message's memory is not ours any more when its credit is out, but the activation is.
        """
        y, caches = self.stack.forward(message.x, message.train)
        return y.copy() if np.may_share_memory(y, message.x) else y, caches

    def _up(self, message: Activation, y: Floats) -> Iterator[Send]:
        self._sound(y, "the activation")
        self._flow.send(message.batch)
        up = Activation(message.batch, message.step, message.train, y, message.labels)
        yield Send(self.above, up)

    def _remember(self, message: Activation, memory: object) -> None:
        """Keep what the true gradient of this batch will need."""
        self._unanswered[message.batch] = Sent(message.step, memory)

    def _down(self, batch: int, gradient: Floats) -> Iterator[Send]:
        """The batch's input gradient, and with it the credit; nothing where nobody needs it."""
        self._finish(batch)
        if self.needs_input_gradient:
            self._sound(gradient, "the gradient by its input")
            self._told = self._done
            yield Send(self.below, Gradient(batch, self._done, gradient))

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the neighbour below learns from what this layer sends down."""
        return self.below != SOURCE

    def _learn(self, step: int, caches: list[object], dy: Floats, update: bool = True) -> Floats:
        """Update from the gradient by the output; returns that by the input.

        Both are taken at the weights that the batch was sent through.
        """
        dx = self.stack.backward(caches, dy, self.needs_input_gradient)
        if update:
            lr = self._lr(self._settings.lr, step)
            self.optimizer.step(self.stack.parameters, self.stack.gradients, lr, 1 / len(dy))
            self.stats.updates += 1
            if self.stats.updates % CHECK_EVERY == 0:
                self._check()
        return dx

    def _chosen(self) -> bool:
        """Whether the layer learns from this batch (section 3.3 of the paper: random updates)."""
        probability = self._settings.update_probability
        return probability == 1 or self._rng.random() < probability

    def _lr(self, lr: float, step: int) -> float:
        return learning_rate(lr, self._drops, step)

    def _sound(self, array: Floats, what: str) -> None:
        """Raise NonFiniteError where `array` is not finite; its squares may well be too large."""
        square = float(np.vdot(array, array))
        if not math.isfinite(square) and not np.isfinite(array).all():
            self._finite(square, what)

    def _check(self) -> None:
        """Raise NonFiniteError where anything that is kept is not finite.

        What is sent need not show it: of a second moment that is infinite no step comes any more,
        and the loss stays where it is.
        """
        if not self._fail_on_nonfinite:
            return
        for name, array in self._named().items():
            if not np.isfinite(array).all():
                raise NonFiniteError(f"{name} is not finite")

    def _finite(self, number: float, what: str) -> float:
        """`number`; raises NonFiniteError where it left the range of float32."""
        if self._fail_on_nonfinite and not math.isfinite(number):
            raise NonFiniteError(f"{what} is not finite")
        return number

    # -- what is known about it

    @property
    def version(self) -> int:
        """How many updates the weights have seen."""
        return self.stats.updates

    def report(self) -> Report:
        """What happened since the start; averages since the last call are begun anew."""
        queue, window = len(self._from_below), self._flow.window
        return self.stats.report(self.name, self.step, queue, window)

    def state(self) -> State:
        """Weights, running statistics and the optimiser's vectors, by name."""
        arrays = self._named()
        return State(self.name, self.step, self._facts(), tuple(arrays), tuple(arrays.values()))

    def _facts(self) -> dict[str, object]:
        return {"step": self.step, "updates": self.optimizer.count, **self.data_facts}

    def _named(self) -> dict[str, Floats]:
        optimizer = {f"optimizer.{k}": v for k, v in self.optimizer.named().items()}
        return {**self.stack.named(), **optimizer}
