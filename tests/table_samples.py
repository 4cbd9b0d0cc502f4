"""Samples of all tables, with large numbers in all cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType

from coordinator.commands.comparison_tables import comparison_table
from coordinator.commands.tables import plan_table
from coordinator.compare.results import group_runs
from coordinator.control.tables import host_table, link_table, stage_table
from coordinator.observers.run_stats import RunStats
from coordinator.observers.terminal import layer_table
from coordinator.traces.causality import CausalNode
from coordinator.traces.difference import MeasureDifference
from coordinator.traces.find import MessageRow, UnusedMessages
from coordinator.traces.message_accounting import EdgeCounts
from coordinator.traces.show import (
    difference_table,
    lost_table,
    messages_table,
    stats_table,
)
from coordinator.traces.show_causes import CausalTree
from coordinator.traces.stats import Distribution, EdgeStats
from protocol import DataConfig, Edge, Evaluated, LayerConfig, Pipeline, Report
from tests.test_compare import ran

LAYERS = 12
PIPELINE = Pipeline(
    name="a-network-whose-name-is-long",
    data=DataConfig(name="digits"),
    layer=(LayerConfig(("conv 32 3x3", "batchnorm", "relu")),) * (LAYERS - 1)
    + (LayerConfig(("linear 10",)),),
)
EDGES = [str(edge) for edge in PIPELINE.edges]


def message_row(edge: str, number: int) -> MessageRow:
    """A message with large numbers in all its fields."""
    at = 1_234_567_890_000 + number * 98_765_432
    return MessageRow(
        edge, "activation", 10_000_000 + number, 128 << 20, at, at + 456, at + 98_765_432,
        at + 198_765_432, 65_535, 4_095, 10_000_000, 9_999_999, "dropped", "overtaken", "",
    )  # fmt: skip


def causal_chain(edges: Sequence[str]) -> list[CausalNode]:
    """A causal tree in which each message caused the next."""
    following = causal_chain(edges[1:]) if len(edges) > 1 else []
    return [CausalNode(message_row(edges[0], len(EDGES) - len(edges)), following)]


def sample_edge_stats(edge: Edge) -> EdgeStats:
    count = EdgeCounts(edge, "activation", 10_000_000, 9 << 40, 9_000_000, {}, 1_000_000, 7, 7, 0)
    distribution = Distribution(10_000_000, 123_456_789.0, 987_654_321.0, 99_876_543_210.0)
    return EdgeStats(
        edge,
        (count,),
        8.3,
        10_000_000,
        distribution,
        distribution,
        distribution,
        distribution,
        123_456,
    )


def sample_stats() -> RunStats:
    made = RunStats(PIPELINE)
    for name in PIPELINE.stages:
        made.add(
            Report(
                name, step=10_000_000, updates=10_000_000, samples=640_000_000,
                gradients=9_000_000, dropped_gradients=1_234_567, queue=4096, staleness_p50=1234,
                staleness_max=4096, synthetic_cosine=-0.12, busy=512.0,
                elapsed=533.3, training=533.3, rss_mb=12_345.0, finished=True,
            )
        )  # fmt: skip
    made.add(Evaluated("layer11", 10_000_000, 0.5, 1, 100))
    return made


def sample_status() -> dict[str, Any]:
    agents = [
        {
            "name": f"tree{number}",
            "host": f"ip-10-0-0-{number}.eu-central-1.compute.internal",
            "address": "fe80::1234:5678:9abc:def0",
            "slots": 4,
            "cpus": 128,
            "workers": {f"layer{number}": [f"layer{number}"], "layer8-11": ["layer8", "layer9"]},
            "silent_seconds": 123.456,
        }
        for number in range(3)
    ]
    link = {"window": 4096, "round_trip_ms": 1234.56, "mb_per_second": 12_345.6}
    layers = [
        {
            "layer": stage,
            "step": 10_000_000,
            "samples_per_second": 1_200_000.4,
            "busy_fraction": 0.987,
            "window": 4096,
            "staleness_p50": 1234,
            "staleness_max": 4096,
            "links": {"layer11": link},
        }
        for stage in PIPELINE.stages
    ]
    return {
        "state": "training",
        "endpoint": "tcp://[fe80::1234]:5701",
        "hosts": agents,
        "stages": layers,
    }


def sample_plans() -> list[dict[str, object]]:
    return [
        {
            "name": f"layer{number}",
            "modules": layer.modules,
            "input": (224, 224, 64),
            "output": (224, 224, 128),
            "parameters": 123_456_789,
            "synthetic_parameters": 23_456_789,
            "up_bytes": 9 << 30,
            "down_bytes": 9 << 30,
            "memory_mb": 12_345.6,
            "work": 3,
        }
        for number, layer in enumerate(PIPELINE.layer)
    ]


GROUPS = group_runs([ran("unlocked-cdni", 0, 12.34), ran("cdni", 0, 1.2), ran("cdni", 1, 2.3)])
LOSSES = [
    UnusedMessages(edge, "activation", "missing", "its worker died", 10**7, 1, 10**7)
    for edge in EDGES
]
DIFFERENCES = [
    MeasureDifference(edge, measure, 123_456_789.0, 98_765_432.1)
    for edge in EDGES
    for measure in ("rate", "bytes_per_second", "delay_p50")
]
SHOWN: dict[str, RenderableType] = {
    "trace stats": stats_table([sample_edge_stats(edge) for edge in PIPELINE.edges]),
    "trace messages": messages_table([message_row(edge, n) for n, edge in enumerate(EDGES)]),
    "trace lost": lost_table(LOSSES),
    "trace diff": difference_table(DIFFERENCES),
    "trace batch": CausalTree(7, causal_chain(EDGES[:LAYERS])),
    "check": plan_table(PIPELINE, sample_plans()),
    "status": host_table(sample_status()),
    "status, stages": stage_table(sample_status()),
    "status, links": link_table(sample_status()),
    "run": layer_table(sample_stats()),
    "run, live": layer_table(sample_stats(), 9),
    "compare": comparison_table(GROUPS, {"toy": 2.5}),
}
NUMBERS = {
    "trace stats": ["10,000,000", "988 ms", "1,000,000"],
    "trace messages": ["10000003", "+98.8 ms", "dropped: overtaken"],
    "trace lost": ["10,000,000", "its worker died"],
    "trace diff": ["123 ms", "117.7 MiB", "123,456,789"],
    "trace batch": ["128.0 MiB", "sent +0 µs", "work 100 ms"],
    "check": ["123,456,789", "224x224x128", "12346"],
    "status": ["123.5 s ago", "layer8-11"],
    "status, stages": ["10,000,000", "1,200,000", "1234 (max 4096)"],
    "status, links": ["1,234.6 ms", "12,345.6"],
    "run": ["10,000,000", "1,200,075", "96%", "1234 (max 4096)"],
    "run, live": ["10,000,000", "1,200,075", "96%", "4 more; the table at the end has all"],
    "compare": ["1.75 ± 0.78 %", "never", "12.34 %"],
}
