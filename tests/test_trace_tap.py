"""Listening hears everything that happens from then on, once, and says what it missed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.traces.find import Choice
from coordinator.traces.follow import Heard, Missed, tap
from protocol import RunError, trace_format
from tests.traced import RECEIVED, SECOND, SENT, USED, Row, by_hand, described, laid_out
from workers.recording.trace_writer import TraceWriter

BELOW = ("source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0")
ABOVE = ("layer0>layer1", "layer1>layer0")


class Pipeline:
    """A run whose workers write when the tap waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        by_hand(folder, {"layer0": laid_out(described("layer0", BELOW), [])})
        (folder / "trace" / "layer0.trace").unlink()
        (folder / "summary.json").unlink()
        self.logs: dict[str, TraceWriter] = {}
        self.time = SECOND

    def opens(self, core: str, edges: tuple[str, ...], capacity: int = 16) -> None:
        times = (0, 0, SECOND, SECOND)
        origin = trace_format.TraceMetadata(core, os.getpid(), socket.gethostname(), *times, edges)
        self.logs[core] = TraceWriter(self.folder / "trace" / f"{core}.trace", origin, capacity)

    def writes(self, core: str, count: int, event: int = SENT, **fields: int) -> None:
        for _ in range(count):
            self.time += 1
            row = Row(self.time, batch=self.time - SECOND, event=event, **fields)
            self.logs[core].write(*row)

    def ends(self) -> None:
        for log in self.logs.values():
            log.close()
        (self.folder / "summary.json").write_text(json.dumps({}), "utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(tmp_path / "run")
    made.opens("layer0", BELOW)
    yield made
    made.ends()


def heard(
    run: Pipeline, monkeypatch: pytest.MonkeyPatch, *between: object, choice: Choice | None = None
) -> list[Heard | Missed]:
    """What is heard when each of `between` happens while the tap waits; then the run ends."""
    acts = iter([*between, run.ends])

    def sleep(seconds: float) -> None:
        assert seconds > 0
        act = next(acts)
        assert callable(act)
        act()
        run.logs = {} if act == run.ends else run.logs

    monkeypatch.setattr("coordinator.traces.follow.time.sleep", sleep)
    return list(tap(run.folder, choice or Choice()))


def test_what_happens_from_now_on_is_heard_once_and_in_order(
    run: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.opens("layer1", ABOVE)
    run.writes("layer0", 5, edge=2)

    def both() -> None:
        for _ in range(3):
            run.writes("layer0", 1, edge=2)
            run.writes("layer1", 1, RECEIVED, edge=0, queue=1)
            run.writes("layer1", 1, USED, edge=0)

    found = heard(run, monkeypatch, both, lambda: None, both)
    assert [h.time for h in found if isinstance(h, Heard)] == [*range(6, 24)]
    assert all(isinstance(h, Heard) and h.edge == "layer0>layer1" for h in found)
    told = [(h.core, h.event) for h in found[:3] if isinstance(h, Heard)]
    assert told == [("layer0", "sent"), ("layer1", "received"), ("layer1", "used")]


def test_a_worker_that_comes_later_is_heard_from_its_beginning(
    run: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def comes() -> None:
        run.opens("layer1", ABOVE)
        run.writes("layer1", 2, RECEIVED)

    found = heard(run, monkeypatch, comes, lambda: run.writes("layer1", 1, USED))
    assert [h.event for h in found if isinstance(h, Heard)] == ["received", "received", "used"]


def test_what_was_overwritten_unread_is_counted(
    run: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = heard(run, monkeypatch, lambda: run.writes("layer0", 40, edge=2))
    missed, *rest = found
    assert missed == Missed("layer0", 40 - 15)
    assert [h.time for h in rest if isinstance(h, Heard)] == [*range(26, 41)]


def test_only_what_was_chosen_is_heard(run: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def various() -> None:
        for kind in range(1, 6):
            for edge in range(4):
                run.writes("layer0", 1, edge=edge, kind=kind)

    run.logs.pop("layer0").close()
    (run.folder / "trace" / "layer0.trace").unlink()
    run.opens("layer0", BELOW, 64)
    choice = Choice(edge="layer0>layer1", kinds=(2,), batches=(1, 10))
    (only,) = heard(run, monkeypatch, various, choice=choice)
    assert isinstance(only, Heard)
    assert (only.edge, only.kind, only.batch) == ("layer0>layer1", "gradient", 7)


def test_a_run_that_has_ended_cannot_be_listened_to(run: Pipeline) -> None:
    run.ends()
    run.logs = {}
    with pytest.raises(RunError, match="does not run any more"):
        list(tap(run.folder, Choice()))
