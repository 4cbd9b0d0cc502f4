"""Tables fit their terminal, and no number in them is cut."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.console import RenderableType

from coordinator.commands.tables import data_list
from coordinator.console.columns import Table
from coordinator.control.tables import host_table
from coordinator.traces.difference import MeasureDifference
from coordinator.traces.show import (
    difference_table,
)
from coordinator.traces.show_causes import CausalTree
from tests.table_samples import EDGES, NUMBERS, SHOWN, causal_chain, sample_status
from tests.terminal_help import TERMINAL_COLUMNS, rendered


@pytest.mark.parametrize("width", TERMINAL_COLUMNS)
@pytest.mark.parametrize("name", SHOWN)
def test_table_fits_its_terminal_and_no_number_is_cut(name: str, width: int) -> None:
    lines = rendered(SHOWN[name], width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for number in NUMBERS[name]:
        assert number in text or _left_out(SHOWN[name], number, lines), number


def _left_out(what: RenderableType, number: str, lines: list[str]) -> bool:
    """Whether the column with this number is named as not shown."""
    hidden = " ".join(lines).partition("not shown at ")[2]
    return isinstance(what, Table) and any(
        column.heading in hidden
        for index, column in enumerate(what.columns)
        if any(number == row[index] for row in what.rows if row)
    )


@pytest.mark.parametrize("name", SHOWN)
def test_pipe_gets_all_columns(name: str) -> None:
    lines = rendered(SHOWN[name])
    text = "\n".join(lines)
    assert "not shown" not in text
    assert all(number in text for number in NUMBERS[name])
    if isinstance(table := SHOWN[name], Table):
        assert all(column.heading in lines[0] for column in table.columns)
        assert len(lines) == 2 + len(table.rows) + len(table.notes)


@pytest.mark.parametrize("depth", [1, 12, 40])
def test_deep_causal_tree_loses_nothing(depth: int) -> None:
    edges = [f"layer{number}>layer{number + 1}" for number in range(depth)]
    text = "\n".join(rendered(CausalTree(1, causal_chain(edges)), 60))
    assert all(edge in text for edge in edges)
    assert text.count("work 100 ms") == depth


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("host", ["ada", "ip-10-0-0-1.eu-central-1.compute.internal", "h" * 60])
def test_workers_have_room_next_to_long_host_names(width: int, host: str) -> None:
    found = sample_status()
    for agent in found["hosts"]:
        agent |= {"host": host, "workers": {f"layer{n}": [] for n in range(9)}}
    lines = rendered(host_table(found), width)
    assert "workers" in lines[0]
    assert any("layer0, layer1" in line for line in lines)
    assert "address" not in lines[0] or "host" in lines[0]


def test_empty_values_have_empty_cells() -> None:
    found = sample_status()
    found["hosts"][0] |= {"name": "head", "host": "", "slots": 0, "cpus": 0, "workers": {}}
    row = host_table(found).rows[0]
    assert row[:2] == ("head", "")
    assert row[3:5] == ("", "")


@pytest.mark.parametrize("width", TERMINAL_COLUMNS)
@pytest.mark.parametrize("count", [12, 45, 200])
def test_causal_tree_is_no_wider_than_its_terminal(width: int, count: int) -> None:
    lines = rendered(
        CausalTree(7, causal_chain([EDGES[n % len(EDGES)] for n in range(count)])), width
    )
    assert max(map(len, lines)) <= width
    assert sum("activation" in line for line in lines) == count


@pytest.mark.parametrize("width", [40, 60, 80])
def test_ratio_of_a_comparison_is_always_shown(width: int) -> None:
    rows = [MeasureDifference("layer10>layer11" * 2, "bytes_per_second", 1e9, 2e9)]
    lines = rendered(difference_table(rows), width)
    assert "2.00" in lines[2] or width == 40
    assert max(map(len, lines[:3])) <= max(width, 48)


@pytest.mark.parametrize("width", [40, 60])
def test_checksum_and_url_have_separate_lines(width: int) -> None:
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
