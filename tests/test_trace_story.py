"""The story of a batch has every message about it once, under the one that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from coordinator.traces.causality import Chapter, story
from coordinator.traces.find import Choice, Entry, find
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


def nodes(chapters: Sequence[Chapter]) -> Iterator[Entry]:
    for chapter in chapters:
        yield chapter.entry
        yield from nodes(chapter.next)


def pairs(chapters: Sequence[Chapter]) -> Iterator[tuple[Entry, Entry]]:
    """Each message with each that it led to."""
    for chapter in chapters:
        for following in chapter.next:
            yield chapter.entry, following.entry
        yield from pairs(chapter.next)


def sound(folder: Path, batch: int) -> list[Chapter]:
    """The story of the batch, which tells of every message about it exactly once."""
    _, chapters = story(folder, batch)
    told = list(nodes(chapters))
    choice = Choice(kinds=(ACTIVATION, GRADIENT, TEST), batches=(batch, batch))
    entries, count = find(Traces(folder, choice.keep), choice)
    assert count == len(told)
    assert sorted(told, key=str) == sorted(entries, key=str)
    for before, after in pairs(chapters):
        sender, _, _ = after.edge.partition(">")
        assert before.edge.endswith(f">{sender}")
        assert before.used is not None
        assert before.used <= after.first
    return chapters


@ENGINES
@pytest.mark.parametrize("rule", RULES)
def test_the_story_of_every_batch_is_a_tree_of_all_its_messages(
    tmp_path: Path, rule: str, engine: str
) -> None:
    ran(tiny(rule, steps=20, eval_every=10), tmp_path / "run", engine)
    unlocked = rule.startswith("unlocked")
    kinds = set()
    for batch in (1, 7, 10, 11, 22, 23, 44):
        chapters = sound(tmp_path / "run", batch)
        told = list(nodes(chapters))
        kinds |= {entry.kind for entry in told}
        test = told[0].kind == "test"
        if test:
            assert [entry.edge for entry in told] == CHAIN
            assert len(chapters) == 1
        elif unlocked:
            roots = {chapter.entry.edge for chapter in chapters}
            assert roots <= {"source>layer0", "source>layer1", "source>layer2"}
            assert len(roots) == len(chapters) >= 2
            told_up = {entry.edge for entry in told if entry.fate != "unsent"} & set(CHAIN[1:])
            assert all(not chapter.entry.cause for chapter in chapters)
            assert told_up <= set(CHAIN[1:])
        else:
            assert [chapter.entry.edge for chapter in chapters] == [CHAIN[0]]
            assert {entry.edge for entry in told} == {
                *CHAIN,
                *(() if rule == "no-bprop" else BACK),
            }
    assert kinds == {"activation", "test", *(() if rule == "no-bprop" else ["gradient"])}


@ENGINES
def test_with_backprop_a_batch_goes_up_and_comes_back_in_one_line(
    tmp_path: Path, engine: str
) -> None:
    ran(tiny("backprop"), tmp_path / "run", engine)
    chapters = sound(tmp_path / "run", 5)
    for edge in (*CHAIN, *BACK):
        (chapter,) = chapters
        assert chapter.entry.edge == edge
        assert chapter.entry.fate == "used"
        chapters = chapter.next
    assert chapters == []


def test_decoupled_layers_answer_what_came_from_below(tmp_path: Path) -> None:
    ran(tiny("cdni"), tmp_path / "run")
    causes = {entry.edge: entry.cause for entry in nodes(sound(tmp_path / "run", 5))}
    assert causes == {
        "source>layer0": "",
        "layer0>layer1": "source>layer0",
        "layer1>layer2": "layer0>layer1",
        "layer1>layer0": "layer0>layer1",
        "layer2>layer1": "layer1>layer2",
    }


def test_with_unlocked_layers_each_that_was_fed_is_a_root(tmp_path: Path) -> None:
    ran(tiny("unlocked-cdni", schedule="lockstep"), tmp_path / "run")
    chapters = sound(tmp_path / "run", 5)
    assert {chapter.entry.edge: [c.entry.edge for c in chapter.next] for chapter in chapters} == {
        "source>layer0": ["layer0>layer1"],
        "source>layer1": ["layer1>layer2", "layer1>layer0"],
        "source>layer2": ["layer2>layer1"],
    }


def test_of_an_unknown_batch_there_is_no_story(tmp_path: Path) -> None:
    ran(tiny(steps=3), tmp_path / "run")
    for batch in (0, 1000, 2**64, 10**30):
        with pytest.raises(RunError, match=f"nothing is on record of batch {batch}"):
            story(tmp_path / "run", batch)


def test_what_is_led_to_by_what_is_not_on_record_begins_a_story(tmp_path: Path) -> None:
    edges = ["source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0"]
    row = Row(2 * SECOND, batch=4, edge=2, cause=1)
    by_hand(tmp_path, {"layer0": laid_out(described("layer0", edges), [row])})
    (chapter,) = sound(tmp_path, 4)
    assert (chapter.entry.edge, chapter.entry.cause) == ("layer0>layer1", "source>layer0")
    assert chapter.entry.why == "there is no trace of layer1"
