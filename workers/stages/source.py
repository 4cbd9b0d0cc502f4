"""The core of the source: which batches go into the pipeline, and when.

Training batches in an order that only the seed decides, their pictures varied as it decides; a
pass over the test set every `eval_every` steps; at the end a drain, so that all that is under way
is learnt, then the final pass over the test set, and the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np

from protocol import (
    Activation,
    Array,
    Credit,
    DataMessage,
    Gradient,
    Mark,
    NullTracer,
    Pipeline,
    Report,
    Send,
    Tracer,
)
from protocol.pipeline import SOURCE
from workers.data import Augment, Dataset
from workers.nn import Labels
from workers.stages.credits import Flow
from workers.stages.stats import Stats

_ORDER: Final = 1
_AUGMENT: Final = 2


def order(seed: int, epoch: int, examples: int) -> np.typing.NDArray[np.intp]:
    """The order of the training examples in an epoch: a function of seed and epoch alone."""
    return _rng(seed, _ORDER, epoch).permutation(examples)


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, *key)))


class Source:
    """Sends batches up while the window of the first edge is open. See `protocol.stage.Stage`.

    Where layers are unlocked, training batches go to all of them. One that is too slow for the
    others holds nobody up: it goes without a batch where it alone has no room for it and the others
    have nothing to do. The batch before a test goes to all: what a layer holds of a neighbour until
    its own stream gets there would else bar the way of the test. The next message is always made
    already, so that it can go the moment it may.
    """

    def __init__(self, pipeline: Pipeline, data: Dataset) -> None:
        self.name = SOURCE
        self.tracer: Tracer = NullTracer()
        self.finished = False
        self.step = 0
        self._data = data
        self._settings = pipeline.train
        self._size = pipeline.data.batch
        self._augment = Augment(pipeline.data.augment, data.shape)
        layers = pipeline.stages[1:]
        self._first = layers[0]
        fed = layers if pipeline.unlocked else layers[:1]
        self._flows = {layer: Flow(pipeline.window) for layer in fed}
        self._may_skip = len(fed) > 1 and not pipeline.lockstep
        self._stats = Stats()
        self._batch = 0
        self._draining = False
        self._plan = self._messages()
        self._next: Activation | Mark | None = next(self._plan)

    def receive(self, sender: str, message: DataMessage) -> None:
        """Credits move the window; `drained` opens the final evaluation."""
        match message:
            case Credit(credit=credit) | Gradient(credit=credit) if sender in self._flows:
                self._flows[sender].settle(credit)
                self.tracer.used(sender, message)
            case Mark(mark="drained") if sender == self._first:
                self._draining = False
                self.tracer.used(sender, message)
            case _:
                self.tracer.dropped(sender, message, "ignored")

    def set_window(self, neighbour: str, window: int) -> None:
        """See `protocol.stage.Stage`."""
        if neighbour in self._flows:
            self._flows[neighbour].window = window

    @property
    def ready(self) -> bool:
        """Whether the next message may go now."""
        return self._next is not None and bool(self._receivers(self._next))

    def _receivers(self, message: Activation | Mark) -> list[str]:
        """Who is to have `message` now; nobody where it has to wait."""
        if self._draining:
            return []
        match message:
            case Mark(mark="drain"):
                return list(self._flows)
            case Mark():
                return [self._first]
            case Activation(train=True):
                return self._with_room(message.step)
        return [self._first] if self._flows[self._first].open else []

    def _with_room(self, step: int) -> list[str]:
        """The layers that are to have the training batch of `step` now."""
        layers = [layer for layer, flow in self._flows.items() if flow.open]
        skipped = len(self._flows) - len(layers)
        if not skipped:
            return layers
        others_wait = all(self._flows[layer].dry for layer in layers)
        may_skip = self._may_skip and skipped == 1 and not self._tests_after(step)
        return layers if may_skip and others_wait else []

    def work(self) -> Iterator[Send]:
        """Send the next batch or mark."""
        message = self._next
        receivers = self._receivers(message) if message else []
        if message is None or not receivers:
            return
        if isinstance(message, Mark):
            self._draining = message.mark == "drain"
            self.finished = message.mark == "end"
        elif message.train:
            self.step = message.step
            self._stats.activations += 1
            self._stats.samples += len(message.x)
        for layer in receivers:
            if isinstance(message, Activation):
                self._flows[layer].send(message.batch)
            yield Send(layer, message)
        self._next = next(self._plan, None)

    def resend_credits(self) -> Iterator[Send]:
        """Nothing: the source owes nobody a credit."""
        return iter(())

    @property
    def version(self) -> int:
        """The source has no weights: 0."""
        return 0

    def report(self) -> Report:
        """What was sent since the start."""
        window = max(flow.window for flow in self._flows.values())
        return self._stats.report(self.name, self.step, 0, window)

    def state(self) -> None:
        """The source has no weights."""

    def _messages(self) -> Iterator[Activation | Mark]:
        settings = self._settings
        for step, (x, y) in zip(range(1, settings.steps + 1), self._training(), strict=False):
            yield self._activation(step, True, x, y)
            if self._tests_after(step) and step < settings.steps:
                yield from self._test(step)
        yield Mark("drain", settings.steps)
        yield from self._test(settings.steps)
        yield Mark("end", settings.steps)

    def _tests_after(self, step: int) -> bool:
        every = self._settings.eval_every
        return every > 0 and step % every == 0

    def _training(self) -> Iterator[tuple[Array, Labels]]:
        """Each batch, for ever; what does not fill a batch waits for the next epoch.

        How its pictures are varied depends on the seed, the epoch and its place in that alone.
        """
        data, seed = self._data, self._settings.seed
        for epoch in itertools.count():
            shuffled = order(seed, epoch, len(data.x_train))
            for start in range(0, len(shuffled) - self._size + 1, self._size):
                rows = shuffled[start : start + self._size]
                x = data.x_train[rows]
                if self._augment:
                    x = self._augment(x, _rng(seed, _AUGMENT, epoch, start))
                yield x, data.y_train[rows]

    def _test(self, step: int) -> Iterator[Activation | Mark]:
        for start in range(0, len(self._data.x_test), self._size):
            rows = slice(start, start + self._size)
            yield self._activation(step, False, self._data.x_test[rows], self._data.y_test[rows])
        yield Mark("evaluated", step)

    def _activation(self, step: int, train: bool, x: Array, labels: Labels) -> Activation:
        self._batch += 1
        return Activation(self._batch, step, train, x, labels)
