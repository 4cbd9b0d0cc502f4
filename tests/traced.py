"""Make and read trace files as docs/traces.md describes them, without the code under test."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack
import numpy as np
import pytest
import tomli_w

import cli
from coordinator.traces.run import Traces
from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig
from protocol.builtin import to_json
from protocol.config import TraceConfig
from tests import network
from tests.assembly import build_stages
from workers.recording.tracer import FileTracer, open_tracer

OPENING: Final = struct.Struct("<8sIIQQQQQI")
RECORD: Final = struct.Struct("<QQQQIIHHBBBB")
SENT, RECEIVED, USED, DROPPED, RESUMED, CLOCK = range(1, 7)
ACTIVATION, GRADIENT, CREDIT, MARKER, TEST = range(1, 6)
OVERTAKEN, LATE, BEHIND, IGNORED = range(1, 5)
PARTS: Final = 9
KINDS: Final = 6
SECOND: Final = 10**9

X: Final = np.zeros((4, 6), np.float32)
LABELS: Final = np.zeros(4, np.int64)

Totals: TypeAlias = np.typing.NDArray[np.int64]


class Row(NamedTuple):
    """A record, in the order in which it lies in the file."""

    time: int
    end: int = 0
    batch: int = 0
    version: int = 0
    bytes: int = 0
    staleness: int = 0
    queue: int = 0
    edge: int = 0
    event: int = SENT
    kind: int = ACTIVATION
    reason: int = 0
    cause: int = 0


class Decoded(NamedTuple):
    """The content of a trace file; `rows` are the oldest first."""

    start: int
    capacity: int
    written: int
    counted: int
    closed: int
    metadata: dict[str, Any]
    totals: Totals
    rows: list[Row]


def decoded(path: Path) -> Decoded:
    """Read the file at `path`."""
    data = path.read_bytes()
    magic, form, size, start, capacity, count, counted, closed, length = OPENING.unpack_from(data)
    assert (magic, form, size) == (b"dnitrace", 2, RECORD.size)
    metadata = msgpack.unpackb(data[60 : 60 + length])
    shape = (len(metadata["edges"]), KINDS, PARTS)
    at = (60 + length + 7) // 8 * 8
    totals = np.frombuffer(data, "<i8", int(np.prod(shape)), at).reshape(shape)
    numbers = range(max(0, count - capacity) if capacity else 0, count)
    places = [start + (n % capacity if capacity else n) * RECORD.size for n in numbers]
    rows = [Row(*RECORD.unpack_from(data, place)) for place in places]
    return Decoded(start, capacity, count, counted, closed, metadata, totals, rows)


def trace_metadata(stage: str, edges: Iterable[str], **fields: Any) -> dict[str, Any]:
    """The metadata of the trace of `stage`."""
    plain = {"pid": 1, "host": "elsewhere", "offset_ns": 0, "bound_ns": 0}
    times = {"monotonic_ns": SECOND, "unix_ns": SECOND}
    return {"stage": stage, **plain, **times, "edges": list(edges), **fields}


def trace_bytes(
    metadata: object, rows: Iterable[Iterable[int]], closed: int = 1, start: int = 4096
) -> bytes:
    """The bytes of a file without a capacity that holds `rows`."""
    packed: bytes = msgpack.packb(metadata)
    records = [RECORD.pack(*row) for row in rows]
    opening = OPENING.pack(b"dnitrace", 2, 48, start, 0, len(records), 0, closed, len(packed))
    return b"".join([(opening + packed).ljust(start, b"\0"), *records])


def tiny(rule: str = "cdni", mode: str = "ring", steps: int = 40, **train: Any) -> Pipeline:
    """Three small layers on the embedded digits."""
    return Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=32),
        train=TrainConfig(**{"steps": steps, "eval_every": 0, **train}),
        trace=TraceConfig(mode=mode),
        layer=(
            LayerConfig(("linear 16", "tanh")),
            LayerConfig(("linear 16", "tanh")),
            LayerConfig(("linear 10",)),
        ),
    )


def ran(pipeline: Pipeline, folder: Path, engine: str = "inline") -> dict[str, Any]:
    """Run `pipeline` to its end; return its summary."""
    result = cli.run(pipeline, engine=engine, run_dir=folder)
    assert result.end.outcome == "completed", result.end
    return result.summary


_SHARED: Final[dict[str, Path]] = {}


def shared_run(factory: pytest.TempPathFactory, pipeline: Pipeline, engine: str = "inline") -> Path:
    """The folder of a run of `pipeline`, which all tests of a session share; never change it."""
    key = f"{engine} {to_json(pipeline.as_dict())}"
    if key not in _SHARED:
        folder = factory.mktemp("shared") / "run"
        ran(pipeline, folder, engine)
        _SHARED[key] = folder
    return _SHARED[key]


def handmade(folder: Path, files: dict[str, bytes], pipeline: Pipeline | None = None) -> Traces:
    """The traces of a run of two layers with the given `files`, by stage."""
    chosen = pipeline or replace(tiny(), layer=tiny().layer[1:])
    (folder / "trace").mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.toml").write_text(tomli_w.dumps(chosen.as_dict()), "utf-8")
    (folder / "summary.json").write_text("{}", "utf-8")
    for stage, data in files.items():
        (folder / "trace" / f"{stage}.trace").write_bytes(data)
    return Traces(folder)


def opened(folder: Path, mode: str) -> FileTracer:
    """The trace of layer1 in `folder`."""
    pipeline = replace(network.tiny("cdni"), trace=TraceConfig(mode=mode))
    stages = {stage.name: stage for stage in build_stages(pipeline, network.DATA)}
    made = open_tracer(stages["layer1"], pipeline, folder)
    assert made is not None
    return made
