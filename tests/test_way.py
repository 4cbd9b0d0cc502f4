"""The window to a neighbour far off follows the way."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.transport.window import Way

MS = 10**6
SECOND = 10**9


def travel(
    way: Way,
    delay_ms: float,
    service_ms: float,
    seconds: int,
    begin: int = 0,
    varies_ms: float = 0,
) -> float:
    """Send as fast as the window lets us to one that needs so long a batch; batches a second.

    Each direction takes `delay_ms`, and at random up to `varies_ms` longer, but nothing overtakes.
    """
    rng = random.Random(0)
    now = free = home = batch = begin * SECOND
    flying: deque[tuple[int, int]] = deque()
    looked, done = now, 0
    while now < (begin + seconds) * SECOND:
        while len(flying) < way.window:
            batch += 1
            way.sends(batch, now, 100)
            there, back = (delay_ms + varies_ms * rng.random() for _ in range(2))
            free = max(free, now + round(there * MS)) + round(service_ms * MS)
            home = max(home, free + round(back * MS))
            flying.append((batch, home))
        first, now = flying.popleft()
        way.credited(first, now)
        done += 1
        if way.eager or now - looked > SECOND // 2:
            looked = now
            way.look(now)
    return done / seconds


def test_a_long_way_is_kept_full() -> None:
    way = Way(4, 200)
    assert travel(way, 50, 4, 60) > 0.9 * 250
    assert 25 <= way.window <= 60


def test_a_way_is_kept_nearly_full_though_its_delay_varies() -> None:
    way = Way(4, 200)
    assert travel(way, 10, 2, 60, varies_ms=40) > 0.8 * 500


def test_a_short_way_has_nearly_the_usual_window() -> None:
    way = Way(4, 200)
    travel(way, 0.1, 4, 120)
    assert way.window <= 12


@pytest.mark.parametrize("service_ms", [50, 200, 500])
def test_a_slow_receiver_gets_no_longer_queue_with_time(service_ms: float) -> None:
    way = Way(4, 200)
    travel(way, 10, service_ms, 1200)
    assert way.window <= 12


def test_the_window_never_leaves_its_bounds() -> None:
    way = Way(4, 8)
    travel(way, 100, 1, 30)
    assert way.window == 8
    locked = Way(1, 1)
    travel(locked, 100, 1, 30)
    assert locked.window == 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, SECOND)), max_size=60)
)
def test_whatever_comes_the_window_is_one(told: list[tuple[int, int, int]]) -> None:
    way, now = Way(2, 16), 0
    for what, batch, later in told:
        now += later
        if what == 0:
            way.sends(batch, now, 100)
        elif what == 1:
            way.credited(batch, now)
        else:
            way.look(now)
        assert 2 <= way.window <= 16


def test_a_slow_moment_does_not_narrow_the_window() -> None:
    way = Way(4, 200)
    travel(way, 50, 4, 20)
    usual, end = way.window, 21 * SECOND
    for batch in (end, end + 1):
        way.sends(batch, end, 100)
        way.credited(batch, end + 200 * MS)
    assert way.look(end + 500 * MS) >= usual - 1


def test_a_way_that_becomes_longer_gets_a_larger_window() -> None:
    way = Way(4, 200)
    travel(way, 10, 4, 60)
    short = way.window
    travel(way, 60, 4, 120, begin=60)
    assert short <= 15
    assert way.window >= 120 // 4
