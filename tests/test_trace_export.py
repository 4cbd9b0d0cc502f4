"""What `dni trace export` writes is read by the tools it is for, and holds all there is."""

from __future__ import annotations

import base64
import csv
import json
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

import cli
from coordinator.traces.events import NEVER
from coordinator.traces.export import FORMS, export
from coordinator.traces.messages import DROPPED, OUTCOMES, UNSENT, USED, Messages
from coordinator.traces.run import Traces
from protocol import RunError, read_pipeline
from protocol import trace_format as form
from protocol.trace_format import TraceHeader
from tests.conftest import TINY
from tests.trace_processor import JAVASCRIPT, ask

EVIL = 'a "quoted", %s %d \\ name\nof {two} lines; é'
Seen = list[Messages]


@pytest.fixture(scope="module", params=["cdni", "unlocked-cdni", "backprop"])
def traces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Those of a short run by a rule."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tiny.toml").write_text(TINY, "utf-8")
    pipeline = read_pipeline(folder / "tiny.toml", [f"rule={request.param}"])
    cli.run(pipeline, engine="inline", run_dir=folder / "run")
    return Traces(folder / "run")


@pytest.fixture
def seen(traces: Traces) -> Seen:
    """All messages."""
    return [messages for edge in traces.edges for messages in traces.messages(edge)]


def spells(traces: Traces) -> int:
    return sum(len(work) for work in map(traces.work, traces.pipeline.stages) if work)


def count(seen: Seen, *outcomes: int) -> int:
    return sum(int(np.isin(messages.outcome, outcomes).sum()) for messages in seen)


def renamed(traces: Traces, folder: Path) -> Traces:
    """A copy of the traces in which the host is called EVIL."""
    (folder / "trace").mkdir(parents=True)
    shutil.copy(traces.folder / "pipeline.toml", folder)
    for stage, file in traces.files.items():
        data = file.path.read_bytes()
        old = TraceHeader.unpack(data)
        origin = replace(file.metadata, host=EVIL).pack()
        head = old._replace(metadata=len(origin)).pack() + origin
        size = form.totals_size(file.metadata.edges)
        at = form.totals_at(old.metadata)
        head = head.ljust(form.totals_at(len(origin)), b"\0") + data[at : at + size]
        assert len(head) <= old.start
        copy = head.ljust(old.start, b"\0") + data[old.start :]
        (folder / "trace" / f"{stage}.trace").write_bytes(copy)
    return Traces(folder)


# -- a row a message


def expected(traces: Traces, messages: Messages) -> Iterator[dict[str, Any]]:
    """What a row is to say of each of `messages`."""
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


def test_jsonl_has_every_message_as_it_is(traces: Traces, seen: Seen, tmp_path: Path) -> None:
    written = export(traces, "jsonl", tmp_path / "x")
    lines = (tmp_path / "x").read_text("utf-8").splitlines()
    assert written == len(lines) == sum(map(len, seen))
    assert [json.loads(line) for line in lines] == [
        row for messages in seen for row in expected(traces, messages)
    ]


def test_csv_has_every_message_as_it_is(traces: Traces, seen: Seen, tmp_path: Path) -> None:
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
@pytest.mark.skipif(JAVASCRIPT is None, reason="no node to run Perfetto's engine with")
@pytest.mark.parametrize("viewer", ["perfetto", "chrome"])
def test_the_trace_processor_finds_spells_arrows_and_drops(
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
    whys = Counter(drop["a"] or drop["b"] for drop in drops)
    gone = [m.reason[np.isin(m.outcome, (DROPPED, UNSENT))] for m in seen]
    assert whys == Counter(form.DROP_REASONS[reason] for reason in np.concatenate(gone))


def test_perfetto_is_whole_and_counts_what_it_wrote(
    traces: Traces, seen: Seen, tmp_path: Path
) -> None:
    written = export(traces, "perfetto", tmp_path / "x")
    trace = perfetto_trace_pb2.Trace()
    trace.ParseFromString((tmp_path / "x").read_bytes())
    events = [packet.track_event for packet in trace.packet if packet.HasField("track_event")]
    kinds = Counter(event.type for event in events)
    assert kinds[1] == kinds[2] == spells(traces)
    assert written == len(events) - kinds[2]
    begun = [flow for event in events for flow in event.flow_ids]
    ended = [flow for event in events for flow in event.terminating_flow_ids]
    assert sorted(begun) == sorted(ended)
    assert len(set(begun)) == len(begun) == count(seen, USED, DROPPED)


def test_the_queue_is_as_long_as_the_receiver_wrote(
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
            came = messages.received[messages.received != NEVER]
            queue = messages.queue[messages.received != NEVER]
            assert [depths[time] for time in came.tolist()] == queue.tolist()


def spans(path: Path) -> list[tuple[str, Any]]:
    """Every span with the name of its service, from lines that must be OTLP."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        request = json.loads(line)
        for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            for place in (span, *span.get("links", ())):
                for key in {"traceId", "spanId", "parentSpanId"} & place.keys():
                    place[key] = base64.b64encode(bytes.fromhex(place[key])).decode()
        (group,) = ParseDict(request, ExportTraceServiceRequest()).resource_spans
        facts = {a.key: a.value for a in group.resource.attributes}
        assert {"host.name", "process.pid"} <= facts.keys()
        service = facts["service.name"].string_value
        found += [(service, span) for scope in group.scope_spans for span in scope.spans]
    return found


def test_otlp_leads_every_batch_from_the_source_to_its_gradients(
    traces: Traces, seen: Seen, tmp_path: Path
) -> None:
    written = export(traces, "otlp", tmp_path / "x")
    found = spans(tmp_path / "x")
    work = [m for m in seen if m.kind in form.WORK]
    sources = sum(len(m) for m in work if m.edge.sender == "source")
    assert written == len(found) == spells(traces) + sources + count(work, DROPPED, UNSENT)
    ids = {(span.trace_id, span.span_id): (stage, span) for stage, span in found}
    assert len(ids) == len({span.span_id for _, span in found}) == len(found)
    for stage, span in found:
        said = {a.key: a.value for a in span.attributes}
        edge, kind = said["dni.edge"].string_value, said["dni.kind"].string_value
        assert len(span.trace_id) == 16
        assert len(span.span_id) == 8
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        above = (span.trace_id, span.parent_span_id)
        links = [(link.trace_id, link.span_id) for link in span.links]
        if span.name in ("sent activation", "sent test") or span.name.startswith("unsent"):
            assert not span.parent_span_id
        else:
            (parent,) = links or [above]
            sender = stage if span.name == "update" else edge.split(">")[0]
            assert ids[parent][0] == sender, (span.name, kind)
            assert ids[parent][1].start_time_unix_nano <= span.start_time_unix_nano


# -- what may go wrong


@pytest.mark.parametrize("to", FORMS)
def test_no_name_breaks_a_format(traces: Traces, tmp_path: Path, to: str) -> None:
    evil, path = renamed(traces, tmp_path / "run"), tmp_path / "x"
    assert export(evil, to, path) == export(traces, to, tmp_path / "y") > 0
    if to == "otlp":
        line = json.loads(path.read_text("utf-8").splitlines()[0])
        facts = line["resourceSpans"][0]["resource"]["attributes"]
        assert {"key": "host.name", "value": {"stringValue": EVIL}} in facts
    elif to == "chrome":
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
        labels = [e["args"]["labels"] for e in events if e["name"] == "process_labels"]
        assert all(label.endswith(f" on {EVIL}") for label in labels)
    elif to == "perfetto":
        trace = perfetto_trace_pb2.Trace()
        trace.ParseFromString(path.read_bytes())
        tracks = [p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")]
        told = [t.process.process_labels[0] for t in tracks if t.HasField("process")]
        assert all(label.endswith(f" on {EVIL}") for label in told)
    else:
        assert path.read_bytes() == (tmp_path / "y").read_bytes()


def test_spells_without_an_end_and_cores_without_a_trace_are_shown_as_such(
    traces: Traces, tmp_path: Path
) -> None:
    broken = renamed(traces, tmp_path / "run").folder
    (broken / "trace" / "layer1.trace").unlink()
    path = broken / "trace" / "layer2.trace"
    data = bytearray(path.read_bytes())
    records = np.frombuffer(data, form.RECORD, offset=TraceHeader.unpack(bytes(data)).start)
    records["end"][np.flatnonzero(records["end"])[-1]] = 0
    path.write_bytes(data)
    left = Traces(broken)
    export(left, "perfetto", tmp_path / "x")
    trace = perfetto_trace_pb2.Trace()
    trace.ParseFromString((tmp_path / "x").read_bytes())
    kinds = Counter(p.track_event.type for p in trace.packet if p.HasField("track_event"))
    assert kinds[1] == spells(left) == kinds[2] + 1
    export(left, "chrome", tmp_path / "x")
    events = json.loads((tmp_path / "x").read_text("utf-8"))["traceEvents"]
    assert [event["pid"] for event in events if event["ph"] == "B"] == [3]
    export(left, "otlp", tmp_path / "x")
    cut = [
        stage
        for stage, span in spans(tmp_path / "x")
        if "dni.unfinished" in {a.key for a in span.attributes}
    ]
    assert cut == ["layer2"]


@pytest.mark.parametrize("to", FORMS)
def test_a_full_disk_is_told_and_leaves_what_was_there(
    traces: Traces, tmp_path: Path, to: str
) -> None:
    path = tmp_path / "x"
    path.write_text("before", "utf-8")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    held = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        with pytest.raises(RunError, match=f"{path}: File too large"):
            export(traces, to, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, held)
    assert path.read_text("utf-8") == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_a_place_that_cannot_be_is_told(traces: Traces, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="none/x: No such file"):
        export(traces, "csv", tmp_path / "none" / "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="folder: Is a directory"):
        export(traces, "csv", tmp_path / "folder")
    with pytest.raises(RunError, match="did you mean 'jsonl'"):
        export(traces, "jsnl", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
