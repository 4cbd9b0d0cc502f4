"""A credit window counts the batches in flight on an edge."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.stages.credits import CreditWindow


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_batches_in_flight_are_those_that_no_credit_covers(
    size: int, moves: list[tuple[bool, int]]
) -> None:
    window, in_flight, credit, newest = CreditWindow(size), list[int](), 0, 0
    for is_credit, number in moves:
        if is_credit:
            window.acknowledge(number)
            if number in in_flight:
                credit, in_flight = number, in_flight[in_flight.index(number) + 1 :]
        elif window.open:
            newest = number if number not in in_flight and number > 0 else newest + 100
            window.send(newest)
            in_flight.append(newest)
        assert window.credit == credit
        assert window.open == (len(in_flight) < size)
        assert window.empty == (not in_flight)
        assert len(in_flight) <= size


def test_batches_leave_the_window_in_the_order_in_which_they_were_sent() -> None:
    """An unlocked layer sends a training batch before a test batch with a lower number."""
    window = CreditWindow(3)
    for batch in (7, 5, 6):
        window.send(batch)
    window.acknowledge(7)
    assert not window.empty
    window.acknowledge(5)
    assert not window.empty
    window.acknowledge(6)
    assert window.empty


def test_a_credit_for_a_batch_that_was_never_sent_changes_nothing() -> None:
    window = CreditWindow(1)
    window.acknowledge(1000)
    window.send(7)
    assert (window.open, window.credit) == (False, 0)
    window.acknowledge(6)
    assert not window.open
    window.acknowledge(7)
    assert (window.open, window.credit) == (True, 7)
    window.acknowledge(3)
    assert window.credit == 7
