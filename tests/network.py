"""The stages of a pipeline joined by queues, without processes, sockets or clocks."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any

import numpy as np
import pytest

from protocol import (
    Activation,
    Credit,
    DataConfig,
    DataMessage,
    Edge,
    Evaluated,
    Gradient,
    LayerConfig,
    Marker,
    Pipeline,
    State,
    SyntheticConfig,
    TrainConfig,
)
from protocol.pipeline import SOURCE
from tests.assembly import build_stages
from tests.invariants import check_layer, window_of
from tests.slots import Slots
from workers.data import Dataset
from workers.recording.instrument import InstrumentedStage
from workers.stages.driver import StageGroup
from workers.stages.layer import LayerStage

HIDDEN = LayerConfig(("linear 5", "batchnorm", "relu"))
STEPS = 6


def tiny_data() -> Dataset:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    y = rng.integers(0, 3, 40)
    return Dataset("tiny", x[:28], y[:28], x[28:], y[28:], classes=3, scale=1.0)


DATA = tiny_data()


def tiny(rule: str, **train: Any) -> Pipeline:
    return Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=8),
        train=TrainConfig(**{"steps": STEPS, "eval_every": 4, **train}),
        synthetic=SyntheticConfig(),
        layer=(HIDDEN, HIDDEN, HIDDEN, LayerConfig(("linear 3",))),
    )


class Network:
    """The stages of `pipeline`, each in a group of its own, with one queue per edge.

    With `slots`, arrays lie in memory that is used again, as in shared memory; with `remote`, the
    windows grow, as between hosts. After every move, all invariants are checked.
    """

    def __init__(self, pipeline: Pipeline, slots: bool = False, remote: bool = False) -> None:
        self.pipeline = pipeline
        self.stages = {stage.name: stage for stage in build_stages(pipeline, DATA)}
        self.groups = {
            name: StageGroup([InstrumentedStage(stage)], self)
            for name, stage in self.stages.items()
        }
        self._remote = remote
        self._min, self._max = pipeline.window, pipeline.max_window
        self.queues: dict[Edge, deque[DataMessage]] = {edge: deque() for edge in pipeline.edges}
        self._slots = {edge: Slots(pipeline.window) for edge in pipeline.edges if slots}
        self.in_flight: dict[Edge, list[int]] = {edge: [] for edge in pipeline.edges}
        self.sent: Counter[Edge] = Counter()
        self.evaluations: list[Evaluated] = []
        self.reordered = False  # then a dropped gradient may be in flight after its credit

    # -- the outlet of the groups

    def send(self, edge: Edge, message: DataMessage, edge_dtype: str) -> None:  # noqa: ARG002
        self._count(edge, message)
        self.queues[edge].append(self._in_slot(edge, message))

    def report(self, message: Evaluated | State, copy: bool = False) -> None:  # noqa: ARG002
        if isinstance(message, Evaluated):
            self.evaluations.append(message)

    def _count(self, edge: Edge, message: DataMessage) -> None:
        """Count what is in flight; the gradients of unlocked layers have windows of their own."""
        match message:
            case Activation():
                if edge.sender == SOURCE and self.pipeline.lockstep:
                    self._complete_before(message.batch)
                self.sent[edge] += message.train
                self.in_flight[edge].append(message.batch)
            case Gradient():
                self.sent[edge] += 1
                if self.pipeline.unlocked:
                    self.in_flight[edge].append(message.batch)

    def _complete_before(self, batch: int) -> None:
        """In lockstep all earlier batches are complete when the source sends `batch`."""
        for edge, batches in self.in_flight.items():
            if SOURCE not in edge:
                self.in_flight[edge] = [b for b in batches if b >= batch]

    def _in_slot(self, edge: Edge, message: DataMessage) -> DataMessage:
        slots = self._slots.get(edge)
        if slots and isinstance(message, Activation):
            return message._replace(x=slots.write(message.x))
        if slots and isinstance(message, Gradient):
            return message._replace(gradient=slots.write(message.gradient))
        return message

    # -- windows

    def window(self, edge: Edge) -> int:
        """The largest number of batches that may be in flight on `edge` now."""
        return window_of(self.stages[edge.sender], edge.receiver, self._min)

    def widen(self, edge: Edge) -> None:
        """Allow one more batch in flight on `edge`, if it is remote."""
        window = self.window(edge)
        if self._remote and window < self._max:
            self.stages[edge.sender].set_window(edge.receiver, window + 1)

    def check(self) -> None:
        """No edge holds more than a window, and no layer keeps more than it may."""
        for edge, batches in self.in_flight.items():
            window = self.window(edge)
            assert self._min <= window <= self._max, edge
            assert len(batches) <= window, edge
        for layer in self.layers():
            check_layer(layer, self.window, self.reordered)

    # -- moves

    def work(self, name: str) -> None:
        group = self.groups[name]
        if stage := group.next():
            group.run(stage)
            self.check()

    def resend_credits(self, name: str) -> None:
        for stage in self.groups[name]:
            self.groups[name].resend_credits(stage)
        self.check()

    def deliver(self, edge: Edge, position: int = 0) -> None:
        """Deliver the message at `position` of the queue, counted round, if there is any."""
        queue = self.queues[edge]
        if queue:
            place = position % len(queue)
            self.reordered = self.reordered or place > 0
            message = queue[place]
            del queue[place]
            if isinstance(message, Gradient | Credit):
                self._credited(Edge(edge.receiver, edge.sender), message.credit)
            self.groups[edge.receiver].deliver(edge, message)

    def _credited(self, edge: Edge, credit: int) -> None:
        batches = self.in_flight[edge]
        if credit in batches:
            del batches[: batches.index(credit) + 1]

    def lose_gradient(self, edge: Edge) -> None:
        """Lose the next message with its credit, if it is a gradient."""
        if self.queues[edge] and isinstance(self.queues[edge][0], Gradient):
            self.queues[edge].popleft()

    def may_reorder(self, edge: Edge) -> bool:
        """Gradients and credits may change places on their way down; markers keep theirs."""
        order = self.pipeline.stages
        down = order.index(edge.sender) > order.index(edge.receiver)
        return down and not any(isinstance(m, Marker) for m in self.queues[edge])

    @property
    def finished(self) -> bool:
        return all(group.finished for group in self.groups.values())

    def drain(self, max_rounds: int = 2000, resend: bool = True) -> None:
        """Let every stage work in turn until all have finished; fails after `max_rounds`.

        Without `resend`, credits are sent once, as in one process.
        """
        for _ in range(max_rounds):
            if self.finished:
                return
            for name in self.stages:
                self.work(name)
                if resend:
                    self.resend_credits(name)
            for edge, queue in self.queues.items():
                while queue:
                    self.deliver(edge)
        pytest.fail("the stages stalled")

    # -- results

    def layers(self) -> list[LayerStage]:
        return [stage for stage in self.stages.values() if isinstance(stage, LayerStage)]

    def arrays(self) -> list[dict[str, bytes]]:
        """All that every layer would save: weights, synthetic models and optimisers."""
        return [
            {name: array.tobytes() for name, array in layer.arrays().items()}
            for layer in self.layers()
        ]


def shuffle(
    network: Network, seed: int, moves: int, losses: bool, reorder: bool, resend: bool = True
) -> None:
    """Make random moves."""
    rng = random.Random(seed)
    names, edges = list(network.stages), list(network.queues)
    for _ in range(moves):
        match rng.randrange(6 if losses else 5):
            case 0 | 1:
                network.work(rng.choice(names))
            case 2 | 3:
                edge = rng.choice(edges)
                position = rng.randrange(4)
                network.deliver(edge, position if reorder and network.may_reorder(edge) else 0)
            case 4:
                if resend:
                    network.resend_credits(rng.choice(names))
                network.widen(rng.choice(edges))
            case 5:
                network.lose_gradient(rng.choice(edges))
