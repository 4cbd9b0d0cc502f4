"""Where the way is long windows grow; what holds of windows holds of those of the moment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import Edge, Idle
from protocol.spec import RULES, SOURCE
from tests.network import DATA, STEPS, Network, shuffle, tiny
from workers.flow import Flow

seeds = st.integers(0, 2**32)
moves = st.lists(st.sampled_from(("send", "settle", "settle all", "idle")), max_size=120)


@given(st.integers(1, 9), st.integers(1, 40), moves)
def test_a_window_grows_only_when_full_and_used_by_a_quarter_and_never_beyond_the_most(
    window: int, more: int, moves: list[str]
) -> None:
    flow, sent, settled = Flow(window), 0, 0
    flow.most = window + more
    under_way = 0
    for move in moves:
        before, full, used = flow.window, not flow.open, settled >= flow.window
        match move:
            case "send" if flow.open:
                sent, under_way = sent + 1, under_way + 1
                flow.send(sent)
            case "settle" | "settle all" if under_way:
                count = 1 if move == "settle" else under_way
                flow.settle(sent - under_way + count)
                under_way, settled = under_way - count, settled + count
            case "idle":
                flow.idle()
                if full and used:
                    assert flow.window == min(flow.most, before + max(1, before // 4))
                    before, settled = flow.window, 0
        assert flow.window == before
        assert under_way <= flow.window <= flow.most


def test_a_window_that_may_not_grow_does_not() -> None:
    flow = Flow(1)
    for batch in range(1, 50):
        flow.send(batch)
        flow.idle()
        flow.settle(batch)
    assert flow.window == 1


def test_a_window_grows_to_the_most_where_the_receiver_is_idle_again_and_again() -> None:
    flow, batch, seen = Flow(4), 0, [4]
    flow.most = 20
    while flow.window < flow.most:
        while flow.open:
            batch += 1
            flow.send(batch)
        flow.idle()
        if flow.window != seen[-1]:
            seen.append(flow.window)
        flow.settle(batch)
        assert batch < 1000
    assert seen == [4, 5, 6, 7, 8, 10, 12, 15, 18, 20]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["free", "lockstep"])
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    window=st.integers(1, 3),
    most_window=st.integers(1, 12),
    gradient_queue=st.sampled_from([None, 1]),
    losses=st.booleans(),
)
def test_any_delivery_over_long_ways_drains_within_the_window_of_the_moment(
    rule: str,
    schedule: str,
    seed: int,
    window: int,
    most_window: int,
    gradient_queue: int | None,
    losses: bool,
) -> None:
    pipeline = tiny(
        rule,
        schedule=schedule,
        window=window,
        most_window=most_window,
        gradient_queue=gradient_queue,
    )
    network = Network(pipeline, stretched=True)
    shuffle(network, seed, 400, losses and not pipeline.unlocked, False)
    network.drain()
    assert [e.step for e in network.evaluations] == [4, STEPS]
    assert all(e.judged == len(DATA.x_test) for e in network.evaluations)
    for layer in network.layers():
        assert not pipeline.lockstep or layer._flow.window == 1


@pytest.mark.parametrize("rule", RULES)
def test_long_ways_in_lockstep_learn_what_short_ones_do(rule: str) -> None:
    near, far = (
        Network(tiny(rule, schedule="lockstep"), stretched=stretched) for stretched in (False, True)
    )
    near.drain()
    far.drain()
    assert near.learnt() == far.learnt()


def test_who_is_idle_says_so_once_for_each_credit_and_only_where_the_way_is_long() -> None:
    for stretched in (False, True):
        network = Network(tiny("cdni", steps=12, eval_every=0, most_window=8), stretched=stretched)
        said: list[tuple[Edge, int]] = []
        for _ in range(400):
            for name in network.cores:
                network.work(name)
            for edge, queue in network.queues.items():
                while queue:
                    if isinstance(queue[0], Idle):
                        said.append((edge, queue[0].credit))
                    network.deliver(edge)
        assert network.finished
        assert bool(said) == stretched
        assert len(set(said)) == len(said)


def test_between_machines_the_window_grows_where_the_way_takes_long() -> None:
    settings = {"steps": 60, "eval_every": 0, "window": 2, "most_window": 6}
    network = Network(tiny("cdni", **settings), stretched=True)
    edge = Edge(SOURCE, "layer0")
    for _ in range(5000):
        for name in network.cores:
            network.work(name)
        for other, queue in network.queues.items():
            while queue and other != edge:
                network.deliver(other)
                network.work(other.receiver)
        if len(network.queues[edge]) >= network.window(edge) or network.cores[SOURCE].step >= 60:
            while network.queues[edge]:
                network.deliver(edge)
                network.work("layer0")
    assert network.window(edge) == 6
