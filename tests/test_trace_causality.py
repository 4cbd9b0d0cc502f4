"""The causal tree of a batch holds every message about it once, under the one that caused it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from coordinator.traces.causality import CausalNode, causal_tree
from coordinator.traces.find import MessageFilter, MessageRow, find_messages
from coordinator.traces.run import Traces
from protocol import RunError
from protocol.pipeline import RULES
from protocol.trace_format import ACTIVATION, GRADIENT, TEST
from tests.traced import SECOND, Row, by_hand, described, laid_out, ran, tiny

ENGINES = pytest.mark.parametrize(
    "engine", [pytest.param("local", marks=pytest.mark.slow), "inline"]
)
CHAIN = ["source>layer0", "layer0>layer1", "layer1>layer2"]
BACK = ["layer2>layer1", "layer1>layer0"]


def messages_in(nodes: Sequence[CausalNode]) -> Iterator[MessageRow]:
    for node in nodes:
        yield node.message
        yield from messages_in(node.effects)


def pairs(nodes: Sequence[CausalNode]) -> Iterator[tuple[MessageRow, MessageRow]]:
    """Each message with each message that it caused."""
    for node in nodes:
        for effect in node.effects:
            yield node.message, effect.message
        yield from pairs(node.effects)


def checked_tree(folder: Path, batch: int) -> list[CausalNode]:
    """The causal tree of the batch, which must hold every message about it exactly once."""
    _, nodes = causal_tree(folder, batch)
    found = list(messages_in(nodes))
    choice = MessageFilter(kinds=(ACTIVATION, GRADIENT, TEST), batches=(batch, batch))
    rows, count = find_messages(Traces(folder, choice.record_filter), choice)
    assert count == len(found)
    assert sorted(found, key=str) == sorted(rows, key=str)
    for before, after in pairs(nodes):
        sender, _, _ = after.edge.partition(">")
        assert before.edge.endswith(f">{sender}")
        assert before.used is not None
        assert before.used <= after.first
    return nodes


@ENGINES
@pytest.mark.parametrize("rule", RULES)
def test_causal_tree_of_every_batch_holds_all_its_messages(
    tmp_path: Path, rule: str, engine: str
) -> None:
    ran(tiny(rule, steps=20, eval_every=10), tmp_path / "run", engine)
    unlocked = rule.startswith("unlocked")
    kinds = set()
    for batch in (1, 7, 10, 11, 22, 23, 44):
        nodes = checked_tree(tmp_path / "run", batch)
        found = list(messages_in(nodes))
        kinds |= {row.kind for row in found}
        test = found[0].kind == "test"
        if test:
            assert [row.edge for row in found] == CHAIN
            assert len(nodes) == 1
        elif unlocked:
            roots = {node.message.edge for node in nodes}
            assert roots <= {"source>layer0", "source>layer1", "source>layer2"}
            assert len(roots) == len(nodes) >= 2
            sent_up = {row.edge for row in found if row.outcome != "unsent"} & set(CHAIN[1:])
            assert all(not node.message.cause for node in nodes)
            assert sent_up <= set(CHAIN[1:])
        else:
            assert [node.message.edge for node in nodes] == [CHAIN[0]]
            assert {row.edge for row in found} == {
                *CHAIN,
                *(() if rule == "no-bprop" else BACK),
            }
    assert kinds == {"activation", "test", *(() if rule == "no-bprop" else ["gradient"])}


@ENGINES
def test_causal_tree_with_backprop_is_one_path_up_and_back(tmp_path: Path, engine: str) -> None:
    ran(tiny("backprop"), tmp_path / "run", engine)
    nodes = checked_tree(tmp_path / "run", 5)
    for edge in (*CHAIN, *BACK):
        (node,) = nodes
        assert node.message.edge == edge
        assert node.message.outcome == "used"
        nodes = node.effects
    assert nodes == []


def test_cause_with_cdni_is_the_message_from_below(tmp_path: Path) -> None:
    ran(tiny("cdni"), tmp_path / "run")
    causes = {row.edge: row.cause for row in messages_in(checked_tree(tmp_path / "run", 5))}
    assert causes == {
        "source>layer0": "",
        "layer0>layer1": "source>layer0",
        "layer1>layer2": "layer0>layer1",
        "layer1>layer0": "layer0>layer1",
        "layer2>layer1": "layer1>layer2",
    }


def test_message_of_the_source_is_a_root_with_unlocked_layers(tmp_path: Path) -> None:
    ran(tiny("unlocked-cdni", schedule="lockstep"), tmp_path / "run")
    nodes = checked_tree(tmp_path / "run", 5)
    assert {node.message.edge: [c.message.edge for c in node.effects] for node in nodes} == {
        "source>layer0": ["layer0>layer1"],
        "source>layer1": ["layer1>layer2", "layer1>layer0"],
        "source>layer2": ["layer2>layer1"],
    }


def test_unknown_batch_is_refused(tmp_path: Path) -> None:
    ran(tiny(steps=3), tmp_path / "run")
    for batch in (0, 1000, 2**64, 10**30):
        with pytest.raises(RunError, match=f"no message of batch {batch} is recorded"):
            causal_tree(tmp_path / "run", batch)


def test_message_whose_cause_is_not_recorded_is_a_root(tmp_path: Path) -> None:
    edges = ["source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0"]
    row = Row(2 * SECOND, batch=4, edge=2, cause=1)
    by_hand(tmp_path, {"layer0": laid_out(described("layer0", edges), [row])})
    (node,) = checked_tree(tmp_path, 4)
    assert (node.message.edge, node.message.cause) == ("layer0>layer1", "source>layer0")
    assert node.message.reason == "there is no trace of layer1"
