"""Cores joined by queues, with no process, socket or clock: any order of delivery is survived."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import (
    Activation,
    Core,
    Credit,
    Data,
    DataMessage,
    Edge,
    Evaluated,
    Gradient,
    Layer,
    Mark,
    Pipeline,
    Send,
    Synthetic,
    Train,
)
from protocol.spec import RULES
from workers.build import build_cores
from workers.data import Dataset
from workers.layer import Layer as LayerCore
from workers.rules import Decoupled

HIDDEN = Layer(("linear 5", "batchnorm", "relu"))
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
        data=Data(name="digits", batch=8),
        train=Train(**{"steps": STEPS, "eval_every": 4, **train}),
        synthetic=Synthetic(),
        layer=(HIDDEN, HIDDEN, HIDDEN, Layer(("linear 3",))),
    )


class Slots:
    """Memory as workers.shelf uses it: a slot is written anew `window` arrays later.

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
    """Cores joined by a queue an edge, moved by hand; with `slots` as over shared memory."""

    def __init__(self, pipeline: Pipeline, slots: bool = False) -> None:
        self.pipeline = pipeline
        self.cores = {core.name: core for core in build_cores(pipeline, DATA)}
        self.queues: dict[Edge, deque[DataMessage]] = {edge: deque() for edge in pipeline.edges}
        self.slots = {edge: Slots(pipeline.window) for edge in pipeline.edges if slots}
        self.in_flight: dict[Edge, list[int]] = {edge: [] for edge in pipeline.edges}
        self.evaluations: list[Evaluated] = []

    def carry(self, sender: str, sends: Iterable[Send]) -> None:
        for to, message in sends:
            if isinstance(message, Evaluated):
                self.evaluations.append(message)
                continue
            edge = Edge(sender, to)
            if isinstance(message, Activation):
                self.in_flight[edge].append(message.batch)
                if edge in self.slots:
                    message = message._replace(x=self.slots[edge].put(message.x))
            if isinstance(message, Gradient):
                if edge in self.slots:
                    gradient = self.slots[edge].put(message.gradient)
                    message = message._replace(gradient=gradient)
            self.queues[edge].append(message)
        self.check()

    def check(self) -> None:
        window = self.pipeline.window
        assert all(len(batches) <= window for batches in self.in_flight.values())
        most = 2 * window if self.pipeline.unlocked else window
        assert all(len(layer._unanswered) <= most for layer in self.layers())

    def work(self, name: str) -> None:
        if self.cores[name].ready:
            self.carry(name, list(self.cores[name].work()))

    def beat(self, name: str) -> None:
        self.carry(name, list(self.cores[name].beat()))

    def deliver(self, edge: Edge, position: int = 0) -> None:
        queue = self.queues[edge]
        if queue:
            message = queue[position % len(queue)]
            del queue[position % len(queue)]
            if isinstance(message, Gradient | Credit):
                back = Edge(edge.receiver, edge.sender)
                flying = self.in_flight[back]
                self.in_flight[back] = [batch for batch in flying if batch > message.credit]
            self.cores[edge.receiver].receive(edge.sender, message)

    def lose_gradient(self, edge: Edge) -> None:
        """Lose the next message altogether, credit and all, where it is a gradient."""
        if self.queues[edge] and isinstance(self.queues[edge][0], Gradient):
            self.queues[edge].popleft()

    @property
    def finished(self) -> bool:
        return all(core.finished for core in self.cores.values())

    def drain(self, most: int = 2000) -> None:
        """Everybody gets a turn until all is done; fails where that takes too long."""
        for _ in range(most):
            if self.finished:
                return
            for name in self.cores:
                self.work(name)
                self.beat(name)
            for edge, queue in self.queues.items():
                while queue:
                    self.deliver(edge)
        pytest.fail("the cores stalled")

    def layers(self) -> list[LayerCore]:
        return [core for core in self.cores.values() if isinstance(core, LayerCore)]

    def weights(self) -> list[bytes]:
        return [layer.stack.parameters.tobytes() for layer in self.layers()]

    def models(self) -> list[bytes]:
        made = [layer.synthetic for layer in self.layers() if isinstance(layer, Decoupled)]
        return [model.stack.parameters.tobytes() for model in made]


def shuffle(network: Network, seed: int, moves: int, losses: bool, reorder: bool) -> None:
    """Make random moves; marks are not reordered, for they flow behind what they speak of."""
    rng = random.Random(seed)
    cores, edges = list(network.cores), list(network.queues)
    for _ in range(moves):
        match rng.randrange(6 if losses else 5):
            case 0 | 1:
                network.work(rng.choice(cores))
            case 2 | 3:
                edge = rng.choice(edges)
                marks = any(isinstance(m, Mark) for m in network.queues[edge])
                down = edge.sender > edge.receiver
                network.deliver(edge, rng.randrange(4) if reorder and down and not marks else 0)
            case 4:
                network.beat(rng.choice(cores))
            case 5:
                network.lose_gradient(rng.choice(edges))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["free", "lockstep"])
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    window=st.integers(1, 5),
    gradient_queue=st.sampled_from([None, 1, 2]),
    losses=st.booleans(),
    reorder=st.booleans(),
)
def test_any_delivery_drains_within_the_window(
    rule: str,
    schedule: str,
    seed: int,
    window: int,
    gradient_queue: int | None,
    losses: bool,
    reorder: bool,
) -> None:
    pipeline = tiny(rule, schedule=schedule, window=window, gradient_queue=gradient_queue)
    network = Network(pipeline)
    shuffle(network, seed, 400, losses, reorder)
    network.drain()
    assert [e.step for e in network.evaluations] == [4, STEPS]
    assert all(e.judged == len(DATA.x_test) for e in network.evaluations)
    for layer in network.layers():
        stats = layer.stats
        assert stats.activations == STEPS
        if rule != "no-bprop" and layer.above:
            assert stats.gradients + stats.dropped_gradients == STEPS
            if not losses and not reorder and gradient_queue is None:
                assert stats.dropped_gradients == 0


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["free", "lockstep"])
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    window=st.integers(1, 4),
    gradient_queue=st.sampled_from([None, 1]),
    shape=st.sampled_from(["linear 6", "flatten", "relu"]),
)
def test_no_memory_is_read_after_its_slot_is_used_again(
    rule: str, schedule: str, seed: int, window: int, gradient_queue: int | None, shape: str
) -> None:
    pipeline = tiny(rule, schedule=schedule, window=window, gradient_queue=gradient_queue)
    pipeline = replace(pipeline, layer=(Layer((shape,)), *pipeline.layer))
    owned, shared = Network(pipeline), Network(pipeline, slots=True)
    for network in (owned, shared):
        shuffle(network, seed, 400, losses=False, reorder=False)
        network.drain()
    assert owned.weights() == shared.weights()
    assert owned.models() == shared.models()
    assert owned.evaluations == shared.evaluations


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_in_lockstep_the_weights_do_not_depend_on_the_order_of_delivery(
    rule: str, seed: int
) -> None:
    quiet, wild = (Network(tiny(rule, schedule="lockstep")) for _ in range(2))
    quiet.drain()
    shuffle(wild, seed, 400, losses=False, reorder=False)
    wild.drain()
    assert quiet.weights() == wild.weights()
    assert quiet.evaluations == wild.evaluations


def _note(monkeypatch: pytest.MonkeyPatch, of: object, name: str, happened: list[str]) -> None:
    """Let calls of the method `name` leave their name in `happened`."""
    method = getattr(of, name)

    def noted(*arguments: Any) -> Any:
        happened.append(name)
        return method(*arguments)

    monkeypatch.setattr(of, name, noted)


@pytest.mark.parametrize("rule", ["dni", "cdni"])
def test_a_step_sends_up_then_guesses_then_updates_then_sends_down(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    pipeline = tiny(rule)
    layer = build_cores(pipeline, DATA)[2]
    assert isinstance(layer, Decoupled)
    _note(monkeypatch, layer.synthetic, "guess", happened)
    _note(monkeypatch, layer.optimizer, "step", happened)
    x = np.ones((8, 5), np.float32)
    layer.receive(layer.below, Activation(1, 1, True, x, np.zeros(8, np.int64)))
    while layer.ready:
        happened.extend(f"{type(send.message).__name__} {send.to}" for send in layer.work())
    assert happened == ["Activation layer2", "guess", "step", "Gradient layer0"]


def run_dry(core: Core) -> None:
    while core.ready:
        list(core.work())


def test_older_gradients_are_used_before_a_guess_and_its_own_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []
    layer = build_cores(tiny("cdni", window=2), DATA)[1]
    assert isinstance(layer, Decoupled)
    _note(monkeypatch, layer.synthetic, "guess", happened)
    _note(monkeypatch, layer.synthetic, "teach", happened)
    x, truth = np.ones((8, 6), np.float32), np.ones((8, 5), np.float32)
    layer.receive(layer.below, Activation(1, 1, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    layer.receive(layer.below, Activation(2, 2, True, x, np.zeros(8, np.int64)))
    list(layer.work())
    layer.receive("layer1", Gradient(1, 1, truth))
    layer.receive("layer1", Gradient(2, 2, truth))
    run_dry(layer)
    assert happened == ["guess", "teach", "guess", "teach"]
    assert layer.stats.gradients == 2


def test_a_full_queue_of_gradients_drops_the_oldest_and_keeps_its_credit() -> None:
    layer = build_cores(tiny("cdni", window=3, gradient_queue=1), DATA)[1]
    assert isinstance(layer, Decoupled)
    x = np.ones((8, 6), np.float32)
    for batch in (1, 2, 3, 4):
        layer.receive(layer.below, Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    taken = [layer.stats.activations]
    truth = np.ones((8, 5), np.float32)
    for batch in (1, 2, 3):
        layer.receive("layer1", Gradient(batch, batch, truth))
    run_dry(layer)
    assert (layer.stats.gradients, layer.stats.dropped_gradients) == (1, 2)
    assert [*taken, layer.stats.activations] == [3, 4]


def test_a_layer_above_its_window_waits_but_still_takes_gradients() -> None:
    layer = build_cores(tiny("cdni", window=1), DATA)[1]
    x = np.ones((8, 6), np.float32)
    for batch in (1, 2):
        layer.receive(layer.below, Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    waiting = layer.ready
    layer.receive("layer1", Gradient(1, 1, np.ones((8, 5), np.float32)))
    assert (waiting, layer.ready) == (False, True)


def test_a_foreign_credit_cannot_open_the_window_further() -> None:
    layer = build_cores(tiny("cdni", window=1), DATA)[1]
    layer.receive("layer1", Credit(1000))
    run_dry(layer)
    x = np.ones((8, 6), np.float32)
    for batch in (1, 2):
        layer.receive(layer.below, Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    assert layer.step == 1


def test_the_evaluations_do_not_change_what_is_learnt() -> None:
    often, never = (
        Network(replace(p, train=replace(p.train, schedule="lockstep", eval_every=every)))
        for p, every in ((tiny("cdni"), 1), (tiny("cdni"), 0))
    )
    often.drain()
    never.drain()
    assert often.weights() == never.weights()
    assert len(often.evaluations) == STEPS
    assert len(never.evaluations) == 1
