"""The tables of `dni status`: hosts, stages and links, from a snapshot as JSON has it."""

from __future__ import annotations

from typing import Any

from coordinator.console.columns import Column, Phrases, Table
from protocol.config import HEAD


def host_table(snapshot: dict[str, Any]) -> Table:
    """One line per host."""
    idle = "in reserve" if any(host["workers"] for host in snapshot["hosts"]) else "waiting"
    columns = (
        Column("name", left=True),
        Column("host", 3, left=True),
        Column("address", 6, left=True),
        Column("slots", 4),
        Column("CPUs", 5),
        Column("workers", left=True, min_width=24),
        Column("last message", 2),
    )
    rows = [
        (
            host["name"],
            host["host"],
            host["address"],
            str(host["slots"] or ""),
            str(host["cpus"] or ""),
            Phrases([*host["workers"]] or ["" if host["name"] == HEAD else idle]),
            "" if host["name"] == HEAD else f"{host['silent_seconds']:.1f} s ago",
        )
        for host in snapshot["hosts"]
    ]
    endpoint = snapshot["endpoint"]
    return Table(columns, rows, [Phrases([f"head at {endpoint}"])] if endpoint else [])


def stage_table(snapshot: dict[str, Any]) -> Table:
    """One line per stage: its host, step, rate, window and staleness."""
    names = {
        stage: host["name"]
        for host in snapshot["hosts"]
        for stages in host["workers"].values()
        for stage in stages
    }
    columns = (
        Column("stage", left=True),
        Column("host", left=True),
        Column("step"),
        Column("samples/s"),
        Column("busy", 1),
        Column("window", 3),
        Column("staleness", 2),
    )
    rows = [
        (
            line["layer"],
            names.get(line["layer"], "missing"),
            _number(line["step"], ","),
            _number(line["samples_per_second"], ",.0f"),
            _number(line["busy_fraction"], ".0%"),
            str(line["window"]),
            f"{line['staleness_p50']} (max {line['staleness_max']})",
        )
        for line in snapshot["stages"]
    ]
    return Table(columns, rows)


def link_table(snapshot: dict[str, Any]) -> Table:
    """One line per link between hosts: its window, round trip and data rate."""
    columns = (
        Column("from", left=True),
        Column("to", left=True),
        Column("window", 1),
        Column("round trip"),
        Column("MB/s"),
    )
    rows = [
        (
            line["layer"],
            neighbour,
            str(link["window"]),
            _number(link["round_trip_ms"], ",.1f", " ms"),
            _number(link["mb_per_second"], ",.1f"),
        )
        for line in snapshot["stages"]
        for neighbour, link in line["links"].items()
    ]
    return Table(columns, rows)


def progress_line(snapshot: dict[str, Any]) -> Phrases:
    """The state of the run, and how far it is."""
    parts = [snapshot["state"]]
    if snapshot["waiting_for"]:
        parts[0] = f"waiting: {snapshot['waiting_for']}"
    elif snapshot["stages"]:
        parts.append(f"step {snapshot['step']:,}/{snapshot['steps']:,}")
        parts.append(_number(snapshot["train_loss"], ".4f", before="loss "))
        parts.append(_number(snapshot["test_error"], ".2f", " %", before="test error "))
    return Phrases([part for part in parts if part])


def _number(value: float | None, form: str, unit: str = "", before: str = "") -> str:
    """`value` with its unit; empty for None, which stands for a number that is not finite."""
    return "" if value is None else f"{before}{value:{form}}{unit}"
