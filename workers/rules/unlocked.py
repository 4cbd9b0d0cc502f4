"""Complete unlock: layers that wait neither for the layer above nor for the one below.

The source feeds every layer directly. A layer guesses its input from the network's own input, with
a synthetic-input model (arXiv 1608.05343, section 2.2 and figure 3), and goes on as a decoupled
layer does. What it sends up is no work for the layer above but the truth that teaches that layer's
synthetic-input model; what it sends down, the gradient by its synthetic input, teaches the gradient
model below. Where the receiver is behind by a whole window, both are dropped before they are sent,
and counted, so a slow layer holds nobody up. Evaluation goes through the real layers.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, cast

from protocol import Activation, Credit, DataMessage, Gradient, Mark, Send
from protocol.pipeline import SOURCE
from workers.nn import Floats
from workers.rules.dni import Decoupled, Top
from workers.rules.synthetic import Guess, SyntheticInput
from workers.stages.credits import Flow
from workers.stages.layer import Layer, Sent

REMEMBERED = 8
"""Windows of batches that a layer remembers of its own stream for what neighbours say of them: a
slow neighbour speaks of batches that were its newest when it took them up."""


class Unlocked(Layer):
    """What the hidden layers and the top layer have in common.

    `inputs` guesses the layer's input; None for the first layer, which has the network's own.
    """

    def __init__(self, *arguments: Any, inputs: SyntheticInput | None) -> None:
        """`arguments` are those of the rule that this joins, the pipeline the second of them."""
        super().__init__(*arguments)
        pipeline = arguments[1]
        self.inputs = inputs
        if inputs is not None:
            self._fed_by = SOURCE
        self._inputs_lr = pipeline.synthetic.lr or pipeline.train.lr
        self._lockstep = pipeline.lockstep
        self._passes_credit = False
        self._parts = 1 + (inputs is not None) + bool(self.above)  # done with each batch
        self._parts_done: Counter[int] = Counter()
        self._gradients = Flow(pipeline.window)  # those under way to the layer below
        self._from_source: deque[Activation | Mark] = deque()
        self._guessed: dict[int, Sent] = {}
        self._newest = 0  # batch of the own stream
        self._drained = False  # whether the own stream has ended
        self._evaluating = 0  # the test batch whose credit is to come from above, in lockstep
        self._source_done = self._source_told = 0
        self._taught_with = self._taught_told = 0

    # -- messages in

    def receive(self, sender: str, message: DataMessage) -> None:
        match message:
            case Activation(train=True) | Mark(mark="drain") if sender == SOURCE != self.below:
                self._from_source.append(message)
            case Credit() if sender == self.below:
                self.tracer.used(sender, message)
                self._gradients.settle(message.credit)
            case Credit() if sender == self.above:
                self.tracer.used(sender, message)
                self._move_window(message.credit)
            case Gradient() if sender == self.above:
                self._move_window(message.credit)
                super().receive(sender, message)
            case _:
                super().receive(sender, message)

    @property
    def ready(self) -> bool:
        return super().ready or bool(self._from_source) or self._credit_due

    @property
    def _credit_due(self) -> bool:
        """At once: who waits for it does not send. Tests come behind batches of higher number."""
        return self._done != self._told

    @property
    def _may_take_from_above(self) -> bool:
        """Not what is about a batch that the own stream has not brought yet."""
        return bool(self._from_above) and self._has_passed(self._from_above[0])

    @property
    def _may_take_from_below(self) -> bool:
        if not self._from_below:
            return False
        first = self._from_below[0]
        match first:
            case Mark(mark="drain"):
                return self._drained or self.inputs is None
            case Mark():
                return True
            case Activation(train=True):
                return self.inputs is None or self._has_passed(first)
        return self._window_open

    def _has_passed(self, message: DataMessage | int) -> bool:
        batch = message.batch if isinstance(message, Activation | Gradient) else 0
        return batch <= self._newest - bool(self._begun) or (self._drained and not self._begun)

    @property
    def _memory(self) -> int:
        """How many batches of the own stream are remembered for what neighbours say of them."""
        return REMEMBERED * max(self._flow.window, self._gradients.window)

    # -- one thing at a time

    def work(self) -> Iterator[Send]:
        """As other layers do; and where there is nothing else, the next batch of the source."""
        if super().ready or not self._from_source:
            yield from super().work()
        else:
            match self._from_source.popleft():
                case Activation() as message:
                    self.tracer.used(SOURCE, message)
                    yield from self._take_from_source(message)
                case Mark() as mark:
                    self.tracer.used(SOURCE, mark)
                    self._drained = True
        yield from self._tell_unlocked()

    def resend_credits(self) -> Iterator[Send]:
        yield from super().resend_credits()
        if not self.finished:
            self._source_told = self._taught_told = 0
            yield from self._tell_unlocked()

    def _tell_unlocked(self) -> Iterator[Send]:
        """Credits to the source, and to the layer above for its gradients."""
        if self._source_done > self._source_told:
            self._source_told = self._source_done
            yield Send(SOURCE, Credit(self._source_done))
        if self._taught_with > self._taught_told:
            self._taught_told = self._taught_with
            yield Send(self.above, Credit(self._taught_with))

    def set_window(self, neighbour: str, window: int) -> None:
        super().set_window(neighbour, window)
        if neighbour == self.below:
            self._gradients.window = window

    def _take_from_source(self, message: Activation) -> Iterator[Send]:
        assert self.inputs is not None
        self._newest, self.step = message.batch, message.step
        self.stats.activations += 1
        self.stats.samples += len(message.x)
        guess = self.inputs.guess(message.x)
        self._guessed[message.batch] = Sent(message.step, guess)
        if len(self._guessed) > self._memory:
            del self._guessed[next(iter(self._guessed))]
        own = Activation(message.batch, message.step, True, guess.value, message.labels)
        yield from self._train(own)

    def _take_from_below(self, message: Activation | Mark) -> Iterator[Send]:
        if self.inputs is not None and isinstance(message, Activation) and message.train:
            self._teach_inputs(self.inputs, message)
            self._release(message.batch)
            self._part_done(message.batch)
            return
        self.tracer.used(self.below, message)
        if isinstance(message, Mark):
            self._drained = self._drained or message.mark == "drain"
        elif message.train:
            self._newest = message.batch
        yield from self._taken(message)

    def _teach_inputs(self, inputs: SyntheticInput, message: Activation) -> None:
        """The real activation has come: the truth for what was guessed in its place."""
        for batch in [batch for batch in self._guessed if batch < message.batch]:
            del self._guessed[batch]
        sent = self._guessed.pop(message.batch, None)
        if sent is None:
            self.stats.dropped_inputs += 1
            self.tracer.dropped(self.below, message, "late")
            return
        self.stats.inputs += 1
        self.tracer.used(self.below, message, self.step - sent.step)
        guess = cast(Guess, sent.memory)
        inputs.teach(guess, cast(Floats, message.x), self._lr(self._inputs_lr, sent.step))

    def _take_gradient(self, message: Gradient) -> Iterator[Send]:
        self._gradients_waiting -= 1
        yield from self._answered(message)
        for batch in [batch for batch in self._unanswered if batch < message.batch]:
            self._forget(batch)
        self._taught_with = message.batch
        self._part_done(message.batch)

    def _remember(self, message: Activation, memory: object) -> None:
        super()._remember(message, memory)
        if len(self._unanswered) > self._memory:
            self._forget(next(iter(self._unanswered)))

    # -- credits

    def _finish(self, batch: int) -> None:
        if self._lockstep:
            self._part_done(batch)
        else:
            self._own_done(batch)

    def _part_done(self, batch: int) -> None:
        """In lockstep the source hears of a batch when the last thing is done with it."""
        if not self._lockstep:
            return
        self._parts_done[batch] += 1
        if self._parts_done[batch] == self._parts:
            self._own_done(batch)
            self._parts_done.clear()

    def _own_done(self, batch: int) -> None:
        if self.inputs is None:
            self._release(batch)
        else:
            self._source_done = batch

    def _move_window(self, credit: int) -> None:
        super()._move_window(credit)
        if 0 < self._evaluating <= credit:
            super()._release(self._evaluating)
            self._evaluating = 0

    def _evaluate(self, message: Activation) -> Iterator[Send]:
        self._evaluating = message.batch if self._lockstep and self.above else 0
        yield from super()._evaluate(message)

    def _release(self, batch: int) -> None:
        if batch != self._evaluating:
            super()._release(batch)

    def _facts(self) -> dict[str, object]:
        facts = super()._facts()
        return facts | self.inputs.facts("inputs") if self.inputs else facts

    def _named(self) -> dict[str, Floats]:
        named = super()._named()
        return named | self.inputs.named("inputs") if self.inputs else named

    # -- messages out, where there is room

    def _up(self, message: Activation, y: Floats) -> Iterator[Send]:
        if message.train and not (self._flow.open or self._lockstep):
            self.stats.unsent += 1
            self.tracer.unsent(self.above, "activation", message.batch)
            return
        yield from super()._up(message, y)

    def _down(self, batch: int, gradient: Floats) -> Iterator[Send]:
        self._finish(batch)
        if not self.needs_input_gradient:
            return
        if not (self._gradients.open or self._lockstep):
            self.stats.unsent += 1
            self.tracer.unsent(self.below, "gradient", batch)
            return
        self._gradients.send(batch)
        self._sound(gradient, "the gradient by its input")
        self._told = self._done
        yield Send(self.below, Gradient(batch, self._done, gradient))


class UnlockedHidden(Unlocked, Decoupled):
    """unlocked-dni and unlocked-cdni, below the top."""


class UnlockedTop(Unlocked, Top):
    """unlocked-dni and unlocked-cdni, under the loss."""
