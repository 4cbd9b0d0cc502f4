"""The source: which batches enter the pipeline, and when.

The source sends training batches in an order that depends on the seed alone, with images augmented
as the seed decides; the test set every `eval_every` steps; and at the end a drain, so that the
layers learn from everything in flight, the test set once more, and the end marker.
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
    Marker,
    NullTracer,
    Pipeline,
    Report,
    Send,
    Tracer,
)
from protocol.pipeline import SOURCE
from workers.data import Augment, Dataset
from workers.nn import Labels
from workers.stages.credits import CreditWindow
from workers.stages.stats import Stats

_ORDER: Final = 1
_AUGMENT: Final = 2


def order(seed: int, epoch: int, examples: int) -> np.typing.NDArray[np.intp]:
    """The order of the training examples in an epoch: a function of seed and epoch alone."""
    return _rng(seed, _ORDER, epoch).permutation(examples)


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, *key)))


class Source:
    """Sends batches while the window of the first edge is open. Implements `protocol.stage.Stage`.

    Unlocked layers all get every training batch from the source. A layer that is too slow holds up
    no other: if its window alone is full and the other layers have nothing to do, it misses the
    batch. No layer misses the batch before a test: the messages about that batch that a layer keeps
    until the source sends it would stand in front of the test batches. The next message is always
    made in advance, so that it is sent as soon as possible.
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
        self.windows = {layer: CreditWindow(pipeline.window) for layer in fed}
        self._may_skip = len(fed) > 1 and not pipeline.lockstep
        self._stats = Stats()
        self._batch = 0
        self._draining = False
        self._plan = self._messages()
        self._next: Activation | Marker | None = next(self._plan)

    def receive(self, sender: str, message: DataMessage) -> None:
        """Credits move the window; `drained` opens the final evaluation."""
        match message:
            case Credit(credit=credit) | Gradient(credit=credit) if sender in self.windows:
                self.windows[sender].acknowledge(credit)
                self.tracer.used(sender, message)
            case Marker(name="drained") if sender == self._first:
                self._draining = False
                self.tracer.used(sender, message)
            case _:
                self.tracer.dropped(sender, message, "ignored")

    def set_window(self, neighbour: str, window: int) -> None:
        """See `protocol.stage.Stage`."""
        if neighbour in self.windows:
            self.windows[neighbour].window = window

    @property
    def ready(self) -> bool:
        """Whether the next message may be sent now."""
        return self._next is not None and bool(self._receivers(self._next))

    def _receivers(self, message: Activation | Marker) -> list[str]:
        """The layers that get `message` now; none if it has to wait."""
        if self._draining:
            return []
        match message:
            case Marker(name="drain"):
                return list(self.windows)
            case Marker():
                return [self._first]
            case Activation(train=True):
                return self._with_room(message.step)
        return [self._first] if self.windows[self._first].open else []

    def _with_room(self, step: int) -> list[str]:
        """The layers that get the training batch of `step` now; none if it has to wait."""
        layers = [layer for layer, window in self.windows.items() if window.open]
        skipped = len(self.windows) - len(layers)
        if not skipped:
            return layers
        others_wait = all(self.windows[layer].empty for layer in layers)
        may_skip = self._may_skip and skipped == 1 and not self._tests_after(step)
        return layers if may_skip and others_wait else []

    def work(self) -> Iterator[Send]:
        """Send the next batch or marker."""
        message = self._next
        receivers = self._receivers(message) if message else []
        if message is None or not receivers:
            return
        if isinstance(message, Marker):
            self._draining = message.name == "drain"
            self.finished = message.name == "end"
        elif message.train:
            self.step = message.step
            self._stats.activations += 1
            self._stats.samples += len(message.x)
        for layer in receivers:
            if isinstance(message, Activation):
                self.windows[layer].send(message.batch)
            yield Send(layer, message)
        self._next = next(self._plan, None)

    def resend_credits(self) -> Iterator[Send]:
        """Nothing: the source receives no batches."""
        return iter(())

    @property
    def version(self) -> int:
        """0: the source has no weights."""
        return 0

    def report(self) -> Report:
        """The counts of what was sent since the start."""
        window = max(window.window for window in self.windows.values())
        return self._stats.report(self.name, self.step, 0, window)

    def state(self) -> None:
        """The source has no weights."""

    def _messages(self) -> Iterator[Activation | Marker]:
        settings = self._settings
        for step, (x, y) in zip(range(1, settings.steps + 1), self._training(), strict=False):
            yield self._activation(step, True, x, y)
            if self._tests_after(step) and step < settings.steps:
                yield from self._test(step)
        yield Marker("drain", settings.steps)
        yield from self._test(settings.steps)
        yield Marker("end", settings.steps)

    def _tests_after(self, step: int) -> bool:
        every = self._settings.eval_every
        return every > 0 and step % every == 0

    def _training(self) -> Iterator[tuple[Array, Labels]]:
        """Training batches, without end. An incomplete last batch of an epoch is dropped.

        The augmentation of a batch depends on the seed, the epoch and its place in the epoch alone.
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

    def _test(self, step: int) -> Iterator[Activation | Marker]:
        for start in range(0, len(self._data.x_test), self._size):
            rows = slice(start, start + self._size)
            yield self._activation(step, False, self._data.x_test[rows], self._data.y_test[rows])
        yield Marker("evaluated", step)

    def _activation(self, step: int, train: bool, x: Array, labels: Labels) -> Activation:
        self._batch += 1
        return Activation(self._batch, step, train, x, labels)
