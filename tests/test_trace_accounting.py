"""The counts of every edge balance to the last message, and agree with the summary."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.traces.find import unused_messages
from coordinator.traces.message_accounting import (
    EdgeCounts,
    count_messages,
    edge_counts,
    loss_reason,
)
from coordinator.traces.run import Traces
from coordinator.traces.stats import edge_stats
from protocol import LayerConfig
from protocol.config import TraceConfig
from protocol.pipeline import RULES
from tests.traced import ran, shared_run, tiny

if TYPE_CHECKING:
    from tests.dni import Dni

LATE = 20.0
BOTH = pytest.mark.parametrize("engine", [pytest.param("local", marks=pytest.mark.slow), "inline"])


def balanced(traces: Traces) -> dict[tuple[str, str], EdgeCounts]:
    """The counts of all edges, which must balance and agree with the single messages."""
    found = {(str(c.edge), c.kind): c for c in edge_counts(traces)}
    assert found
    assert traces.all_problems() == []
    for counts in found.values():
        assert counts.balanced, counts
        assert counts.unmatched == 0
    if not any(file.first for file in traces.files.values()):
        single = [count_messages(m) for edge in traces.edges for m in traces.messages(edge)]
        assert {(str(c.edge), c.kind): c for c in single} == found
    return found


def require_none_lost(found: dict[tuple[str, str], EdgeCounts]) -> None:
    """Require that no message except credits is lost; the last credits are not needed."""
    for (edge, kind), counts in found.items():
        assert counts.waiting == 0, edge
        assert kind == "credit" or counts.missing == 0, (edge, kind)


def require_summary_counts(
    traces: Traces, summary: dict[str, Any], found: dict[Any, EdgeCounts]
) -> None:
    """Require that the counters of every layer in the summary equal the counts."""
    for number, layer in enumerate(summary["layers"]):
        name = layer["name"]
        below, above = f"layer{number - 1}" if number else "source", f"layer{number + 1}"
        unlocked = traces.pipeline.unlocked and number > 0

        def count(edge: str, kind: str, part: str) -> int:
            counts = found.get((edge, kind))
            return 0 if counts is None else getattr(counts, part)

        source_edge = f"source>{name}" if unlocked else f"{below}>{name}"
        assert layer["activations"] == count(source_edge, "activation", "used")
        assert layer["gradients"] == count(f"{above}>{name}", "gradient", "used")
        real = found.get((f"{below}>{name}", "activation")) if unlocked else None
        assert layer["inputs"] == (real.used if real else 0)
        assert layer["dropped_inputs"] == (real.dropped.get("late", 0) if real else 0)
        unsent = [(f"{name}>{above}", "activation"), (f"{name}>{below}", "gradient")]
        assert layer["unsent"] == sum(count(*edge, "unsent") for edge in unsent)


@BOTH
@pytest.mark.parametrize("rule", RULES)
def test_counts_of_a_run_balance_and_agree_with_its_summary(
    tmp_path_factory: pytest.TempPathFactory, rule: str, engine: str
) -> None:
    folder = shared_run(tmp_path_factory, tiny(rule, steps=300, eval_every=100), engine)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    traces = Traces(folder)
    assert not traces.running
    found = balanced(traces)
    require_none_lost(found)
    require_summary_counts(traces, summary, found)
    for row in edge_stats(traces):
        assert row.counts == tuple(a for a in found.values() if a.edge == row.edge)
        for distribution in (row.transit, row.wait, row.delay):
            d = distribution
            assert d is None or 0 <= d.p50 <= d.p95 <= d.max
    tests = sum(a.used for (edge, kind), a in found.items() if kind == "test")
    assert tests == 3 * 3 * -(-360 // 32)  # passes, layers, batches of the test examples


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_counts_in_lockstep_are_equal_on_both_engines(tmp_path: Path, rule: str) -> None:
    pipeline = tiny(rule, steps=60, schedule="lockstep", eval_every=30)
    together = []
    for engine in ("inline", "local"):
        ran(pipeline, tmp_path / engine, engine)
        found = balanced(Traces(tmp_path / engine))
        require_none_lost(found)
        together.append(once_sent(found))
    assert together[0] == together[1]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", pytest.param("unlocked-cdni", marks=pytest.mark.nightly)])
def test_counts_of_a_run_far_longer_than_its_rings_balance(tmp_path: Path, rule: str) -> None:
    long = tiny(rule, steps=14_000)
    small = replace(
        long,
        trace=TraceConfig(megabytes=1),
        layer=(LayerConfig(("linear 4", "tanh")), LayerConfig(("linear 10",))),
        data=replace(long.data, batch=4),
    )
    summary = ran(small, tmp_path / "run", "local")
    traces = Traces(tmp_path / "run")
    assert all(file.first > 0 for file in traces.files.values())
    found = balanced(traces)
    require_none_lost(found)
    require_summary_counts(traces, summary, found)
    assert found["source>layer0", "activation"].sent > 12_000
    assert {row.outcome for row in unused_messages(traces)} <= {"missing", "dropped", "unsent"}
    assert all(row.kind == "credit" for row in unused_messages(traces) if row.outcome == "missing")


@pytest.mark.parametrize("mode", ["ring", "full", "messages"])
def test_counts_are_equal_in_every_trace_mode(tmp_path: Path, mode: str) -> None:
    ran(tiny(mode=mode, schedule="lockstep"), tmp_path / mode)
    ran(tiny(schedule="lockstep"), tmp_path / "other")
    mine, other = (balanced(Traces(tmp_path / name)) for name in (mode, "other"))
    assert mine == other


def once_sent(counts: dict[tuple[str, str], EdgeCounts]) -> dict[tuple[str, str], EdgeCounts]:
    """The counts of all messages but credits, which are sent again from time to time."""
    return {key: count for key, count in counts.items() if key[1] != "credit"}


# -- runs that fail or are interrupted


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni", "backprop"])
def test_counts_balance_if_a_worker_was_killed(dni: Dni, rule: str) -> None:
    training = dni.train("-o", f"rule={rule}", "-o", "trace.megabytes=1")
    assert Traces(training.folder).running
    training.family["layer1"].kill()
    assert training.end(LATE) == 1
    traces = Traces(training.folder)
    assert not traces.running
    assert {stage for stage, file in traces.files.items() if not file.closed} == {"layer1"}
    balanced(traces)
    incoming = [edge for edge in traces.edges if edge.receiver == "layer1"]
    assert {loss_reason(traces, edge) for edge in incoming} == {"the worker of layer1 died"}
    reasons = {row.reason for row in unused_messages(traces) if row.edge.endswith(">layer1")}
    assert reasons <= {"the worker of layer1 died", "late", "behind", "overtaken"}
    if rule == "cdni":
        assert "the worker of layer1 died" in reasons
    others = {row.reason for row in unused_messages(traces) if not row.edge.endswith(">layer1")}
    assert "the worker of layer1 died" not in others
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "inline"])
def test_counts_of_an_interrupted_run_balance(dni: Dni, engine: str) -> None:
    training = dni.endless("--engine", engine)
    dni.until(lambda: any(line.get("updates") for line in training.metrics()), "it learns")
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    traces = Traces(training.folder)
    assert not traces.running
    assert all(file.closed for file in traces.files.values())
    found = balanced(traces)
    assert {loss_reason(traces, edge) for edge in traces.edges} == {"the run ended"}
    require_summary_counts(traces, training.summary(), found)
    dni.nothing_left()


@pytest.mark.slow
def test_counts_balance_if_the_coordinator_was_killed(dni: Dni) -> None:
    training = dni.train()
    training.process.kill()
    training.process.wait(LATE)
    dni.until(lambda: not dni.family(), "all workers are gone")
    traces = Traces(training.folder)
    assert not traces.running
    balanced(traces)
    dni.nothing_left()


NO_ROOM_IN_LAYER1 = """
import errno, os
allocate = os.posix_fallocate
calls = []
def small(file, start, size):
    name = os.readlink(f"/proc/self/fd/{file}")
    calls.append(1)
    if worker == "layer1" and name.endswith(".trace") and start >= ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    allocate(file, start, size)
os.posix_fallocate = small
if worker:
    import workers.recording.trace_writer
    workers.recording.trace_writer.CHUNK = 256
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 4000, 50_000], ids=["none", "for the opening", "for some"])
def test_full_disk_ends_tracing_and_not_training(dni: Dni, room: int) -> None:
    code = NO_ROOM_IN_LAYER1.replace("ROOM", str(room))
    arguments = ("--trace", "full", "-o", "train.steps=300", "-o", "train.schedule=lockstep")
    training = dni.start(*arguments, environment=dni.sitecustomize(code))
    assert training.end(LATE) == 0
    summary = training.summary()
    assert (summary["outcome"], summary["steps"]) == ("completed", 300)
    assert "Traceback" not in training.text
    (line,) = (training.folder / "logs" / "layer1.log").read_text("utf-8").splitlines()
    assert line.endswith("layer1.trace: No space left on device; nothing more is traced here")
    traces = Traces(training.folder)
    assert not traces.running
    assert ("layer1" in traces.files) == (room > 4096)
    found = {(str(c.edge), c.kind): c for c in edge_counts(traces)}
    assert found["source>layer0", "activation"].used == 300
    dni.nothing_left()
