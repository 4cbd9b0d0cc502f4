"""A network of stages under any order of work and delivery, as a state machine.

Hypothesis chooses every move, so a failure shrinks to the shortest order that shows it, and is
printed as a program. `Network` checks its invariants after every move. At the end the network
runs until all stages have finished, and its counters are compared with the messages sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from protocol import Edge, Gradient
from protocol.pipeline import RULES, SOURCE
from tests.examples import examples
from tests.network import DATA, STEPS, Network, tiny
from workers.stages.layer import LayerStage

MOVES: Final = 100
ROUNDS: Final = 100
"""In each, every stage works once and every queue is emptied; a dozen are enough."""
Name = TypeVar("Name")
stages = st.integers(0, 4)
edges = st.integers(0, 15)


def _choose(names: Sequence[Name], number: int) -> Name:
    return names[number % len(names)]


class DeliveryOrder(RuleBasedStateMachine):
    """Moves of a network; `losses` allows lost gradients, `reorder` overtaking."""

    @initialize(
        rule=st.sampled_from(RULES),
        lockstep=st.booleans(),
        window=st.integers(1, 5),
        gradient_queue=st.sampled_from([None, 0, 1, 2]),
        losses=st.booleans(),
        reorder=st.booleans(),
    )
    def build(
        self,
        rule: str,
        lockstep: bool,
        window: int,
        gradient_queue: int | None,
        losses: bool,
        reorder: bool,
    ) -> None:
        in_order = lockstep and rule.startswith("unlocked")
        self.losses, self.reorder = losses and not in_order, reorder and not in_order
        schedule = "lockstep" if lockstep else "async"
        pipeline = tiny(rule, schedule=schedule, window=window, gradient_queue=gradient_queue)
        self.network = Network(pipeline)
        self.stages, self.edges = list(self.network.stages), list(self.network.queues)
        self.has_failed = False

    def _move(self, move: Callable[[], None]) -> None:
        self.has_failed = True
        move()
        self.has_failed = False

    def _edge(self, number: int, kind: type = object) -> Edge:
        """An edge on which a message of `kind` is next, if there is one."""
        queues = self.network.queues.items()
        found = [edge for edge, queue in queues if queue and isinstance(queue[0], kind)]
        return _choose(found or self.edges, number)

    @rule(stage=stages)
    def work(self, stage: int) -> None:
        ready = [name for name in self.stages if self.network.stages[name].ready]
        self._move(lambda: self.network.work(_choose(ready or self.stages, stage)))

    @rule(edge=edges)
    def deliver(self, edge: int) -> None:
        self._move(lambda: self.network.deliver(self._edge(edge)))

    @rule(edge=edges, position=st.integers(1, 3))
    def overtake(self, edge: int, position: int) -> None:
        if self.reorder and self.network.may_reorder(self._edge(edge)):
            self._move(lambda: self.network.deliver(self._edge(edge), position))

    @rule(stage=stages)
    def resend_credits(self, stage: int) -> None:
        self._move(lambda: self.network.resend_credits(_choose(self.stages, stage)))

    @rule(edge=edges)
    def lose_gradient(self, edge: int) -> None:
        if self.losses:
            self._move(lambda: self.network.lose_gradient(self._edge(edge, Gradient)))

    def teardown(self) -> None:
        if hasattr(self, "network") and not self.has_failed:
            self._finish()

    def _finish(self) -> None:
        self.network.drain(max_rounds=ROUNDS)
        assert [e.step for e in self.network.evaluations] == [4, STEPS]
        assert all(e.judged == len(DATA.x_test) for e in self.network.evaluations)
        for layer in self.network.layers():
            if self.network.pipeline.unlocked:
                check_unlocked_counters(self.network, layer)
            else:
                self._check_locked_counters(layer)

    def _check_locked_counters(self, layer: LayerStage) -> None:
        stats, pipeline = layer.stats, self.network.pipeline
        assert stats.activations == STEPS
        assert (stats.inputs, stats.dropped_inputs, stats.unsent) == (0, 0, 0)
        if pipeline.rule == "no-bprop" or not layer.above:
            return
        assert stats.gradients + stats.dropped_gradients == STEPS
        if not self.losses and not self.reorder and pipeline.train.gradient_queue == 0:
            assert stats.dropped_gradients == 0


def check_unlocked_counters(network: Network, layer: LayerStage) -> None:
    """Every message to and from an unlocked layer was used, dropped, not sent, or is remembered."""
    stats = layer.stats
    fed = network.sent[Edge(SOURCE, layer.name)]
    real = network.sent[Edge(layer.below, layer.name)] if layer.below != SOURCE else 0
    up = network.sent[Edge(layer.name, layer.above)] if layer.above else 0
    down = network.sent[Edge(layer.name, layer.below)]
    assert stats.activations == stats.updates == fed <= STEPS
    assert stats.inputs + stats.dropped_inputs == real
    unsent_up = fed - up if layer.above else 0
    unsent_down = fed - down if layer.needs_input_gradient else 0
    assert stats.unsent == unsent_up + unsent_down
    if layer.above:
        assert stats.gradients + stats.dropped_gradients + len(layer.unanswered) == fed
        assert stats.gradients <= network.sent[Edge(layer.above, layer.name)]


TestDeliveryOrder = DeliveryOrder.TestCase
TestDeliveryOrder.settings = settings(examples(1000), stateful_step_count=MOVES)
