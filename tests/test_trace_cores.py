"""A journal hears of every message once: it was used, it was dropped, or it still waits."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Activation, DataMessage, Edge, Evaluated, Gradient, Pipeline, Send, Stage
from protocol.pipeline import RULES, SOURCE
from protocol.trace_format import DropReason, MessageKind
from tests.examples import examples
from tests.network import STEPS, Network, shuffle, tiny
from workers.rules.unlocked_dni import UnlockedLayer
from workers.stages.layer import LayerStage

MOVES = 400


class Cause(NamedTuple):
    """What a core is at work on."""

    sender: str
    batch: int


class Ledger:
    """Keeps what one core tells its journal, and sees that it can be."""

    def __init__(self) -> None:
        self.waiting: Counter[int] = Counter()  # received; objects by their place in memory
        self.kept: list[DataMessage] = []  # so that these places are not used again
        self.uses: Counter[tuple[str, str, bool]] = Counter()
        self.drops: Counter[tuple[str, str, DropReason]] = Counter()
        self.holds_back: Counter[tuple[str, MessageKind]] = Counter()
        self.staleness: Counter[int] = Counter()
        self.taken: dict[tuple[str, int], int] = {}
        self.cause: Cause | None = None

    def receives(self, message: DataMessage) -> None:
        self.kept.append(message)
        self.waiting[id(message)] += 1  # the mark of a drain comes twice to unlocked layers

    def _leaves(self, message: DataMessage) -> None:
        assert self.waiting[id(message)] > 0, "used or dropped twice, or never had"
        self.waiting[id(message)] -= 1

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        self._leaves(message)
        self.uses[sender, type(message).__name__, learns(message)] += 1
        assert staleness >= 0
        if isinstance(message, Gradient):
            self.staleness[staleness] += 1
        if isinstance(message, Activation | Gradient):
            self.cause = Cause(sender, message.batch)
            self.taken[self.cause] = 1

    def resumed(self, sender: str, batch: int) -> None:
        self.cause = Cause(sender, batch)
        assert self.taken[self.cause] == 1, "resumed without having been taken up, or twice"
        self.taken[self.cause] += 1

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        self._leaves(message)
        self.drops[sender, type(message).__name__, reason] += 1

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        assert self.cause is not None
        assert self.cause.batch == batch
        self.holds_back[to, kind] += 1


def learns(message: DataMessage) -> bool:
    return isinstance(message, Gradient) or (isinstance(message, Activation) and message.train)


def queued(stage: Stage) -> Counter[int]:
    """The messages that wait in the queues of `stage`, by their addresses in memory."""
    return Counter(map(id, stage.waiting())) if isinstance(stage, LayerStage) else Counter()


class Watched(Network):
    """A network whose cores keep ledgers, which are looked at after every move and sending."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.ledgers = {name: Ledger() for name in self.cores}
        for name, core in self.cores.items():
            core.tracer = self.ledgers[name]

    def work(self, name: str) -> None:
        if self.cores[name].ready:
            self.ledgers[name].cause = None
            for send in self.cores[name].work():
                self._follows(name, send)
                self.carry(name, [send])

    def _follows(self, name: str, send: Send) -> None:
        """What is sent was led to by a message about the same batch, which was taken up before."""
        cause, message, layer = self.ledgers[name].cause, send.message, self.cores[name]
        if not isinstance(message, Activation | Gradient) or not isinstance(layer, LayerStage):
            assert cause is None or name != SOURCE
            return
        back = self.pipeline.rule == "backprop" and isinstance(message, Gradient) and layer.above
        assert cause is not None
        assert cause.batch == message.batch
        assert cause.sender in ({layer.above} if back else {layer.below, SOURCE})

    def deliver(self, edge: Edge, position: int = 0) -> None:
        queue = self.queues[edge]
        if queue:
            self.ledgers[edge.receiver].receives(queue[position % len(queue)])
            super().deliver(edge, position)
            self.check()

    def check(self) -> None:
        super().check()
        for name, core in self.cores.items():
            assert self.ledgers[name].waiting == queued(core), name


def counted(network: Watched, layer: LayerStage, in_order: bool) -> None:
    """The counters of a layer are what its journal heard; `in_order` where nothing got lost."""
    ledger, stats = network.ledgers[layer.name], layer.stats
    inputs = isinstance(layer, UnlockedLayer) and layer.inputs is not None
    fed_by = SOURCE if inputs else layer.below
    assert stats.activations == ledger.uses[fed_by, "Activation", True]
    assert stats.inputs == inputs * ledger.uses[layer.below, "Activation", True]
    assert stats.dropped_inputs == ledger.drops[layer.below, "Activation", "late"]
    assert stats.gradients == ledger.uses[layer.above, "Gradient", True]
    assert stats.staleness == ledger.staleness
    assert stats.unsent == ledger.holds_back.total()
    assert not any(reason == "ignored" for _, _, reason in ledger.drops)
    late, overtaken = (ledger.drops[layer.above, "Gradient", w] for w in ("late", "overtaken"))
    if network.pipeline.rule == "no-bprop" or not layer.above:
        assert stats.gradients == late + overtaken == stats.dropped_gradients == 0
        return
    unused = stats.activations - stats.gradients
    assert stats.dropped_gradients + len(layer.unanswered) == unused
    if network.pipeline.unlocked:  # where a layer may hear of batches that it never had
        return
    assert late + overtaken <= unused
    if in_order and network.pipeline.train.update_probability == 1:
        assert late + overtaken == stats.dropped_gradients


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
def test_whatever_comes_is_used_or_dropped_once_or_waits_and_the_counters_say_the_same(
    rule: str,
    schedule: str,
    seed: int,
    window: int,
    gradient_queue: int,
    update_probability: float,
    losses: bool,
    reorder: bool,
) -> None:
    unlocked = rule.startswith("unlocked")
    if unlocked and schedule == "lockstep":
        update_probability, losses, reorder = 1.0, False, False
    network = Watched(
        tiny(
            rule,
            schedule=schedule,
            window=window,
            gradient_queue=gradient_queue,
            update_probability=update_probability,
        )
    )
    shuffle(network, seed, MOVES, losses, reorder)
    network.drain()
    for layer in network.layers():
        counted(network, layer, not (losses or reorder))
    source = network.ledgers[SOURCE]
    assert not source.drops
    assert not source.waiting.total()
    most = 1 if not unlocked else len(network.layers())
    sent = sum(network.sent[edge] for edge in network.sent if edge.sender == SOURCE)
    assert network.cores[SOURCE].report().activations == STEPS <= sent <= most * STEPS


@pytest.mark.parametrize("rule", RULES)
def test_an_orderly_run_uses_everything(rule: str) -> None:
    network = Watched(tiny(rule, schedule="lockstep"))
    network.drain()
    for layer in network.layers():
        counted(network, layer, in_order=True)
        assert not network.ledgers[layer.name].drops
        assert not network.ledgers[layer.name].holds_back
        assert layer.stats.activations == STEPS


def test_what_a_core_has_no_business_with_is_told_as_ignored() -> None:
    network = Watched(tiny("cdni"))
    source, layer = network.cores[SOURCE], network.cores["layer1"]
    for core, sender in ((layer, "layer3"), (layer, SOURCE), (source, "layer2")):
        message = Gradient(1, 0, network.layers()[1].stack.parameters)
        ledger = network.ledgers[core.name]
        ledger.receives(message)
        core.receive(sender, message)
        assert not ledger.waiting.total()
        assert ledger.drops[sender, "Gradient", "ignored"] == 1


def test_evaluations_are_no_messages() -> None:
    network = Watched(tiny("backprop"))
    network.drain()
    assert [type(e) for e in network.evaluations] == [Evaluated, Evaluated]
