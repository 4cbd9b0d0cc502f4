"""Exports hold all messages and spans, and the tools they are made for can read them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

import cli
from coordinator.traces.events import NEVER
from coordinator.traces.export import export
from coordinator.traces.messages import DROPPED, OUTCOMES, UNSENT, USED, Messages
from coordinator.traces.run import Traces
from protocol import read_pipeline
from protocol import trace_format as form
from tests.dni import TINY
from tests.exports import Seen, count, count_spans, otlp_spans
from tests.trace_processor import JAVASCRIPT, ask


@pytest.fixture(scope="module", params=["cdni", "unlocked-cdni", "backprop"])
def traces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """The traces of a short run with a rule."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tiny.toml").write_text(TINY, "utf-8")
    pipeline = read_pipeline(folder / "tiny.toml", [f"rule={request.param}"])
    cli.run(pipeline, engine="inline", run_dir=folder / "run")
    return Traces(folder / "run")


@pytest.fixture
def seen(traces: Traces) -> Seen:
    """All messages."""
    return [messages for edge in traces.edges for messages in traces.messages(edge)]


# -- one row per message


def expected(traces: Traces, messages: Messages) -> Iterator[dict[str, Any]]:
    """The expected row of each of `messages`."""
    unix = traces.files["source"].metadata
    real = unix.unix_ns - unix.monotonic_ns
    for i in range(len(messages)):
        outcome, sent = int(messages.outcome[i]), messages.sent[i] != NEVER
        cause = int(messages.cause[i])
        row: dict[str, Any] = {
            "edge": str(messages.edge),
            "kind": form.KINDS[messages.kind],
            "batch": int(messages.batch[i]),
            "outcome": OUTCOMES[outcome],
            "reason": form.DROP_REASONS[messages.reason[i]] or None,
            "cause": messages.edges[cause - 1] if cause else None,
            "bytes": int(messages.bytes[i]) if sent else None,
            "queue": int(messages.queue[i]) if messages.received[i] != NEVER else None,
            "staleness": int(messages.staleness[i]) if outcome == USED else None,
            "version": int(messages.version[i]) if sent or outcome == UNSENT else None,
            "used_version": int(messages.used_version[i]) if outcome in (USED, DROPPED) else None,
            "bound_ns": traces.bound(messages.edge),
        }
        for name in ("sent", "received", "used", "end"):
            time = int(getattr(messages, name)[i])
            row[f"{name}_ns"] = None if time == NEVER else time - traces.start
            row[f"{name}_unix_ns"] = None if time == NEVER else time + real
        yield row


def test_jsonl_has_every_message(traces: Traces, seen: Seen, tmp_path: Path) -> None:
    written = export(traces, "jsonl", tmp_path / "x")
    lines = (tmp_path / "x").read_text("utf-8").splitlines()
    assert written == len(lines) == sum(map(len, seen))
    assert [json.loads(line) for line in lines] == [
        row for messages in seen for row in expected(traces, messages)
    ]


def test_csv_has_every_message(traces: Traces, seen: Seen, tmp_path: Path) -> None:
    written = export(traces, "csv", tmp_path / "x")
    with (tmp_path / "x").open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert written == len(rows) == sum(map(len, seen))
    texts = [
        {key: "" if value is None else str(value) for key, value in row.items()}
        for messages in seen
        for row in expected(traces, messages)
    ]
    assert rows == texts


# -- viewers

ERRORS = "select name, value from stats where severity != 'info' and value != 0"
NESTED = "select count(*) n from slice where depth > 0"
WORK = """
select s.ts, s.dur, p.name process from slice s join thread_track k on s.track_id = k.id
join thread t using (utid) join process p using (upid) where t.name = 'work'"""
FLOWS = """
select p.name one, q.name two, a.ts begin, b.ts end
from flow f join slice a on f.slice_out = a.id join slice b on f.slice_in = b.id
join thread_track k on a.track_id = k.id join thread t on k.utid = t.utid
join thread_track l on b.track_id = l.id join thread u on l.utid = u.utid
join process p on t.upid = p.upid join process q on u.upid = q.upid"""
DROPS = """
select extract_arg(arg_set_id, 'args.reason') a, extract_arg(arg_set_id, 'debug.reason') b
from slice where name glob 'dropped*' or name glob 'unsent*'"""


@pytest.mark.slow
@pytest.mark.skipif(JAVASCRIPT is None, reason="Node.js is not installed")
@pytest.mark.parametrize("viewer", ["perfetto", "chrome"])
def test_perfetto_finds_spans_arrows_and_drops(
    traces: Traces, seen: Seen, tmp_path: Path, viewer: str
) -> None:
    export(traces, viewer, tmp_path / "x")
    errors, work, flows, drops, nested = ask(tmp_path / "x", ERRORS, WORK, FLOWS, DROPS, NESTED)
    assert errors == []
    assert nested == [{"n": 0}]
    offset = traces.start if viewer == "chrome" else 0
    known = [traces.work(stage) for stage in traces.pipeline.stages]
    times = [(w.stage, b, e) for w in known if w for b, e in zip(w.begin, w.end, strict=True)]
    assert sorted((s["process"], s["ts"] + offset, s["ts"] + s["dur"] + offset) for s in work) == (
        sorted(times)
    )
    ended = (USED, DROPPED) if viewer == "perfetto" else (USED,)
    arrows: Counter[tuple[str, str]] = Counter()
    for messages in seen:
        arrows[messages.edge] += count([messages], *ended)
    assert Counter((flow["one"], flow["two"]) for flow in flows) == arrows
    assert all(flow["begin"] <= flow["end"] for flow in flows)
    reasons = Counter(drop["a"] or drop["b"] for drop in drops)
    dropped = [m.reason[np.isin(m.outcome, (DROPPED, UNSENT))] for m in seen]
    assert reasons == Counter(form.DROP_REASONS[reason] for reason in np.concatenate(dropped))


def test_perfetto_file_is_complete(traces: Traces, seen: Seen, tmp_path: Path) -> None:
    written = export(traces, "perfetto", tmp_path / "x")
    trace = perfetto_trace_pb2.Trace()
    trace.ParseFromString((tmp_path / "x").read_bytes())
    events = [packet.track_event for packet in trace.packet if packet.HasField("track_event")]
    kinds = Counter(event.type for event in events)
    assert kinds[1] == kinds[2] == count_spans(traces)
    assert written == len(events) - kinds[2]
    begun = [flow for event in events for flow in event.flow_ids]
    ended = [flow for event in events for flow in event.terminating_flow_ids]
    assert sorted(begun) == sorted(ended)
    assert len(set(begun)) == len(begun) == count(seen, USED, DROPPED)


def test_queue_is_as_long_as_the_receiver_recorded(
    traces: Traces, seen: Seen, tmp_path: Path
) -> None:
    export(traces, "chrome", tmp_path / "x")
    events = json.loads((tmp_path / "x").read_text("utf-8"))["traceEvents"]
    for edge in traces.edges:
        name = f"queue {edge}"
        depths = {
            round(1000 * e["ts"]) + traces.start: e["args"]["messages"]
            for e in events
            if e["name"] == name
        }
        for messages in (m for m in seen if m.edge == edge):
            times = messages.received[messages.received != NEVER]
            queue = messages.queue[messages.received != NEVER]
            assert [depths[time] for time in times.tolist()] == queue.tolist()


def test_otlp_connects_every_batch_from_the_source_to_its_gradients(
    traces: Traces, seen: Seen, tmp_path: Path
) -> None:
    written = export(traces, "otlp", tmp_path / "x")
    found = otlp_spans(tmp_path / "x")
    work = [m for m in seen if m.kind in form.WORK]
    sources = sum(len(m) for m in work if m.edge.sender == "source")
    assert written == len(found) == count_spans(traces) + sources + count(work, DROPPED, UNSENT)
    ids = {(span.trace_id, span.span_id): (stage, span) for stage, span in found}
    assert len(ids) == len({span.span_id for _, span in found}) == len(found)
    for stage, span in found:
        values = {a.key: a.value.string_value for a in span.attributes}
        edge, kind = values["dni.edge"], values["dni.kind"]
        assert len(span.trace_id) == 16
        assert len(span.span_id) == 8
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        parent_key = (span.trace_id, span.parent_span_id)
        links = [(link.trace_id, link.span_id) for link in span.links]
        if span.name in ("sent activation", "sent test") or span.name.startswith("unsent"):
            assert not span.parent_span_id
        else:
            (parent,) = links or [parent_key]
            sender = stage if span.name == "update" else edge.split(">")[0]
            assert ids[parent][0] == sender, (span.name, kind)
            assert ids[parent][1].start_time_unix_nano <= span.start_time_unix_nano
