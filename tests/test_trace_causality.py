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
from tests.traced import SECOND, Row, handmade, ran, shared_run, tiny, trace_bytes, trace_metadata

ENGINES = pytest.mark.parametrize(
    "engine", [pytest.param("local", marks=pytest.mark.slow), "inline"]
)
CHAIN = ["source>layer0", "layer0>layer1", "layer1>layer2"]
BACK = ["layer2>layer1", "layer1>layer0"]


def messages_in(trees: Sequence[CausalNode]) -> Iterator[MessageRow]:
    for tree in trees:
        yield tree.message
        yield from messages_in(tree.effects)


def pairs(trees: Sequence[CausalNode]) -> Iterator[tuple[MessageRow, MessageRow]]:
    """Each message with each message that it caused."""
    for tree in trees:
        for effect in tree.effects:
            yield tree.message, effect.message
        yield from pairs(tree.effects)


def checked_tree(folder: Path, batch: int) -> list[CausalNode]:
    """The causal tree of the batch, which must hold every message about it exactly once."""
    _, trees = causal_tree(folder, batch)
    found = list(messages_in(trees))
    choice = MessageFilter(kinds=(ACTIVATION, GRADIENT, TEST), batches=(batch, batch))
    rows, count = find_messages(Traces(folder, choice.record_filter), choice)
    assert count == len(found)
    assert sorted(found, key=str) == sorted(rows, key=str)
    for before, after in pairs(trees):
        sender, _, _ = after.edge.partition(">")
        assert before.edge.endswith(f">{sender}")
        assert before.used is not None
        assert before.used <= after.first
    return trees


@ENGINES
@pytest.mark.parametrize("rule", RULES)
def test_causal_tree_of_every_batch_holds_all_its_messages(
    tmp_path_factory: pytest.TempPathFactory, rule: str, engine: str
) -> None:
    folder = shared_run(tmp_path_factory, tiny(rule, steps=300, eval_every=100), engine)
    unlocked = rule.startswith("unlocked")
    kinds = set()
    for batch in (1, 7, 100, 101, 112, 113, 250):
        trees = checked_tree(folder, batch)
        found = list(messages_in(trees))
        kinds |= {row.kind for row in found}
        test = found[0].kind == "test"
        if test:
            assert [row.edge for row in found] == CHAIN
            assert len(trees) == 1
        elif unlocked:
            roots = {tree.message.edge for tree in trees}
            assert roots <= {"source>layer0", "source>layer1", "source>layer2"}
            assert len(roots) == len(trees) >= 2
            sent_up = {row.edge for row in found if row.outcome != "unsent"} & set(CHAIN[1:])
            assert all(not tree.message.cause for tree in trees)
            assert sent_up <= set(CHAIN[1:])
        else:
            assert [tree.message.edge for tree in trees] == [CHAIN[0]]
            assert {row.edge for row in found} == {
                *CHAIN,
                *(() if rule == "no-bprop" else BACK),
            }
    assert kinds == {"activation", "test", *(() if rule == "no-bprop" else ["gradient"])}


@ENGINES
def test_causal_tree_with_backprop_is_one_path_up_and_back(tmp_path: Path, engine: str) -> None:
    ran(tiny("backprop"), tmp_path / "run", engine)
    trees = checked_tree(tmp_path / "run", 5)
    for edge in (*CHAIN, *BACK):
        (tree,) = trees
        assert tree.message.edge == edge
        assert tree.message.outcome == "used"
        trees = tree.effects
    assert trees == []


def test_cause_with_cdni_is_the_message_from_below(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = shared_run(tmp_path_factory, tiny("cdni", steps=300, eval_every=100))
    causes = {row.edge: row.cause for row in messages_in(checked_tree(folder, 5))}
    assert causes == {
        "source>layer0": "",
        "layer0>layer1": "source>layer0",
        "layer1>layer2": "layer0>layer1",
        "layer1>layer0": "layer0>layer1",
        "layer2>layer1": "layer1>layer2",
    }


def test_message_of_the_source_is_a_root_with_unlocked_layers(tmp_path: Path) -> None:
    ran(tiny("unlocked-cdni", schedule="lockstep"), tmp_path / "run")
    trees = checked_tree(tmp_path / "run", 5)
    assert {tree.message.edge: [c.message.edge for c in tree.effects] for tree in trees} == {
        "source>layer0": ["layer0>layer1"],
        "source>layer1": ["layer1>layer2", "layer1>layer0"],
        "source>layer2": ["layer2>layer1"],
    }


def test_unknown_batch_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = shared_run(tmp_path_factory, tiny("cdni", steps=300, eval_every=100))
    for batch in (0, 1000, 2**64, 10**30):
        with pytest.raises(RunError, match=f"no message of batch {batch} is recorded"):
            causal_tree(folder, batch)


def test_message_whose_cause_is_not_recorded_is_a_root(tmp_path: Path) -> None:
    edges = ["source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0"]
    row = Row(2 * SECOND, batch=4, edge=2, cause=1)
    handmade(tmp_path, {"layer0": trace_bytes(trace_metadata("layer0", edges), [row])})
    (tree,) = checked_tree(tmp_path, 4)
    assert (tree.message.edge, tree.message.cause) == ("layer0>layer1", "source>layer0")
    assert tree.message.reason == "there is no trace of layer1"
