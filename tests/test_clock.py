"""A worker with another clock estimates the coordinator's clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cli
from coordinator.cluster import assembly
from coordinator.traces.run import Traces
from protocol import DataConfig, LayerConfig, Pipeline, Pong, TrainConfig
from protocol.clock import clock_sample
from protocol.pipeline import SOURCE
from workers.recording.clock import INTERVAL_NS, ClockSync

ns = st.integers(0, 10**12)


@given(ns, ns, ns, st.integers(-(10**12), 10**12))
def test_the_estimate_is_within_its_bound(sent: int, to: int, back: int, offset: int) -> None:
    found = clock_sample(sent, sent + to + offset, sent + to + back)
    assert abs(found.there - found.here - offset) <= found.bound <= (to + back + 1) // 2


def test_only_the_answer_to_the_latest_ping_is_used() -> None:
    clock = ClockSync("layer0", "another clock")
    clock.ping(100)
    clock.ping(200)
    assert clock.on_pong(Pong(100, 5000), 210) is None
    found = clock.on_pong(Pong(200, 5000), 210)
    assert found is not None
    assert (found.here, found.there, found.bound) == (205, 5000, 5)
    assert clock.on_pong(Pong(200, 5000), 220) is None


def test_the_best_answer_of_each_interval_is_kept() -> None:
    clock = ClockSync("layer0", "another clock")
    assert clock.best_of_interval(clock_sample(0, 7, 50), INTERVAL_NS) == clock_sample(0, 7, 50)
    assert clock.best_of_interval(clock_sample(60, 7, 64), INTERVAL_NS + 1) is None
    assert clock.best_of_interval(clock_sample(70, 9, 90), 2 * INTERVAL_NS) == clock_sample(
        60, 7, 64
    )


@pytest.mark.slow
def test_workers_with_another_clock_trace_in_the_coordinators_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "clock_name", lambda: "another host's")
    pipeline = Pipeline(
        data=DataConfig(name="digits", batch=32),
        train=TrainConfig(steps=200),
        layer=(LayerConfig(("linear 16", "relu")), LayerConfig(("linear 10",))),
    )
    done = cli.run(pipeline, run_dir=tmp_path / "run")
    assert done.summary["outcome"] == "completed"
    traces = Traces(done.folder)
    for stage in pipeline.stages:
        metadata = traces.files[stage].metadata
        assert 0 < metadata.bound_ns < 50_000_000
        assert abs(metadata.offset_ns) <= metadata.bound_ns  # it is the same clock
    for edge in traces.edges:
        assert traces.bound(edge) > 0
        sent = sum(len(messages) for messages in traces.messages(edge))
        assert sent >= (100 if edge.receiver == SOURCE else 200)  # one credit per two batches
