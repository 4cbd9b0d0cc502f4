"""Tables and sentences fit the terminal; numbers stay whole, and beside their units."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from coordinator.commands.comparison_tables import comparison_table
from coordinator.commands.tables import data_list, plan_table
from coordinator.compare.results import group_runs
from coordinator.console.columns import Column, Phrases, Table
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
from tests.terminal_help import WIDTHS, rendered
from tests.test_compare import ran

LAYERS = 12
PIPELINE = Pipeline(
    name="a-network-whose-name-is-long",
    data=DataConfig(name="digits"),
    layer=(LayerConfig(("conv 32 3x3", "batchnorm", "relu")),) * (LAYERS - 1)
    + (LayerConfig(("linear 10",)),),
)
EDGES = [str(edge) for edge in PIPELINE.edges]


def entry(edge: str, number: int) -> MessageRow:
    """A message with large numbers in all its fields."""
    at = 1_234_567_890_000 + number * 98_765_432
    return MessageRow(
        edge, "activation", 10_000_000 + number, 128 << 20, at, at + 456, at + 98_765_432,
        at + 198_765_432, 65_535, 4_095, 10_000_000, 9_999_999, "dropped", "overtaken", "",
    )  # fmt: skip


def chain(edges: Sequence[str]) -> list[CausalNode]:
    """A causal_tree in which each message led to the next."""
    following = chain(edges[1:]) if len(edges) > 1 else []
    return [CausalNode(entry(edges[0], len(EDGES) - len(edges)), following)]


def edge_stats(edge: Edge) -> EdgeStats:
    count = EdgeCounts(edge, "activation", 10_000_000, 9 << 40, 9_000_000, {}, 1_000_000, 7, 7, 0)
    spread = Distribution(10_000_000, 123_456_789.0, 987_654_321.0, 99_876_543_210.0)
    return EdgeStats(edge, (count,), 8.3, 10_000_000, spread, spread, spread, spread, 123_456)


def stats() -> RunStats:
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


def machines() -> dict[str, Any]:
    agents = [
        {
            "name": f"node{number}",
            "host": f"ip-10-0-0-{number}.eu-central-1.compute.internal",
            "address": "fe80::1234:5678:9abc:def0",
            "slots": 4,
            "cpus": 128,
            "workers": {f"layer{number}": [f"layer{number}"], "layer8-11": ["layer8", "layer9"]},
            "silent_seconds": 123.456,
        }
        for number in range(3)
    ]
    way = {"window": 4096, "round_trip_ms": 1234.56, "mb_per_second": 12_345.6}
    layers = [
        {
            "layer": core,
            "step": 10_000_000,
            "samples_per_second": 1_200_000.4,
            "busy_fraction": 0.987,
            "window": 4096,
            "staleness_p50": 1234,
            "staleness_max": 4096,
            "links": {"layer11": way},
        }
        for core in PIPELINE.stages
    ]
    return {
        "state": "training",
        "endpoint": "tcp://[fe80::1234]:5701",
        "hosts": agents,
        "stages": layers,
    }


def plans() -> list[dict[str, object]]:
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
    "trace stats": stats_table([edge_stats(edge) for edge in PIPELINE.edges]),
    "trace messages": messages_table([entry(edge, n) for n, edge in enumerate(EDGES)]),
    "trace lost": lost_table(LOSSES),
    "trace diff": difference_table(DIFFERENCES),
    "trace batch": CausalTree(7, chain(EDGES[:LAYERS])),
    "check": plan_table(PIPELINE, plans()),
    "status": host_table(machines()),
    "status, stages": stage_table(machines()),
    "status, links": link_table(machines()),
    "run": layer_table(stats()),
    "run, live": layer_table(stats(), 9),
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


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_all_that_is_shown_fits_and_its_numbers_are_whole(name: str, width: int) -> None:
    lines = rendered(SHOWN[name], width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for number in NUMBERS[name]:
        assert number in text or _left_out(SHOWN[name], number, lines), number


def _left_out(what: RenderableType, number: str, lines: list[str]) -> bool:
    """Whether the column with this number is said not to be shown."""
    said = " ".join(lines).partition("not shown at ")[2]
    return isinstance(what, Table) and any(
        column.heading in said
        for place, column in enumerate(what.columns)
        if any(number == row[place] for row in what.rows if row)
    )


@pytest.mark.parametrize("name", SHOWN)
def test_a_pipe_gets_everything(name: str) -> None:
    lines = rendered(SHOWN[name])
    text = "\n".join(lines)
    assert "not shown" not in text
    assert all(number in text for number in NUMBERS[name])
    if isinstance(table := SHOWN[name], Table):
        assert all(column.heading in lines[0] for column in table.columns)
        assert len(lines) == 2 + len(table.rows) + len(table.notes)


@pytest.mark.parametrize("depth", [1, 12, 40])
def test_a_story_as_deep_as_can_be_loses_nothing(depth: int) -> None:
    edges = [f"layer{number}>layer{number + 1}" for number in range(depth)]
    text = "\n".join(rendered(CausalTree(1, chain(edges)), 60))
    assert all(edge in text for edge in edges)
    assert text.count("work 100 ms") == depth


# -- the table


COLUMNS = (Column("name", left=True), Column("bytes", 2), Column("rate"), Column("age", 1))
ROWS = [("layer0", "12.3 MiB", "1,200,000", "3 ms"), ("layer10", "1 B", "-", "12,345 s")]


@pytest.mark.parametrize(
    ("width", "headings", "said"),
    [
        (80, "name bytes rate age", ""),
        (30, "name rate age", "not shown at 30 columns: bytes"),
        (20, "name rate", "not shown at 20 columns: bytes,"),
        (10, "name", "not shown at 10 columns: bytes,"),
    ],
)
def test_the_least_important_columns_go_first_and_are_named(
    width: int, headings: str, said: str
) -> None:
    lines = rendered(Table(COLUMNS, ROWS), width)
    assert lines[0].split() == headings.split()
    assert said in " ".join(lines)
    assert ("not shown" in " ".join(lines)) == bool(said)


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert rendered(Table(COLUMNS, ROWS), 80) == [
        "name        bytes       rate       age",
        "─" * 38,
        "layer0   12.3 MiB  1,200,000      3 ms",
        "layer10       1 B          -  12,345 s",
    ]


@pytest.mark.parametrize("name", ["λ", "日本語", "naïve", "👍👍"])
def test_wide_letters_do_not_move_the_columns(name: str) -> None:
    lines = rendered(Table([Column("name", left=True), Column("n")], [(name, "1"), ("b", "22")]))
    assert {cell_len(line) for line in lines} == {max(4, cell_len(name)) + 4}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_what_a_terminal_spells_in_more_letters_does_not_move_the_columns(encoding: str) -> None:
    data = io.BytesIO()
    file = io.TextIOWrapper(data, encoding, errors="strict", newline="")
    table = Table([Column("λ", left=True), Column("±"), Column("n")], [("µ…", "3 µs", "1")])
    Console(file=file, width=60).print(table, crop=False)
    file.flush()
    lines = data.getvalue().decode(encoding).splitlines()
    assert len({cell_len(line) for line in lines}) == 1


def test_a_sentence_in_a_cell_is_broken_between_phrases() -> None:
    columns = (Column("layer", left=True), Column("modules", left=True), Column("n"))
    rows = [("layer0", Phrases(["conv 32 3x3", "batchnorm", "relu"]), "1,234")]
    assert [line.split() for line in rendered(Table(columns, rows), 30)[2:]] == [
        ["layer0", "conv", "32", "3x3,", "1,234"],
        ["batchnorm,", "relu"],
    ]


@given(st.lists(st.text("ab 1", min_size=1).filter(str.strip), min_size=1), st.integers(1, 60))
def test_a_sentence_is_broken_nowhere_else(phrases: list[str], width: int) -> None:
    phrases = [phrase.strip() for phrase in phrases]
    lines = Phrases(phrases).lines(width)
    assert " ".join(lines) == ", ".join(phrases)
    widest = max(len(phrase) for phrase in phrases) + 1
    assert max(map(len, lines)) <= max(width, widest)


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("host", ["ada", "ip-10-0-0-1.eu-central-1.compute.internal", "h" * 60])
def test_workers_have_room_beside_long_names_of_hosts(width: int, host: str) -> None:
    found = machines()
    for agent in found["hosts"]:
        agent |= {"host": host, "workers": {f"layer{n}": [] for n in range(9)}}
    lines = rendered(host_table(found), width)
    assert "workers" in lines[0]
    assert any("layer0, layer1" in line for line in lines)
    assert "address" not in lines[0] or "host" in lines[0]


def test_cells_that_say_nothing_are_empty() -> None:
    found = machines()
    found["hosts"][0] |= {"name": "head", "host": "", "slots": 0, "cpus": 0, "workers": {}}
    row = host_table(found).rows[0]
    assert row[:2] == ("head", "")
    assert row[3:5] == ("", "")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [12, 45, 200])
def test_a_deep_story_is_no_wider_than_its_terminal(width: int, count: int) -> None:
    lines = rendered(CausalTree(7, chain([EDGES[n % len(EDGES)] for n in range(count)])), width)
    assert max(map(len, lines)) <= width
    assert sum("activation" in line for line in lines) == count


@pytest.mark.parametrize("width", [40, 60, 80])
def test_of_a_comparison_the_ratio_stays(width: int) -> None:
    rows = [MeasureDifference("layer10>layer11" * 2, "bytes_per_second", 1e9, 2e9)]
    lines = rendered(difference_table(rows), width)
    assert "2.00" in lines[2] or width == 40
    assert max(map(len, lines[:3])) <= max(width, 48)


@pytest.mark.parametrize("width", [40, 60])
def test_a_checksum_and_an_address_have_a_line_of_their_own(width: int) -> None:
    entry = {
        "name": "mnist",
        "description": "70,000 images",
        "source": "https://example.org/a/very/long/address/of/a/file.gz",
        "checksums": {"train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873"},
        "location": None,
    }
    lines = rendered(data_list([entry]), width)
    assert "    f68b3c2dcbeaaa9fbdd348bbdeb94873" in lines
    assert lines.index("  source:") + 1 == lines.index(f"    {entry['source']}")
