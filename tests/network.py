"""Cores joined by queues, with no process, socket or clock, and moved by hand."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable
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
    Mark,
    Pipeline,
    Send,
    State,
    SyntheticConfig,
    TrainConfig,
)
from protocol.pipeline import SOURCE
from workers.assembly.build import build_stages
from workers.data import Dataset
from workers.rules.unlocked_dni import WINDOWS_REMEMBERED, UnlockedLayer
from workers.stages.layer import LayerStage
from workers.stages.source import Source

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


class Slots:
    """Shared memory as the transport uses it: a slot is written anew `window` arrays later.

    What is put spoils what lay there, so whoever reads too late learns from nonsense.
    """

    def __init__(self, window: int) -> None:
        self._arrays: list[np.ndarray[Any, Any] | None] = [None] * window
        self._count = 0

    def put(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        slot, self._count = self._count % len(self._arrays), self._count + 1
        before = self._arrays[slot]
        if before is not None:
            before.fill(1e6)
        self._arrays[slot] = array.copy()
        view = self._arrays[slot].view()  # type: ignore[union-attr]
        view.flags.writeable = False
        return view


class Network:
    """Cores joined by a queue an edge; with `slots` as over shared memory, `stretched` as between
    machines, where windows grow.

    Everything that is promised at every moment is checked after every move.
    """

    def __init__(self, pipeline: Pipeline, slots: bool = False, stretched: bool = False) -> None:
        self.pipeline = pipeline
        self.cores = {core.name: core for core in build_stages(pipeline, DATA)}
        self._stretched = stretched
        self._least, self._most = pipeline.window, pipeline.max_window
        self.queues: dict[Edge, deque[DataMessage]] = {edge: deque() for edge in pipeline.edges}
        self.slots = {edge: Slots(pipeline.window) for edge in pipeline.edges if slots}
        self.in_flight: dict[Edge, list[int]] = {edge: [] for edge in pipeline.edges}
        self.sent: Counter[Edge] = Counter()
        self.evaluations: list[Evaluated] = []
        self.reordered = False  # a gradient that was overtaken is in flight beyond its credit

    def carry(self, sender: str, sends: Iterable[Send]) -> None:
        for to, message in sends:
            if isinstance(message, Evaluated | State):
                if isinstance(message, Evaluated):
                    self.evaluations.append(message)
                continue
            edge = Edge(sender, to)
            self.queues[edge].append(self.dispatch(edge, message))
        self.check()

    def dispatch(self, edge: Edge, message: DataMessage) -> DataMessage:
        """Note what is under way; gradients have credits of their own where layers are unlocked."""
        slots = self.slots.get(edge)
        match message:
            case Activation():
                if edge.sender == SOURCE and self.pipeline.lockstep:
                    self.settled(message.batch)
                self.sent[edge] += message.train
                self.in_flight[edge].append(message.batch)
                return message._replace(x=slots.put(message.x)) if slots else message
            case Gradient():
                self.sent[edge] += 1
                if self.pipeline.unlocked:
                    self.in_flight[edge].append(message.batch)
                return message._replace(gradient=slots.put(message.gradient)) if slots else message
        return message

    def settled(self, batch: int) -> None:
        """In lockstep the source's next batch says that all is done with those before it."""
        for edge, flying in self.in_flight.items():
            if SOURCE not in edge:
                self.in_flight[edge] = [b for b in flying if b >= batch]

    def window(self, edge: Edge) -> int:
        """How many batches may be in flight on `edge` now."""
        core = self.cores[edge.sender]
        if isinstance(core, Source):
            return core.windows[edge.receiver].window
        assert isinstance(core, LayerStage)
        if edge.receiver == core.above:
            return core.window.window
        return core.gradient_window.window if isinstance(core, UnlockedLayer) else self._least

    def widen(self, edge: Edge) -> None:
        """Let one more batch be in flight on `edge`, where that is a long way."""
        window = self.window(edge)
        if self._stretched and window < self._most:
            self.cores[edge.sender].set_window(edge.receiver, window + 1)

    def check(self) -> None:
        """No edge holds more than a window, and no layer keeps more than it may."""
        for edge, batches in self.in_flight.items():
            window = self.window(edge)
            assert self._least <= window <= self._most, edge
            assert len(batches) <= window, edge
        for layer in self.layers():
            below = self.window(Edge(layer.below, layer.name))
            most = layer.window.window
            if isinstance(layer, UnlockedLayer):
                self.check_unlocked(layer)
                most = layer.memory_limit
            assert len(layer.unanswered) <= most
            assert sum(isinstance(m, Activation) for m in layer.inbox.from_below) <= below

    def check_unlocked(self, layer: UnlockedLayer) -> None:
        """Nor an unlocked one."""
        own = max(layer.window.window, layer.gradient_window.window)
        assert layer.memory_limit == WINDOWS_REMEMBERED * own
        assert len(layer.predicted) <= layer.memory_limit
        waiting = sum(isinstance(m, Activation) for m in layer.from_source)
        assert waiting <= self.window(Edge(SOURCE, layer.name))
        if layer.above:
            above = self.window(Edge(layer.above, layer.name))
            assert layer.inbox.gradients <= above or self.reordered

    def work(self, name: str) -> None:
        if self.cores[name].ready:
            self.carry(name, list(self.cores[name].work()))

    def resend_credits(self, name: str) -> None:
        self.carry(name, list(self.cores[name].resend_credits()))

    def deliver(self, edge: Edge, position: int = 0) -> None:
        queue = self.queues[edge]
        if queue:
            place = position % len(queue)
            self.reordered = self.reordered or place > 0
            message = queue[place]
            del queue[place]
            if isinstance(message, Gradient | Credit):
                back = Edge(edge.receiver, edge.sender)
                flying = self.in_flight[back]
                if message.credit in flying:
                    del flying[: flying.index(message.credit) + 1]
            self.cores[edge.receiver].receive(edge.sender, message)

    def lose_gradient(self, edge: Edge) -> None:
        """Lose the next message altogether, credit and all, where it is a gradient."""
        if self.queues[edge] and isinstance(self.queues[edge][0], Gradient):
            self.queues[edge].popleft()

    def may_reorder(self, edge: Edge) -> bool:
        """Gradients and credits on their way down; marks flow behind what they speak of."""
        order = self.pipeline.stages
        down = order.index(edge.sender) > order.index(edge.receiver)
        return down and not any(isinstance(m, Mark) for m in self.queues[edge])

    @property
    def finished(self) -> bool:
        return all(core.finished for core in self.cores.values())

    def drain(self, most: int = 2000, beats: bool = True) -> None:
        """Everybody gets a turn until all is done; fails where that takes too long.

        Without `beats` nothing is said twice, as in one process.
        """
        for _ in range(most):
            if self.finished:
                return
            for name in self.cores:
                self.work(name)
                if beats:
                    self.resend_credits(name)
            for edge, queue in self.queues.items():
                while queue:
                    self.deliver(edge)
        pytest.fail("the cores stalled")

    def layers(self) -> list[LayerStage]:
        return [core for core in self.cores.values() if isinstance(core, LayerStage)]

    def learnt(self) -> list[dict[str, bytes]]:
        """All that every layer would save: weights, models of both kinds, optimisers."""
        return [
            {name: array.tobytes() for name, array in layer.arrays().items()}
            for layer in self.layers()
        ]


def shuffle(
    network: Network, seed: int, moves: int, losses: bool, reorder: bool, beats: bool = True
) -> None:
    """Make random moves."""
    rng = random.Random(seed)
    cores, edges = list(network.cores), list(network.queues)
    for _ in range(moves):
        match rng.randrange(6 if losses else 5):
            case 0 | 1:
                network.work(rng.choice(cores))
            case 2 | 3:
                edge = rng.choice(edges)
                position = rng.randrange(4)
                network.deliver(edge, position if reorder and network.may_reorder(edge) else 0)
            case 4:
                if beats:
                    network.resend_credits(rng.choice(cores))
                network.widen(rng.choice(edges))
            case 5:
                network.lose_gradient(rng.choice(edges))
