"""The books of every edge balance to the last message, and say what the summary says."""

from __future__ import annotations

import signal
import time
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
from tests.traced import ran, tiny

if TYPE_CHECKING:
    from tests.conftest import Dni

LATE = 20.0
BOTH = pytest.mark.parametrize("engine", [pytest.param("local", marks=pytest.mark.slow), "inline"])


def balanced(traces: Traces) -> dict[tuple[str, str], EdgeCounts]:
    """The books, which balance and say what all single messages say."""
    found = {(str(a.edge), a.kind): a for a in edge_counts(traces)}
    assert found
    assert traces.all_problems() == []
    for entry in found.values():
        assert entry.balanced, entry
        assert entry.unmatched == 0
    if not any(file.first for file in traces.files.values()):
        single = [count_messages(m) for edge in traces.edges for m in traces.messages(edge)]
        assert {(str(a.edge), a.kind): a for a in single} == found
    return found


def nothing_lost(found: dict[tuple[str, str], EdgeCounts]) -> None:
    """But credits, which nobody needs at the end."""
    for (edge, kind), entry in found.items():
        assert entry.waiting == 0, edge
        assert kind == "credit" or entry.missing == 0, (edge, kind)


def as_summary(traces: Traces, summary: dict[str, Any], found: dict[Any, EdgeCounts]) -> None:
    """The counters of every layer are the books' counts."""
    for number, layer in enumerate(summary["layers"]):
        name = layer["name"]
        below, above = f"layer{number - 1}" if number else "source", f"layer{number + 1}"
        unlocked = traces.pipeline.unlocked and number > 0

        def of(edge: str, kind: str, part: str) -> int:
            entry = found.get((edge, kind))
            return 0 if entry is None else getattr(entry, part)

        fed = f"source>{name}" if unlocked else f"{below}>{name}"
        assert layer["activations"] == of(fed, "activation", "used")
        assert layer["gradients"] == of(f"{above}>{name}", "gradient", "used")
        real = found.get((f"{below}>{name}", "activation")) if unlocked else None
        assert layer["inputs"] == (real.used if real else 0)
        assert layer["dropped_inputs"] == (real.dropped.get("late", 0) if real else 0)
        held_back = [(f"{name}>{above}", "activation"), (f"{name}>{below}", "gradient")]
        assert layer["unsent"] == sum(of(*edge, "unsent") for edge in held_back)


@BOTH
@pytest.mark.parametrize("rule", RULES)
def test_the_books_of_a_run_balance_and_say_what_its_summary_says(
    tmp_path: Path, rule: str, engine: str
) -> None:
    summary = ran(tiny(rule, steps=300, eval_every=100), tmp_path / "run", engine)
    traces = Traces(tmp_path / "run")
    assert not traces.running
    found = balanced(traces)
    nothing_lost(found)
    as_summary(traces, summary, found)
    for row in edge_stats(traces):
        assert row.counts == tuple(a for a in found.values() if a.edge == row.edge)
        for spread in (row.transit, row.wait, row.delay):
            assert spread is None or 0 <= spread.p50 <= spread.p95 <= spread.max
    tests = sum(a.used for (edge, kind), a in found.items() if kind == "test")
    assert tests == 3 * 3 * -(-360 // 32)  # passes, layers, batches of the test examples


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_in_lockstep_processes_keep_the_books_of_one_process(tmp_path: Path, rule: str) -> None:
    wanted = tiny(rule, steps=60, schedule="lockstep", eval_every=30)
    together = []
    for engine in ("inline", "local"):
        ran(wanted, tmp_path / engine, engine)
        found = balanced(Traces(tmp_path / engine))
        nothing_lost(found)
        together.append({key: a for key, a in found.items() if key[1] != "credit"})  # repeated
    assert together[0] == together[1]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni"])
def test_the_books_of_a_run_far_longer_than_its_rings_balance_exactly(
    tmp_path: Path, rule: str
) -> None:
    long = tiny(rule, steps=20_000)
    small = replace(
        long,
        trace=TraceConfig(megabytes=1),
        layer=(LayerConfig(("linear 4", "tanh")), LayerConfig(("linear 10",))),
        data=replace(long.data, batch=4),
    )
    began = time.monotonic()
    summary = ran(small, tmp_path / "run", "local")
    assert time.monotonic() - began < 100  # some 15 where the machine has nothing else to do
    traces = Traces(tmp_path / "run")
    assert all(file.first > 0 for file in traces.files.values())
    found = balanced(traces)
    nothing_lost(found)
    as_summary(traces, summary, found)
    assert found["source>layer0", "activation"].sent > 10_000
    assert {row.outcome for row in unused_messages(traces)} <= {"missing", "dropped", "unsent"}
    assert all(row.kind == "credit" for row in unused_messages(traces) if row.outcome == "missing")


@pytest.mark.parametrize("mode", ["ring", "full", "messages"])
def test_every_mode_keeps_the_same_books(tmp_path: Path, mode: str) -> None:
    ran(tiny(mode=mode, schedule="lockstep"), tmp_path / mode)
    ran(tiny(schedule="lockstep"), tmp_path / "other")
    mine, other = (balanced(Traces(tmp_path / name)) for name in (mode, "other"))
    assert mine == other


# -- runs that do not end well


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni", "backprop"])
def test_the_traces_of_a_run_in_which_a_layer_was_killed_read_and_balance(
    dni: Dni, rule: str
) -> None:
    training = dni.train("-o", f"rule={rule}", "-o", "trace.megabytes=1")
    assert Traces(training.folder).running
    training.family["layer1"].kill()
    assert training.end(LATE) == 1
    traces = Traces(training.folder)
    assert not traces.running
    assert {core for core, file in traces.files.items() if not file.closed} == {"layer1"}
    balanced(traces)
    into = [edge for edge in traces.edges if edge.receiver == "layer1"]
    assert {loss_reason(traces, edge) for edge in into} == {"layer1 died"}
    reasons = {row.reason for row in unused_messages(traces) if row.edge.endswith(">layer1")}
    assert reasons <= {"layer1 died", "late", "behind", "overtaken"}
    if rule == "cdni":
        assert "layer1 died" in reasons
    others = {row.reason for row in unused_messages(traces) if not row.edge.endswith(">layer1")}
    assert "layer1 died" not in others
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "inline"])
def test_the_traces_of_an_interrupted_run_read_and_balance(dni: Dni, engine: str) -> None:
    training = dni.endless("--engine", engine)
    dni.until(lambda: any(line.get("updates") for line in training.metrics()), "it learns")
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    traces = Traces(training.folder)
    assert not traces.running
    assert all(file.closed for file in traces.files.values())
    found = balanced(traces)
    assert {loss_reason(traces, edge) for edge in traces.edges} == {"the run ended"}
    as_summary(traces, training.summary(), found)
    dni.nothing_left()


@pytest.mark.slow
def test_a_run_whose_coordinator_was_killed_leaves_traces_that_balance(dni: Dni) -> None:
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
def test_a_disk_that_is_full_for_traces_leaves_training_undisturbed(dni: Dni, room: int) -> None:
    code = NO_ROOM_IN_LAYER1.replace("ROOM", str(room))
    words = ("--trace", "full", "-o", "train.steps=300", "-o", "train.schedule=lockstep")
    training = dni.start(*words, environment=dni.sitecustomize(code))
    assert training.end(LATE) == 0
    summary = training.summary()
    assert (summary["outcome"], summary["steps"]) == ("completed", 300)
    assert "Traceback" not in training.text
    (line,) = (training.folder / "logs" / "layer1.log").read_text("utf-8").splitlines()
    assert line.endswith("layer1.trace: No space left on device; nothing more is traced here")
    traces = Traces(training.folder)
    assert not traces.running
    assert ("layer1" in traces.files) == (room > 4096)
    found = {(str(a.edge), a.kind): a for a in edge_counts(traces)}
    assert found["source>layer0", "activation"].used == 300
    dni.nothing_left()
