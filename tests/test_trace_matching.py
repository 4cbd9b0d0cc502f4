"""The records of the two ends of an edge are matched as a dictionary would match them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.traces.events import NEVER
from coordinator.traces.matching import match_numbers
from coordinator.traces.message_accounting import count_messages, edge_counts, loss_reason
from coordinator.traces.messages import OUTCOMES
from protocol import Edge
from tests.examples import examples
from tests.traced import (
    ACTIVATION,
    BEHIND,
    CREDIT,
    DROPPED,
    GRADIENT,
    LATE,
    RECEIVED,
    SECOND,
    SENT,
    USED,
    Row,
    handmade,
    trace_bytes,
    trace_metadata,
)

UP = Edge("layer0", "layer1")
EDGES = {
    "layer0": ["source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0"],
    "layer1": ["layer0>layer1", "layer1>layer0"],
}
numbers = st.lists(st.integers(0, 12) | st.integers(0, 2**64 - 1), max_size=30)


def naive(known: list[int], wanted: list[int]) -> list[int]:
    """Match the n-th of equal numbers with the n-th, by a dictionary."""
    indices = {}
    count: Counter[int] = Counter()
    for index, number in enumerate(known):
        indices[number, count[number]] = index
        count[number] += 1
    count.clear()
    found = []
    for number in wanted:
        found.append(indices.get((number, count[number]), NEVER))
        count[number] += 1
    return found


def arrays(*lists: list[int]) -> list[np.typing.NDArray[np.uint64]]:
    return [np.array(numbers, np.uint64) for numbers in lists]


@examples(500)
@given(known=numbers, wanted=numbers)
def test_numbers_in_any_order_match_as_in_a_dictionary(known: list[int], wanted: list[int]) -> None:
    assert match_numbers(*arrays(known, wanted)).tolist() == naive(known, wanted)


@examples(300)
@given(
    length=st.integers(0, 40),
    cut=st.tuples(*[st.integers(0, 8)] * 4),
    gaps=st.sets(st.integers(0, 40)),
    repeats=st.sets(st.integers(0, 40)),
)
def test_numbers_with_gaps_and_repeats_match_as_in_a_dictionary(
    length: int, cut: tuple[int, int, int, int], gaps: set[int], repeats: set[int]
) -> None:
    whole = sorted([*range(length), *(n for n in repeats if n < length)])
    known = whole[cut[0] : len(whole) - cut[1]]
    wanted = [n for n in whole[cut[2] : len(whole) - cut[3]] if n not in gaps]
    assert match_numbers(*arrays(known, wanted)).tolist() == naive(known, wanted)


# -- whole messages


class BothEnds:
    """The records of both ends of an edge."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {"layer0": [], "layer1": []}
        self.time = SECOND

    def record(self, stage: str, event: int, kind: int, batch: int, **fields: int) -> int:
        self.time += 10
        edge = EDGES[stage].index(str(UP))
        row = Row(self.time, batch=batch, edge=edge, event=event, kind=kind, **fields)
        self.rows[stage].append(row)
        return self.time

    def files(self, closed: bool = True) -> dict[str, bytes]:
        """The trace files of both ends; that of layer1 is `closed` or not."""
        return {
            stage: trace_bytes(
                trace_metadata(stage, EDGES[stage]), rows, closed=stage == "layer0" or closed
            )
            for stage, rows in self.rows.items()
        }


outcomes = st.lists(
    st.sampled_from(["used", "dropped", "unsent", "waiting", "missing"]), max_size=25
)


Times = dict[int, int]


def recorded(outcomes: list[str], order: object) -> tuple[BothEnds, Times, Times, Times]:
    """The records of messages with `outcomes`, and the times of sending, use and receiving."""
    ends = BothEnds()
    arrived: list[tuple[int, str]] = []
    sent: Times = {}
    used: Times = {}
    received: Times = {}
    for batch, outcome in enumerate(outcomes, 1):
        if outcome == "unsent":
            used[batch] = ends.record(
                "layer0", DROPPED, ACTIVATION, batch, reason=BEHIND, version=batch
            )
            continue
        sent[batch] = ends.record(
            "layer0", SENT, ACTIVATION, batch, bytes=100 + batch, version=batch
        )
        if outcome != "missing":
            arrived.append((batch, outcome))
            received[batch] = ends.record("layer1", RECEIVED, ACTIVATION, batch, queue=batch % 7)
    order.shuffle(arrived)  # type: ignore[attr-defined]
    for batch, outcome in arrived:
        if outcome == "used":
            used[batch] = ends.record("layer1", USED, ACTIVATION, batch, staleness=batch % 5)
        elif outcome == "dropped":
            used[batch] = ends.record("layer1", DROPPED, ACTIVATION, batch, reason=LATE)
    return ends, sent, used, received


@examples(200)
@given(outcomes=outcomes, order=st.randoms(use_true_random=False), closed=st.booleans())
def test_every_message_has_the_outcome_that_its_ends_recorded(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[str], order: object, closed: bool
) -> None:
    ends, sent, used, received = recorded(outcomes, order)
    expected: dict[int, tuple[object, ...]] = {}
    folder = tmp_path_factory.mktemp("run")
    traces = handmade(folder, ends.files(closed))
    found = list(traces.messages(UP))
    if not outcomes:
        assert found == []
        return
    (messages,) = found
    for index, batch in enumerate(messages.batch.tolist()):
        outcome = outcomes[batch - 1]
        expected[batch] = (outcome, sent.get(batch, NEVER), received.get(batch, NEVER))
        assert (
            OUTCOMES[messages.outcome[index]],
            messages.sent[index],
            messages.received[index],
        ) == (expected[batch])
        assert messages.used[index] == used.get(batch, NEVER)
        assert messages.bytes[index] == (100 + batch if batch in sent else 0)
        assert messages.version[index] == batch
        assert messages.queue[index] == (batch % 7 if batch in received else 0)
        assert messages.staleness[index] == (batch % 5 if outcome == "used" else 0)
        assert messages.reason[index] == {"dropped": LATE, "unsent": BEHIND}.get(outcome, 0)
    assert expected.keys() == set(range(1, len(outcomes) + 1))
    counted = Counter(outcomes)
    (totals,) = edge_counts(traces)
    assert totals == count_messages(messages)
    assert totals.balanced
    assert totals.sent == len(sent)
    assert totals.bytes == sum(100 + batch for batch in sent)
    assert (totals.used, totals.unsent) == (counted["used"], counted["unsent"])
    assert (totals.waiting, totals.missing) == (counted["waiting"], counted["missing"])
    assert totals.dropped == ({"late": counted["dropped"]} if counted["dropped"] else {})
    assert loss_reason(traces, UP) == ("the run ended" if closed else "the worker of layer1 died")


def test_repeated_credits_match_by_their_occurrence(tmp_path: Path) -> None:
    ends = BothEnds()
    times = [ends.record("layer0", SENT, CREDIT, 3) for _ in range(3)]
    received = [ends.record("layer1", event, CREDIT, 3) for event in (RECEIVED, USED, RECEIVED)]
    files = {
        stage: trace_bytes(trace_metadata(stage, EDGES[stage]), rows)
        for stage, rows in ends.rows.items()
    }
    (messages,) = handmade(tmp_path, files).messages(UP)
    assert messages.sent.tolist() == times
    assert messages.received.tolist() == [received[0], received[2], NEVER]
    assert [OUTCOMES[outcome] for outcome in messages.outcome] == ["used", "waiting", "missing"]


def test_counts_with_an_unmatched_message_are_not_balanced(tmp_path: Path) -> None:
    ends = BothEnds()
    ends.record("layer0", SENT, GRADIENT, 1)
    for batch in (1, 2):
        ends.record("layer1", RECEIVED, GRADIENT, batch)
    ends.record("layer1", USED, GRADIENT, 1)
    files = {
        stage: trace_bytes(trace_metadata(stage, EDGES[stage]), rows)
        for stage, rows in ends.rows.items()
    }
    traces = handmade(tmp_path, files)
    (messages,) = traces.messages(UP)
    for found in (*edge_counts(traces), count_messages(messages)):
        assert found.unmatched == 1
        assert not found.balanced
