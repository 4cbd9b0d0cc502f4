"""In any order of delivery, no stage stalls, queues stay bounded, and the counters are right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import LayerConfig
from protocol.pipeline import RULES
from tests.examples import examples
from tests.network import DATA, STEPS, Network, shuffle, tiny
from tests.test_delivery_order import check_unlocked_counters

LOCKED = tuple(rule for rule in RULES if not rule.startswith("unlocked"))
UNLOCKED = tuple(rule for rule in RULES if rule.startswith("unlocked"))
MOVES = 400

schedules = pytest.mark.parametrize("schedule", ["async", "lockstep"])
seeds = st.integers(0, 2**32)


def drain(network: Network) -> None:
    """Run to the end; every evaluation must have judged every test example."""
    network.drain()
    assert [e.step for e in network.evaluations] == [4, STEPS]
    assert all(e.judged == len(DATA.x_test) for e in network.evaluations)


@pytest.mark.slow
@pytest.mark.parametrize("rule", UNLOCKED)
@examples(100)
@given(seed=seeds, gradient_queue=st.sampled_from([None, 0, 1]))
def test_in_lockstep_unlocked_layers_miss_no_message(
    rule: str, seed: int, gradient_queue: int | None
) -> None:
    network = Network(tiny(rule, schedule="lockstep", gradient_queue=gradient_queue))
    shuffle(network, seed, MOVES, losses=False, reorder=False)
    drain(network)
    for layer in network.layers():
        check_unlocked_counters(network, layer)
        assert layer.stats.activations == STEPS
        assert layer.stats.inputs == (STEPS if layer.below != "source" else 0)
        assert layer.stats.gradients == (STEPS if layer.above else 0)
        assert layer.stats.unsent == 0


@pytest.mark.slow
@schedules
@pytest.mark.parametrize("rule", RULES)
@examples(100)
@given(
    seed=seeds,
    window=st.integers(1, 4),
    gradient_queue=st.sampled_from([None, 0, 1]),
    shape=st.sampled_from(["linear 6", "flatten", "relu"]),
    place=st.integers(0, 1),
)
def test_no_array_is_read_after_its_slot_is_written_again(
    rule: str,
    schedule: str,
    seed: int,
    window: int,
    gradient_queue: int | None,
    shape: str,
    place: int,
) -> None:
    pipeline = tiny(rule, schedule=schedule, window=window, gradient_queue=gradient_queue)
    layers = list(pipeline.layer)
    layers.insert(place, LayerConfig((shape,)))
    pipeline = replace(pipeline, layer=tuple(layers))
    owned, shared = Network(pipeline), Network(pipeline, slots=True)
    for network in (owned, shared):
        shuffle(network, seed, MOVES, losses=False, reorder=False)
        network.drain()
    assert owned.arrays() == shared.arrays()
    assert owned.evaluations == shared.evaluations


@pytest.mark.parametrize("rule", RULES)
@examples(40)
@given(seed=seeds)
def test_in_lockstep_the_order_of_delivery_does_not_change_the_weights(
    rule: str, seed: int
) -> None:
    ordered, shuffled = (Network(tiny(rule, schedule="lockstep")) for _ in range(2))
    ordered.drain()
    shuffle(shuffled, seed, MOVES, losses=False, reorder=False)
    shuffled.drain()
    assert ordered.arrays() == shuffled.arrays()
    assert ordered.evaluations == shuffled.evaluations


@pytest.mark.slow
@schedules
@pytest.mark.parametrize("rule", RULES)
@examples(25)
@given(
    seed=seeds,
    window=st.integers(1, 4),
    eval_every=st.integers(1, 4),
    batch=st.sampled_from([2, 4, 8]),
)
def test_without_losses_no_credit_needs_to_be_sent_again(
    rule: str, schedule: str, seed: int, window: int, eval_every: int, batch: int
) -> None:
    pipeline = tiny(rule, schedule=schedule, window=window, eval_every=eval_every)
    network = Network(replace(pipeline, data=replace(pipeline.data, batch=batch)))
    shuffle(network, seed, 4 * MOVES, losses=False, reorder=False, resend=False)
    network.drain(resend=False)
