"""What the two ends of an edge recorded is put together as a plain dictionary would do it."""

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
    by_hand,
    described,
    laid_out,
)

UP = Edge("layer0", "layer1")
EDGES = {
    "layer0": ["source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0"],
    "layer1": ["layer0>layer1", "layer1>layer0"],
}
numbers = st.lists(st.integers(0, 12) | st.integers(0, 2**64 - 1), max_size=30)


def naive(known: list[int], wanted: list[int]) -> list[int]:
    """The n-th of equal numbers goes to the n-th."""
    places = {}
    count: Counter[int] = Counter()
    for place, number in enumerate(known):
        places[number, count[number]] = place
        count[number] += 1
    count.clear()
    found = []
    for number in wanted:
        found.append(places.get((number, count[number]), NEVER))
        count[number] += 1
    return found


def arrays(*lists: list[int]) -> list[np.typing.NDArray[np.uint64]]:
    return [np.array(numbers, np.uint64) for numbers in lists]


@examples(500)
@given(known=numbers, wanted=numbers)
def test_numbers_in_any_order_are_matched_as_by_a_dictionary(
    known: list[int], wanted: list[int]
) -> None:
    assert match_numbers(*arrays(known, wanted)).tolist() == naive(known, wanted)


@examples(300)
@given(
    length=st.integers(0, 40),
    cut=st.tuples(*[st.integers(0, 8)] * 4),
    gaps=st.sets(st.integers(0, 40)),
    repeats=st.sets(st.integers(0, 40)),
)
def test_numbers_that_miss_some_at_either_end_are_matched_as_by_a_dictionary(
    length: int, cut: tuple[int, int, int, int], gaps: set[int], repeats: set[int]
) -> None:
    whole = sorted([*range(length), *(n for n in repeats if n < length)])
    known = whole[cut[0] : len(whole) - cut[1]]
    wanted = [n for n in whole[cut[2] : len(whole) - cut[3]] if n not in gaps]
    assert match_numbers(*arrays(known, wanted)).tolist() == naive(known, wanted)


# -- whole messages


class Told:
    """What both ends record of messages on an edge, and what becomes of them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {"layer0": [], "layer1": []}
        self.time = SECOND

    def say(self, core: str, event: int, kind: int, batch: int, **fields: int) -> int:
        self.time += 10
        edge = EDGES[core].index(str(UP))
        row = Row(self.time, batch=batch, edge=edge, event=event, kind=kind, **fields)
        self.rows[core].append(row)
        return self.time


outcomes = st.lists(
    st.sampled_from(["used", "dropped", "unsent", "waiting", "missing"]), max_size=25
)


@examples(200)
@given(outcomes=outcomes, order=st.randoms(use_true_random=False), closed=st.booleans())
def test_every_message_has_the_fate_that_its_ends_recorded(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[str], order: object, closed: bool
) -> None:
    told = Told()
    expected: dict[int, tuple[object, ...]] = {}
    arrived: list[tuple[int, str]] = []
    sent, used, received = {}, {}, {}
    for batch, outcome in enumerate(outcomes, 1):
        if outcome == "unsent":
            used[batch] = told.say(
                "layer0", DROPPED, ACTIVATION, batch, reason=BEHIND, version=batch
            )
            continue
        sent[batch] = told.say("layer0", SENT, ACTIVATION, batch, bytes=100 + batch, version=batch)
        if outcome != "missing":
            arrived.append((batch, outcome))
            received[batch] = told.say("layer1", RECEIVED, ACTIVATION, batch, queue=batch % 7)
    order.shuffle(arrived)  # type: ignore[attr-defined]
    for batch, outcome in arrived:
        if outcome == "used":
            used[batch] = told.say("layer1", USED, ACTIVATION, batch, staleness=batch % 5)
        elif outcome == "dropped":
            used[batch] = told.say("layer1", DROPPED, ACTIVATION, batch, reason=LATE)
    folder = tmp_path_factory.mktemp("run")
    files = {
        core: laid_out(described(core, EDGES[core]), rows, closed=core == "layer0" or closed)
        for core, rows in told.rows.items()
    }
    traces = by_hand(folder, files)
    found = list(traces.messages(UP))
    if not outcomes:
        assert found == []
        return
    (messages,) = found
    for place, batch in enumerate(messages.batch.tolist()):
        outcome = outcomes[batch - 1]
        expected[batch] = (outcome, sent.get(batch, NEVER), received.get(batch, NEVER))
        assert (
            OUTCOMES[messages.outcome[place]],
            messages.sent[place],
            messages.received[place],
        ) == (expected[batch])
        assert messages.used[place] == used.get(batch, NEVER)
        assert messages.bytes[place] == (100 + batch if batch in sent else 0)
        assert messages.version[place] == batch
        assert messages.queue[place] == (batch % 7 if batch in received else 0)
        assert messages.staleness[place] == (batch % 5 if outcome == "used" else 0)
        assert messages.reason[place] == {"dropped": LATE, "unsent": BEHIND}.get(outcome, 0)
    assert expected.keys() == set(range(1, len(outcomes) + 1))
    ledger = Counter(outcomes)
    (totals,) = edge_counts(traces)
    assert totals == count_messages(messages)
    assert totals.balanced
    assert totals.sent == len(sent)
    assert totals.bytes == sum(100 + batch for batch in sent)
    assert (totals.used, totals.unsent) == (ledger["used"], ledger["unsent"])
    assert (totals.waiting, totals.missing) == (ledger["waiting"], ledger["missing"])
    assert totals.dropped == ({"late": ledger["dropped"]} if ledger["dropped"] else {})
    assert loss_reason(traces, UP) == ("the run ended" if closed else "the worker of layer1 died")


def test_repeated_credits_are_told_apart_by_which_time_they_come(tmp_path: Path) -> None:
    told = Told()
    times = [told.say("layer0", SENT, CREDIT, 3) for _ in range(3)]
    came = [told.say("layer1", event, CREDIT, 3) for event in (RECEIVED, USED, RECEIVED)]
    files = {core: laid_out(described(core, EDGES[core]), rows) for core, rows in told.rows.items()}
    (messages,) = by_hand(tmp_path, files).messages(UP)
    assert messages.sent.tolist() == times
    assert messages.received.tolist() == [came[0], came[2], NEVER]
    assert [OUTCOMES[outcome] for outcome in messages.outcome] == ["used", "waiting", "missing"]


def test_books_that_do_not_balance_say_so(tmp_path: Path) -> None:
    told = Told()
    told.say("layer0", SENT, GRADIENT, 1)
    for batch in (1, 2):
        told.say("layer1", RECEIVED, GRADIENT, batch)
    told.say("layer1", USED, GRADIENT, 1)
    files = {core: laid_out(described(core, EDGES[core]), rows) for core, rows in told.rows.items()}
    traces = by_hand(tmp_path, files)
    (messages,) = traces.messages(UP)
    for found in (*edge_counts(traces), count_messages(messages)):
        assert found.unmatched == 1
        assert not found.balanced
