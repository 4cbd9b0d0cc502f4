"""What is under way on an edge, against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.stages.credits import Flow


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_a_flow_is_the_batches_that_no_credit_covers(
    window: int, moves: list[tuple[bool, int]]
) -> None:
    flow, under_way, credit, newest = Flow(window), list[int](), 0, 0
    for is_credit, number in moves:
        if is_credit:
            flow.settle(number)
            if number in under_way:
                credit, under_way = number, under_way[under_way.index(number) + 1 :]
        elif flow.open:
            newest = number if number not in under_way and number > 0 else newest + 100
            flow.send(newest)
            under_way.append(newest)
        assert flow.credit == credit
        assert flow.open == (len(under_way) < window)
        assert flow.dry == (not under_way)
        assert len(under_way) <= window


def test_batches_leave_in_the_order_in_which_they_were_sent() -> None:
    """An unlocked layer sends a training batch before a test batch of a smaller number."""
    flow = Flow(3)
    for batch in (7, 5, 6):
        flow.send(batch)
    flow.settle(7)
    assert not flow.dry
    flow.settle(5)
    assert not flow.dry
    flow.settle(6)
    assert flow.dry


def test_a_credit_for_what_was_never_sent_opens_nothing() -> None:
    flow = Flow(1)
    flow.settle(1000)
    flow.send(7)
    assert (flow.open, flow.credit) == (False, 0)
    flow.settle(6)
    assert not flow.open
    flow.settle(7)
    assert (flow.open, flow.credit) == (True, 7)
    flow.settle(3)
    assert flow.credit == 7
