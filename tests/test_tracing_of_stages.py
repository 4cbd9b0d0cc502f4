"""Every message to a stage is traced once: as used, as dropped, or not yet because it waits."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Activation, DataMessage, Edge, Evaluated, Gradient, Pipeline, Stage
from protocol.pipeline import RULES, SOURCE
from protocol.trace_format import DropReason, MessageKind
from tests.examples import examples
from tests.network import STEPS, Network, shuffle, tiny
from workers.rules.unlocked_dni import UnlockedLayer
from workers.stages.layer import LayerStage

MOVES = 400


class Cause(NamedTuple):
    """The message that a stage works on."""

    sender: str
    batch: int


class CheckingTracer:
    """Counts what one stage traces, and fails where that contradicts what the stage received."""

    def __init__(self) -> None:
        self.waiting: Counter[int] = Counter()  # received messages by their addresses in memory
        self.kept: list[DataMessage] = []  # so that no address is used twice
        self.uses: Counter[tuple[str, str, bool]] = Counter()
        self.drops: Counter[tuple[str, str, DropReason]] = Counter()
        self.held_back: Counter[tuple[str, MessageKind]] = Counter()
        self.staleness: Counter[int] = Counter()
        self.handled: dict[tuple[str, int], int] = {}
        self.cause: Cause | None = None

    def receives(self, message: DataMessage) -> None:
        self.kept.append(message)
        self.waiting[id(message)] += 1  # an unlocked layer gets the same drain marker twice

    def _leaves(self, message: DataMessage) -> None:
        assert self.waiting[id(message)] > 0, "used or dropped twice, or never received"
        self.waiting[id(message)] -= 1

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        self._leaves(message)
        self.uses[sender, type(message).__name__, is_learned_from(message)] += 1
        assert staleness >= 0
        if isinstance(message, Gradient):
            self.staleness[staleness] += 1
        if isinstance(message, Activation | Gradient):
            self.cause = Cause(sender, message.batch)
            self.handled[self.cause] = 1

    def resumed(self, sender: str, batch: int) -> None:
        self.cause = Cause(sender, batch)
        assert self.handled[self.cause] == 1, "resumed before it was used, or twice"
        self.handled[self.cause] += 1

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        self._leaves(message)
        self.drops[sender, type(message).__name__, reason] += 1

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        assert self.cause is not None
        assert self.cause.batch == batch
        self.held_back[to, kind] += 1


def is_learned_from(message: DataMessage) -> bool:
    return isinstance(message, Gradient) or (isinstance(message, Activation) and message.train)


def queued(stage: Stage) -> Counter[int]:
    """The messages in the queues of `stage`, by their addresses in memory."""
    return Counter(map(id, stage.waiting())) if isinstance(stage, LayerStage) else Counter()


class TracedNetwork(Network):
    """A network whose stages have tracers, which are checked after every move and sending."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.tracers = {name: CheckingTracer() for name in pipeline.stages}
        super().__init__(pipeline)
        for name, stage in self.stages.items():
            stage.tracer = self.tracers[name]

    def work(self, name: str) -> None:
        self.tracers[name].cause = None
        super().work(name)

    def send(self, edge: Edge, message: DataMessage, edge_dtype: str) -> None:
        self._check_cause(edge.sender, message)
        super().send(edge, message, edge_dtype)
        self.check()

    def _check_cause(self, name: str, message: DataMessage) -> None:
        """An array is sent while the stage works on a message about the same batch."""
        cause, layer = self.tracers[name].cause, self.stages[name]
        if not isinstance(message, Activation | Gradient) or not isinstance(layer, LayerStage):
            assert cause is None or name != SOURCE
            return
        backward = self.pipeline.rule == "backprop" and isinstance(message, Gradient)
        assert cause is not None
        assert cause.batch == message.batch
        senders = {layer.above} if backward and layer.above else {layer.below, SOURCE}
        assert cause.sender in senders

    def deliver(self, edge: Edge, position: int = 0) -> None:
        queue = self.queues[edge]
        if queue:
            self.tracers[edge.receiver].receives(queue[position % len(queue)])
            super().deliver(edge, position)
            self.check()

    def check(self) -> None:
        super().check()
        for name, stage in self.stages.items():
            assert self.tracers[name].waiting == queued(stage), name


def check_counters(network: TracedNetwork, layer: LayerStage, in_order: bool) -> None:
    """The counters of a layer equal what it traced; `in_order` if no message was lost."""
    tracer, stats = network.tracers[layer.name], layer.stats
    inputs = isinstance(layer, UnlockedLayer) and layer.inputs is not None
    feeder = SOURCE if inputs else layer.below
    assert stats.activations == tracer.uses[feeder, "Activation", True]
    assert stats.inputs == inputs * tracer.uses[layer.below, "Activation", True]
    assert stats.dropped_inputs == tracer.drops[layer.below, "Activation", "late"]
    assert stats.gradients == tracer.uses[layer.above, "Gradient", True]
    assert stats.staleness == tracer.staleness
    assert stats.unsent == tracer.held_back.total()
    assert not any(reason == "ignored" for _, _, reason in tracer.drops)
    check_dropped_gradients(network, layer, in_order)


def check_dropped_gradients(network: TracedNetwork, layer: LayerStage, in_order: bool) -> None:
    tracer, stats = network.tracers[layer.name], layer.stats
    late, overtaken = (tracer.drops[layer.above, "Gradient", r] for r in ("late", "overtaken"))
    if network.pipeline.rule == "no-bprop" or not layer.above:
        assert stats.gradients == late + overtaken == stats.dropped_gradients == 0
        return
    unused = stats.activations - stats.gradients
    assert stats.dropped_gradients + len(layer.unanswered) == unused
    if network.pipeline.unlocked:  # gradients may come for batches that the layer never had
        return
    assert late + overtaken <= unused
    if in_order and network.pipeline.train.update_probability == 1:
        assert late + overtaken == stats.dropped_gradients


def check_source(network: TracedNetwork) -> None:
    """The source uses all messages that it gets, and sends every batch at least once."""
    tracer = network.tracers[SOURCE]
    assert not tracer.drops
    assert not tracer.waiting.total()
    receivers = len(network.layers()) if network.pipeline.unlocked else 1
    sent = sum(network.sent[edge] for edge in network.sent if edge.sender == SOURCE)
    assert network.stages[SOURCE].report().activations == STEPS <= sent <= receivers * STEPS


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["async", "lockstep"])
@pytest.mark.parametrize("rule", RULES)
@examples(25)
@given(
    seed=st.integers(0, 2**32),
    window=st.integers(1, 5),
    gradient_queue=st.sampled_from([0, 1, 2]),
    update_probability=st.sampled_from([1.0, 0.5]),
    losses=st.booleans(),
    reorder=st.booleans(),
)
def test_every_message_is_used_or_dropped_once_or_waits_and_the_counters_agree(
    rule: str,
    schedule: str,
    seed: int,
    window: int,
    gradient_queue: int,
    update_probability: float,
    losses: bool,
    reorder: bool,
) -> None:
    if rule.startswith("unlocked") and schedule == "lockstep":
        update_probability, losses, reorder = 1.0, False, False
    settings = {"schedule": schedule, "window": window, "gradient_queue": gradient_queue}
    network = TracedNetwork(tiny(rule, update_probability=update_probability, **settings))
    shuffle(network, seed, MOVES, losses, reorder)
    network.drain()
    for layer in network.layers():
        check_counters(network, layer, not (losses or reorder))
    check_source(network)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_in_order_uses_every_message(rule: str) -> None:
    network = TracedNetwork(tiny(rule, schedule="lockstep"))
    network.drain()
    for layer in network.layers():
        check_counters(network, layer, in_order=True)
        assert not network.tracers[layer.name].drops
        assert not network.tracers[layer.name].held_back
        assert layer.stats.activations == STEPS


def test_a_message_from_a_stage_that_may_not_send_it_is_traced_as_ignored() -> None:
    network = TracedNetwork(tiny("cdni"))
    source, layer = network.stages[SOURCE], network.stages["layer1"]
    for stage, sender in ((layer, "layer3"), (layer, SOURCE), (source, "layer2")):
        message = Gradient(1, 0, network.layers()[1].stack.parameters)
        tracer = network.tracers[stage.name]
        tracer.receives(message)
        stage.receive(sender, message)
        assert not tracer.waiting.total()
        assert tracer.drops[sender, "Gradient", "ignored"] == 1


def test_evaluations_are_not_traced() -> None:
    network = TracedNetwork(tiny("backprop"))
    network.drain()
    assert [type(e) for e in network.evaluations] == [Evaluated, Evaluated]
