"""The window to a neighbour on another host follows rate and round-trip time of the link."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.window_controller import WindowController

MS = 10**6
SECOND = 10**9


def simulate(
    link: WindowController,
    delay_ms: float,
    service_ms: float,
    seconds: int,
    begin: int = 0,
    varies_ms: float = 0,
) -> float:
    """Batches per second to a receiver that takes `service_ms` per batch, limited by the window.

    Each direction takes `delay_ms`, and at random up to `varies_ms` longer; the order is kept.
    """
    rng = random.Random(0)
    now = free = back_at = batch = begin * SECOND
    flying: deque[tuple[int, int]] = deque()
    updated, done = now, 0
    while now < (begin + seconds) * SECOND:
        while len(flying) < link.window:
            batch += 1
            link.on_sent(batch, now, 100)
            there, back = (delay_ms + varies_ms * rng.random() for _ in range(2))
            free = max(free, now + round(there * MS)) + round(service_ms * MS)
            back_at = max(back_at, free + round(back * MS))
            flying.append((batch, back_at))
        first, now = flying.popleft()
        link.on_credit(first, now)
        done += 1
        if link.in_startup or now - updated > SECOND // 2:
            updated = now
            link.update(now)
    return done / seconds


def test_a_long_link_is_kept_full() -> None:
    link = WindowController(4, 200)
    assert simulate(link, 50, 4, 60) > 0.9 * 250
    assert 25 <= link.window <= 60


def test_a_link_with_jitter_is_kept_nearly_full() -> None:
    link = WindowController(4, 200)
    assert simulate(link, 10, 2, 60, varies_ms=40) > 0.8 * 500


def test_a_short_link_has_a_small_window() -> None:
    link = WindowController(4, 200)
    simulate(link, 0.1, 4, 120)
    assert link.window <= 12


@pytest.mark.parametrize("service_ms", [50, 200, 500])
def test_a_slow_receiver_does_not_get_a_growing_queue(service_ms: float) -> None:
    link = WindowController(4, 200)
    simulate(link, 10, service_ms, 1200)
    assert link.window <= 12


def test_the_window_never_leaves_its_bounds() -> None:
    link = WindowController(4, 8)
    simulate(link, 100, 1, 30)
    assert link.window == 8
    locked = WindowController(1, 1)
    simulate(locked, 100, 1, 30)
    assert locked.window == 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, SECOND)), max_size=60)
)
def test_any_sequence_of_events_keeps_the_window_in_its_bounds(
    events: list[tuple[int, int, int]],
) -> None:
    link, now = WindowController(2, 16), 0
    for what, batch, later in events:
        now += later
        if what == 0:
            link.on_sent(batch, now, 100)
        elif what == 1:
            link.on_credit(batch, now)
        else:
            link.update(now)
        assert 2 <= link.window <= 16


def test_two_slow_batches_do_not_shrink_the_window() -> None:
    link = WindowController(4, 200)
    simulate(link, 50, 4, 20)
    usual, end = link.window, 21 * SECOND
    for batch in (end, end + 1):
        link.on_sent(batch, end, 100)
        link.on_credit(batch, end + 200 * MS)
    assert link.update(end + 500 * MS) >= usual - 1


def test_a_link_that_becomes_longer_gets_a_larger_window() -> None:
    link = WindowController(4, 200)
    simulate(link, 10, 4, 60)
    short = link.window
    simulate(link, 60, 4, 120, begin=60)
    assert short <= 15
    assert link.window >= 120 // 4
