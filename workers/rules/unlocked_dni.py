"""Complete unlock: layers that wait neither for the layer above nor for the layer below.

The source sends every training batch to every layer. A layer predicts its input from the network's
input with a synthetic-input model (arXiv 1608.05343, section 2.2 and figure 3), and then learns as
under dni. The activation that it sends up is no work for the layer above but the true input that
fits that layer's synthetic-input model; the gradient by its synthetic input, which it sends down,
fits the gradient model of the layer below. If the receiver is a whole window behind, neither is
sent, and this is counted, so a slow layer holds up no other layer. Test batches pass through the
layers one after the other.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final, cast

from protocol import Activation, Credit, DataMessage, Gradient, Marker, Send
from protocol.pipeline import SOURCE
from workers.nn import Floats
from workers.rules.dni import DniLayer
from workers.rules.output import OutputLayer
from workers.rules.synthetic import Prediction, SyntheticInput
from workers.stages.credits import CreditWindow, OwedCredit
from workers.stages.layer import LayerStage
from workers.stages.pending import PendingBatches

WINDOWS_REMEMBERED: Final = 8
"""The number of windows of own batches that a layer remembers for the answers of its neighbours: a
slow neighbour answers batches that were the newest when it handled them."""


class UnlockedLayer(LayerStage):
    """The common part of unlocked hidden layers and the unlocked output layer.

    `inputs` predicts the layer's input; it is None for the first layer, whose input is the
    network's own.
    """

    def __init__(self, *arguments: Any, inputs: SyntheticInput | None) -> None:
        """`arguments` are those of the rule class beside this one; the pipeline is the second."""
        super().__init__(*arguments)
        pipeline = arguments[1]
        self.inputs = inputs
        if inputs is not None:
            self._feeder = SOURCE
        self._inputs_lr = pipeline.synthetic.lr or pipeline.train.lr
        self._lockstep = pipeline.lockstep
        self._passes_credit = False
        self._parts = 1 + (inputs is not None) + bool(self.above)  # of the work on each batch
        self._parts_done: Counter[int] = Counter()
        self.gradient_window = CreditWindow(pipeline.window)  # of gradients to the layer below
        self.from_source: deque[Activation | Marker] = deque()
        self.predicted = PendingBatches()  # batches whose true input has not come
        self._newest = 0  # the newest own batch
        self._drained = False  # whether the own batches have ended
        self._evaluating = 0  # in lockstep, the test batch whose credit must come from above
        self._owed_to_source = OwedCredit()
        self._owed_to_above = OwedCredit()  # for its gradients

    # -- messages in

    def receive(self, sender: str, message: DataMessage) -> None:
        """See `protocol.stage.Stage`."""
        match message:
            case Activation(train=True) | Marker(name="drain") if sender == SOURCE != self.below:
                self.from_source.append(message)
            case Credit() if sender == self.below:
                self.tracer.used(sender, message)
                self.gradient_window.acknowledge(message.credit)
            case Credit() if sender == self.above:
                self.tracer.used(sender, message)
                self._move_window(message.credit)
            case Gradient() if sender == self.above:
                self._move_window(message.credit)
                super().receive(sender, message)
            case _:
                super().receive(sender, message)

    def waiting(self) -> Iterator[DataMessage]:
        """See `LayerPorts.waiting`."""
        yield from super().waiting()
        yield from self.from_source

    @property
    def ready(self) -> bool:
        """See `protocol.stage.Stage`."""
        return super().ready or bool(self.from_source) or self._credit_due

    @property
    def _credit_due(self) -> bool:
        """At once, since a sender may be waiting. Test batches follow batches of higher number."""
        return self._owed.batch != self._owed.sent

    @property
    def _may_take_from_above(self) -> bool:
        """A message about a batch that the source has not sent to this layer yet has to wait."""
        queue = self.inbox.from_above
        return bool(queue) and self._has_passed(queue[0])

    @property
    def _may_take_from_below(self) -> bool:
        if not self.inbox.from_below:
            return False
        first = self.inbox.from_below[0]
        match first:
            case Marker(name="drain"):
                return self._drained or self.inputs is None
            case Marker():
                return True
            case Activation(train=True):
                return self.inputs is None or self._has_passed(first)
        return self._window_open

    def _has_passed(self, message: DataMessage | int) -> bool:
        batch = message.batch if isinstance(message, Activation | Gradient) else 0
        return batch <= self._newest - bool(self._begun) or (self._drained and not self._begun)

    @property
    def memory_limit(self) -> int:
        """The number of own batches that are remembered for the answers of the neighbours."""
        return WINDOWS_REMEMBERED * max(self.window.window, self.gradient_window.window)

    # -- one unit of work

    def work(self) -> Iterator[Send]:
        """As other layers; if there is nothing else to do, the next batch from the source."""
        if super().ready or not self.from_source:
            yield from super().work()
        else:
            match self.from_source.popleft():
                case Activation() as message:
                    self.tracer.used(SOURCE, message)
                    yield from self._take_from_source(message)
                case Marker() as marker:
                    self.tracer.used(SOURCE, marker)
                    self._drained = True
        yield from self._send_other_credits()

    def resend_credits(self) -> Iterator[Send]:
        """See `protocol.stage.Stage`."""
        yield from super().resend_credits()
        if not self.finished:
            self._owed_to_source.sent = self._owed_to_above.sent = 0
            yield from self._send_other_credits()

    def _send_other_credits(self) -> Iterator[Send]:
        """The credits for the source's batches, and for the gradients from above."""
        for to, owed in ((SOURCE, self._owed_to_source), (self.above, self._owed_to_above)):
            if owed.batch > owed.sent:
                yield Send(to, Credit(owed.pay()))

    def set_window(self, neighbour: str, window: int) -> None:
        """See `protocol.stage.Stage`."""
        super().set_window(neighbour, window)
        if neighbour == self.below:
            self.gradient_window.window = window

    def _take_from_source(self, message: Activation) -> Iterator[Send]:
        assert self.inputs is not None
        self._newest, self.step = message.batch, message.step
        self.stats.activations += 1
        self.stats.samples += len(message.x)
        prediction = self.inputs.predict(message.x)
        self.predicted.add(message.batch, message.step, prediction)
        self.predicted.forget_oldest(self.memory_limit)
        own = Activation(message.batch, message.step, True, prediction.value, message.labels)
        yield from self._train(own)

    def _take_from_below(self, message: Activation | Marker) -> Iterator[Send]:
        if self.inputs is not None and isinstance(message, Activation) and message.train:
            self._fit_inputs(self.inputs, message)
            self._release(message.batch)
            self._part_done(message.batch)
            return
        self.tracer.used(self.below, message)
        if isinstance(message, Marker):
            self._drained = self._drained or message.name == "drain"
        elif message.train:
            self._newest = message.batch
        yield from self._handle(message)

    def _fit_inputs(self, inputs: SyntheticInput, message: Activation) -> None:
        """Fit the synthetic-input model to the true input of a batch, which has come."""
        self.predicted.forget_until(message.batch - 1)
        sent = self.predicted.pop(message.batch)
        if sent is None:
            self.stats.dropped_inputs += 1
            self.tracer.dropped(self.below, message, "late")
            return
        self.stats.inputs += 1
        self.tracer.used(self.below, message, self.step - sent.step)
        prediction = cast(Prediction, sent.memory)
        inputs.fit(prediction, cast(Floats, message.x), self._lr(self._inputs_lr, sent.step))

    def _take_gradient(self, message: Gradient) -> Iterator[Send]:
        yield from self._use_gradient(message)
        self._forget_until(message.batch - 1)
        self._owed_to_above.batch = message.batch
        self._part_done(message.batch)

    def _remember(self, message: Activation, memory: object) -> None:
        super()._remember(message, memory)
        self.stats.dropped_gradients += self.unanswered.forget_oldest(self.memory_limit)

    # -- credits

    def _finish(self, batch: int) -> None:
        if self._lockstep:
            self._part_done(batch)
        else:
            self._own_done(batch)

    def _part_done(self, batch: int) -> None:
        """In lockstep the source gets the credit of a batch when all parts of it are done."""
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
            self._owed_to_source.batch = batch

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

    def metadata(self) -> dict[str, object]:
        """See `LayerStage.metadata`."""
        metadata = super().metadata()
        return metadata | self.inputs.metadata("inputs") if self.inputs else metadata

    def arrays(self) -> dict[str, Floats]:
        """See `LayerStage.arrays`."""
        arrays = super().arrays()
        return arrays | self.inputs.named("inputs") if self.inputs else arrays

    # -- messages out, if the receiver's window is open

    def _send_up(self, message: Activation, y: Floats) -> Iterator[Send]:
        if message.train and not (self.window.open or self._lockstep):
            self.stats.unsent += 1
            self.tracer.unsent(self.above, "activation", message.batch)
            return
        yield from super()._send_up(message, y)

    def _send_down(self, batch: int, gradient: Floats) -> Iterator[Send]:
        if not self.needs_input_gradient:
            self._finish(batch)
        elif self.gradient_window.open or self._lockstep:
            self.gradient_window.send(batch)
            yield from super()._send_down(batch, gradient)
        else:
            self._finish(batch)
            self.stats.unsent += 1
            self.tracer.unsent(self.below, "gradient", batch)


class UnlockedDniLayer(UnlockedLayer, DniLayer):
    """unlocked-dni and unlocked-cdni, for hidden layers."""


class UnlockedOutputLayer(UnlockedLayer, OutputLayer):
    """unlocked-dni and unlocked-cdni, under the loss."""
