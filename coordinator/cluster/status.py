"""How a run on several machines stands, and the words that it takes from outside."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from coordinator.cluster.owner import Owner
from coordinator.console.columns import Column, Phrases, Table
from coordinator.run_folder.layout import METRICS, REVOKED, STATUS, SUMMARY, is_recording
from protocol import RunError, SpecError, nearest
from protocol.pipeline import HEAD

TAIL: Final = 1 << 20
"""Bytes at the end of the metrics in which every core has a line, of a thousand cores too."""


def status(folder: Path) -> dict[str, Any]:
    """What the head wrote last. Raises RunError where it wrote nothing, or is not to be seen."""
    found, owner = _written(folder)
    if (folder / SUMMARY).exists():
        raise RunError(f"{folder}: the run is over")
    if owner.elsewhere:
        raise RunError(f"{folder}: the head of this run is {owner.elsewhere}; run dni there")
    if not owner.alive and is_recording(folder):
        raise RunError(
            f"{folder}: the head of this run is on another host, which is called {owner.host!r} "
            "too; run dni there"
        )
    if not owner.alive or not is_recording(folder, unknown=True):
        raise RunError(f"{folder}: the run is over; its head ended without a summary")
    return found | {"layers": list(_layers(folder).values())}


def _written(folder: Path) -> tuple[dict[str, Any], Owner]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / STATUS).read_text("utf-8"))
        if isinstance(found, dict) and (owner := Owner.read(found.get("owner"))):
            return found, owner
    if is_recording(folder):
        raise RunError(
            f"{folder}: is a run on this host alone; Ctrl-C where it was started ends it"
        )
    raise RunError(f"{folder}: holds no run on several machines that goes on")


def _layers(folder: Path) -> dict[str, dict[str, Any]]:
    """The newest line of the metrics about each core, by its name."""
    newest: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError), (folder / METRICS).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        for line in file:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and "layer" in told:
                    newest[told["layer"]] = told
    return newest


def stop(folder: Path) -> None:
    """Let the head end the run. Raises RunError where there is none."""
    status(folder)
    _, owner = _written(folder)
    if not owner.interrupt():
        raise RunError(f"{folder}: the run is over")


def revoke(folder: Path, name: str) -> None:
    """Let the head take back the key of the machine `name`. Raises UserError."""
    names = [agent["name"] for agent in status(folder)["agents"] if agent["name"] != HEAD]
    if name not in names:
        raise SpecError(f"{name}: no such machine{nearest(name, names)}")
    with (folder / REVOKED).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def layers_table(found: dict[str, Any]) -> Table:
    """A line a core: where it is, how far, how fast, and how wide its window has become."""
    homes = {
        core: agent["name"]
        for agent in found["agents"]
        for cores in agent["workers"].values()
        for core in cores
    }
    columns = (
        Column("core", left=True),
        Column("machine", left=True),
        Column("step"),
        Column("samples/s"),
        Column("busy", 1),
        Column("window", 3),
        Column("staleness", 2),
    )
    rows = [
        (
            told["layer"],
            homes.get(told["layer"], "missing"),
            _number(told["step"], ","),
            _number(told["samples_per_second"], ",.0f"),
            _number(told["busy_fraction"], ".0%"),
            str(told["window"]),
            f"{told['staleness_p50']} (max {told['staleness_max']})",
        )
        for told in _in_order(found["layers"])
    ]
    return Table(columns, rows)


def ways_table(found: dict[str, Any]) -> Table:
    """A line a long way: how wide its window is, how far it is, and what goes over it."""
    columns = (
        Column("from", left=True),
        Column("to", left=True),
        Column("window", 1),
        Column("round trip"),
        Column("MB/s"),
    )
    rows = [
        (
            told["layer"],
            neighbour,
            str(way["window"]),
            _number(way["round_trip_ms"], ",.1f", " ms"),
            _number(way["mb_per_second"], ",.1f"),
        )
        for told in _in_order(found["layers"])
        for neighbour, way in told["links"].items()
    ]
    return Table(columns, rows)


def status_table(found: dict[str, Any]) -> Table:
    """A line a machine."""
    idle = "waiting" if found["state"] == "waiting" else "in reserve"
    columns = (
        Column("machine", left=True),
        Column("host", 3, left=True),
        Column("address", 6, left=True),
        Column("slots", 4),
        Column("cores", 5),
        Column("workers", left=True, min_width=24),
        Column("last heard of", 2),
    )
    rows = [
        (
            agent["name"],
            agent["host"],
            agent["address"],
            str(agent["slots"] or ""),
            str(agent["cores"] or ""),
            Phrases([*agent["workers"]] or ["" if agent["name"] == HEAD else idle]),
            f"{agent['silent_seconds']:.1f} s ago",
        )
        for agent in found["agents"]
    ]
    return Table(columns, rows, [Phrases([f"head at {found['endpoint']}"])])


def _in_order(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The `layers` in the order of the pipeline: the source, then by number."""

    def place(told: dict[str, Any]) -> tuple[int, str]:
        name = told["layer"]
        number = name.removeprefix("layer")
        return (int(number) if number.isdecimal() else -1, name)

    return sorted(layers, key=place)


def _number(value: float | None, form: str, unit: str = "") -> str:
    """`value` with its unit; nothing where there is none, as for one that is not finite."""
    return "" if value is None else f"{value:{form}}{unit}"
