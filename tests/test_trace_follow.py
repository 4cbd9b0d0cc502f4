"""Following a run yields every event from then on once, and counts overwritten records."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.traces.find import MessageFilter
from coordinator.traces.follow import FollowedEvent, OverwrittenRecords, follow
from protocol import RunError, trace_format
from tests.traced import RECEIVED, SECOND, SENT, USED, Row, handmade, trace_bytes, trace_metadata
from workers.recording.trace_writer import TraceWriter

BELOW = ("source>layer0", "layer0>source", "layer0>layer1", "layer1>layer0")
ABOVE = ("layer0>layer1", "layer1>layer0")


class RunInProgress:
    """A run whose workers write while the follower waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        handmade(folder, {"layer0": trace_bytes(trace_metadata("layer0", BELOW), [])})
        (folder / "trace" / "layer0.trace").unlink()
        (folder / "summary.json").unlink()
        self.logs: dict[str, TraceWriter] = {}
        self.time = SECOND

    def opens(self, stage: str, edges: tuple[str, ...], capacity: int = 16) -> None:
        times = (0, 0, SECOND, SECOND)
        metadata = trace_format.TraceMetadata(
            stage, os.getpid(), socket.gethostname(), *times, edges
        )
        self.logs[stage] = TraceWriter(self.folder / "trace" / f"{stage}.trace", metadata, capacity)

    def writes(self, stage: str, count: int, event: int = SENT, **fields: int) -> None:
        for _ in range(count):
            self.time += 1
            row = Row(self.time, batch=self.time - SECOND, event=event, **fields)
            self.logs[stage].write(*row)

    def ends(self) -> None:
        for log in self.logs.values():
            log.close()
        (self.folder / "summary.json").write_text(json.dumps({}), "utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunInProgress]:
    made = RunInProgress(tmp_path / "run")
    made.opens("layer0", BELOW)
    yield made
    made.ends()


def followed(
    run: RunInProgress, *between: object, choice: MessageFilter | None = None
) -> list[FollowedEvent | OverwrittenRecords]:
    """The events if each of `between` happens while the follower waits; then the run ends."""
    actions = iter([*between, run.ends])

    def wait(seconds: float) -> None:
        assert seconds > 0
        action = next(actions)
        assert callable(action)
        action()
        run.logs = {} if action == run.ends else run.logs

    return list(follow(run.folder, choice or MessageFilter(), wait))


def test_every_event_from_now_on_is_yielded_once_in_order(run: RunInProgress) -> None:
    run.opens("layer1", ABOVE)
    run.writes("layer0", 5, edge=2)

    def both() -> None:
        for _ in range(3):
            run.writes("layer0", 1, edge=2)
            run.writes("layer1", 1, RECEIVED, edge=0, queue=1)
            run.writes("layer1", 1, USED, edge=0)

    found = followed(run, both, lambda: None, both)
    assert [event.time for event in found if isinstance(event, FollowedEvent)] == [*range(6, 24)]
    assert all(
        isinstance(event, FollowedEvent) and event.edge == "layer0>layer1" for event in found
    )
    first = [(event.stage, event.event) for event in found[:3] if isinstance(event, FollowedEvent)]
    assert first == [("layer0", "sent"), ("layer1", "received"), ("layer1", "used")]


def test_worker_that_starts_later_is_followed_from_its_first_record(run: RunInProgress) -> None:
    def comes() -> None:
        run.opens("layer1", ABOVE)
        run.writes("layer1", 2, RECEIVED)

    found = followed(run, comes, lambda: run.writes("layer1", 1, USED))
    assert [event.event for event in found if isinstance(event, FollowedEvent)] == [
        "received",
        "received",
        "used",
    ]


def test_overwritten_records_are_counted(run: RunInProgress) -> None:
    found = followed(run, lambda: run.writes("layer0", 40, edge=2))
    missed, *rest = found
    assert missed == OverwrittenRecords("layer0", 40 - 15)
    assert [event.time for event in rest if isinstance(event, FollowedEvent)] == [*range(26, 41)]


def test_only_selected_events_are_yielded(run: RunInProgress) -> None:
    def various() -> None:
        for kind in range(1, 6):
            for edge in range(4):
                run.writes("layer0", 1, edge=edge, kind=kind)

    run.logs.pop("layer0").close()
    (run.folder / "trace" / "layer0.trace").unlink()
    run.opens("layer0", BELOW, 64)
    choice = MessageFilter(edge="layer0>layer1", kinds=(2,), batches=(1, 10))
    (only,) = followed(run, various, choice=choice)
    assert isinstance(only, FollowedEvent)
    assert (only.edge, only.kind, only.batch) == ("layer0>layer1", "gradient", 7)


def test_run_that_has_ended_cannot_be_followed(run: RunInProgress) -> None:
    run.ends()
    run.logs = {}
    with pytest.raises(RunError, match="the run has ended"):
        list(follow(run.folder, MessageFilter()))
