"""What is under way on an edge, against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.flow import Flow


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_a_flow_is_the_batches_that_no_credit_covers(
    window: int, moves: list[tuple[bool, int]]
) -> None:
    flow, sent, credit, newest = Flow(window), [0], 0, 0
    for is_credit, number in moves:
        if is_credit:
            flow.settle(number)
            credit = max([credit, *(batch for batch in sent if batch <= number)])
        elif flow.open:
            newest += 1 + number
            flow.send(newest)
            sent.append(newest)
        under_way = [batch for batch in sent if batch > credit]
        assert flow.credit == credit
        assert flow.newest == newest
        assert flow.open == (len(under_way) < window)
        assert flow.dry == (not under_way)
        assert len(under_way) <= window


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
