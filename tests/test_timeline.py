"""A timeline holds everything that was recorded in its window, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.traces.events import NEVER
from coordinator.traces.run import Traces
from coordinator.traces.timeline.layout import Arrow, Timeline, read_timeline
from coordinator.traces.timeline.window import BATCHES, TimeWindow
from protocol import RunError
from protocol import trace_format as form
from tests.timeline_runs import RULES, timeline_run

SVG = "{http://www.w3.org/2000/svg}"
MS = 1_000_000


@pytest.fixture(params=RULES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return timeline_run(tmp_path_factory, request.param)


def spans(traces: Traces, window: TimeWindow) -> Iterator[tuple[str, int, int, int]]:
    """Stage, batch, begin and end of every span that was recorded in `window`."""
    for stage in traces.pipeline.stages:
        work = traces.work(stage)
        assert work is not None
        for batch, begin, end in zip(work.batch, work.begin, work.end, strict=True):
            since, until = int(begin) - traces.start, int(end) - traces.start
            assert end != NEVER
            if since < window.end and until > window.start:
                yield stage, int(batch), since, until


def sendings(traces: Traces, window: TimeWindow) -> Iterator[tuple[str, str, int, int, int]]:
    """Edge, kind, batch, sending and use of every used message in `window`."""
    for edge in traces.edges:
        for found in traces.messages(edge):
            if found.kind not in form.WORK:
                continue
            for i in range(len(found)):
                sent, used = int(found.sent[i]) - traces.start, int(found.used[i]) - traces.start
                inside = sent < window.end and used >= window.start
                if inside and NEVER not in (found.sent[i], found.used[i]):
                    yield str(edge), form.KINDS[found.kind], int(found.batch[i]), sent, used


def edge(timeline: Timeline, arrow: Arrow) -> str:
    names = [lane.name for lane in timeline.lanes]
    return f"{names[arrow.sender]}>{names[arrow.receiver]}"


# -- content


def test_boxes_are_the_recorded_spans_of_the_window(folder: Path) -> None:
    timeline = read_timeline(folder)
    names = [lane.name for lane in timeline.lanes]
    shown = [(names[box.lane], box.batch, box.begin, box.end) for box in timeline.boxes]
    assert sorted(shown) == sorted(spans(Traces(folder), timeline.window))
    assert len(shown) > BATCHES


def test_arrows_are_the_messages_of_the_window(folder: Path) -> None:
    timeline = read_timeline(folder)
    shown = [
        (edge(timeline, arrow), arrow.kind, arrow.batch, arrow.sent, arrow.used)
        for arrow in timeline.arrows
        if arrow.sent is not None
    ]
    assert sorted(shown) == sorted(sendings(Traces(folder), timeline.window))
    assert len(shown) > BATCHES


def test_whole_run_can_be_shown(folder: Path) -> None:
    timeline = read_timeline(folder, 0, 10**12)
    traces = Traces(folder)
    assert len(timeline.boxes) == len(list(spans(traces, timeline.window)))
    of_layers = [traces.work(stage) for stage in traces.pipeline.stages]
    assert len(timeline.boxes) == sum(len(work) for work in of_layers if work)
    assert {box.batch for box in timeline.boxes} >= set(range(1, 61))


def test_actions_follow_from_the_rule(tmp_path_factory: pytest.TempPathFactory) -> None:
    runs = {rule: timeline_run(tmp_path_factory, rule) for rule in RULES}
    done = {
        rule: {box.action for box in read_timeline(folder, 0, 10**12).boxes}
        for rule, folder in runs.items()
    }
    assert done["backprop"] == {"forward", "step", "gradient", "test"}
    assert done["cdni"] == done["backprop"] | {"predict"}
    assert done["unlocked-cdni"] == done["cdni"] | {"input"}


def test_output_layer_is_on_top_and_the_source_has_no_work(folder: Path) -> None:
    lanes = read_timeline(folder).lanes
    assert [lane.name for lane in lanes] == ["layer2", "layer1", "layer0", "source"]
    assert lanes[-1].busy is None
    assert all(lane.busy is not None and 0 <= lane.busy <= 1 for lane in lanes[:-1])


# -- time window


def forward_batches(timeline: Timeline, lane: int) -> list[int]:
    """The batches for which a layer computed an activation."""
    forward = ("forward", "step")
    return [box.batch for box in timeline.boxes if box.lane == lane and box.action in forward]


def test_default_window_shows_batches_in_the_middle(folder: Path) -> None:
    timeline = read_timeline(folder)
    shown = [forward_batches(timeline, lane) for lane in range(3)]
    assert any(BATCHES - 1 <= len(batches) <= BATCHES + 2 for batches in shown)
    every = forward_batches(read_timeline(folder, 0, 10**12), 0)
    assert every[len(every) // 4] < max(map(max, filter(None, shown))) < every[-len(every) // 8]


def test_requested_window_is_shown(folder: Path) -> None:
    some = read_timeline(folder).boxes[3]
    assert some.end is not None
    timeline = read_timeline(folder, some.begin, some.end - some.begin)
    assert timeline.window == TimeWindow(some.begin, some.end - some.begin)
    assert some in timeline.boxes
    assert timeline.lanes[some.lane].busy == 1
    assert read_timeline(folder, some.begin).window.start == some.begin
    assert read_timeline(folder, None, 12345).window.length == 12345


def test_span_longer_than_the_window_is_shown(folder: Path) -> None:
    longest = max(read_timeline(folder).boxes, key=lambda box: (box.end or 0) - box.begin)
    assert longest.end is not None
    third = (longest.end - longest.begin) // 3
    assert longest in read_timeline(folder, longest.begin + third, third // 4).boxes


def test_window_without_work_is_refused(folder: Path) -> None:
    with pytest.raises(RunError, match=r"no work was recorded from 1000 s to 1001 s"):
        read_timeline(folder, 10**12, 10**9)


def test_too_many_shapes_are_refused(folder: Path) -> None:
    with pytest.raises(RunError, match=r"more than the 10 .* shorter time with --for"):
        read_timeline(folder).require_at_most(10)
