"""Between hosts windows grow; the limits hold for the windows of the moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import Edge
from protocol.pipeline import RULES, SOURCE
from tests.examples import examples
from tests.network import DATA, STEPS, Network, shuffle, tiny

seeds = st.integers(0, 2**32)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["async", "lockstep"])
@pytest.mark.parametrize("rule", RULES)
@examples(40)
@given(
    seed=seeds,
    window=st.integers(1, 3),
    max_window=st.integers(1, 12),
    gradient_queue=st.sampled_from([None, 1]),
    losses=st.booleans(),
)
def test_any_delivery_between_hosts_drains_within_the_window_of_the_moment(
    rule: str,
    schedule: str,
    seed: int,
    window: int,
    max_window: int,
    gradient_queue: int | None,
    losses: bool,
) -> None:
    pipeline = tiny(
        rule,
        schedule=schedule,
        window=window,
        max_window=max_window,
        gradient_queue=gradient_queue,
    )
    network = Network(pipeline, remote=True)
    shuffle(network, seed, 400, losses and not pipeline.unlocked, False)
    network.drain()
    assert [e.step for e in network.evaluations] == [4, STEPS]
    assert all(e.judged == len(DATA.x_test) for e in network.evaluations)
    for layer in network.layers():
        assert not pipeline.lockstep or layer.window.window == 1


@pytest.mark.parametrize("rule", RULES)
def test_in_lockstep_layers_learn_the_same_on_one_host_and_on_different_hosts(rule: str) -> None:
    local, remote = (Network(tiny(rule, schedule="lockstep"), remote=r) for r in (False, True))
    local.drain()
    remote.drain()
    assert local.arrays() == remote.arrays()


def test_a_wider_window_allows_more_batches_in_flight() -> None:
    network = Network(tiny("cdni", window=2, max_window=5), remote=True)
    edge = Edge(SOURCE, "layer0")
    for expected in (2, 3, 4, 5, 5):
        while network.stages[SOURCE].ready:
            network.work(SOURCE)
        assert len(network.in_flight[edge]) == expected
        network.widen(edge)
