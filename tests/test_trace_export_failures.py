"""Exports survive unusual names, unfinished spans, missing traces and full disks."""

from __future__ import annotations

import json
import resource
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

import cli
from coordinator.traces.export import FORMS, export
from coordinator.traces.run import Traces
from protocol import RunError, read_pipeline
from protocol import trace_format as form
from protocol.trace_format import TraceHeader
from tests.dni import TINY
from tests.exports import EVIL, Seen, count_spans, otlp_spans, with_evil_host


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


# -- unusual names and failures


@pytest.mark.parametrize("to", FORMS)
def test_no_host_name_breaks_a_format(traces: Traces, tmp_path: Path, to: str) -> None:
    evil, path = with_evil_host(traces, tmp_path / "run"), tmp_path / "x"
    assert export(evil, to, path) == export(traces, to, tmp_path / "y") > 0
    if to == "otlp":
        line = json.loads(path.read_text("utf-8").splitlines()[0])
        attributes = line["resourceSpans"][0]["resource"]["attributes"]
        assert {"key": "host.name", "value": {"stringValue": EVIL}} in attributes
    elif to == "chrome":
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
        labels = [e["args"]["labels"] for e in events if e["name"] == "process_labels"]
        assert all(label.endswith(f" on {EVIL}") for label in labels)
    elif to == "perfetto":
        trace = perfetto_trace_pb2.Trace()
        trace.ParseFromString(path.read_bytes())
        tracks = [p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")]
        labels = [t.process.process_labels[0] for t in tracks if t.HasField("process")]
        assert all(label.endswith(f" on {EVIL}") for label in labels)
    else:
        assert path.read_bytes() == (tmp_path / "y").read_bytes()


def test_unfinished_spans_and_missing_traces_are_exported(traces: Traces, tmp_path: Path) -> None:
    broken = with_evil_host(traces, tmp_path / "run").folder
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
    assert kinds[1] == count_spans(left) == kinds[2] + 1
    export(left, "chrome", tmp_path / "x")
    events = json.loads((tmp_path / "x").read_text("utf-8"))["traceEvents"]
    assert [event["pid"] for event in events if event["ph"] == "B"] == [3]
    export(left, "otlp", tmp_path / "x")
    cut = [
        stage
        for stage, span in otlp_spans(tmp_path / "x")
        if "dni.unfinished" in {a.key for a in span.attributes}
    ]
    assert cut == ["layer2"]


@pytest.mark.parametrize("to", FORMS)
def test_full_disk_is_reported_and_keeps_the_old_file(
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


def test_impossible_path_is_reported(traces: Traces, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="none/x: No such file"):
        export(traces, "csv", tmp_path / "none" / "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="folder: Is a directory"):
        export(traces, "csv", tmp_path / "folder")
    with pytest.raises(RunError, match="did you mean 'jsonl'"):
        export(traces, "jsnl", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
