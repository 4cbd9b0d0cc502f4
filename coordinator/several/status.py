"""How a run on several machines stands, and the words that it takes from outside."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.markup import escape
from rich.table import Table

from coordinator.record import METRICS, REVOKED, STATUS, SUMMARY
from coordinator.watch import alive, interrupt
from protocol import RunError, SpecError, nearest
from protocol.spec import HEAD

TAIL: Final = 1 << 20
"""Bytes at the end of the metrics in which every core has a line, of a thousand cores too."""


def status(folder: Path) -> dict[str, Any]:
    """What the head wrote last. Raises RunError where it wrote nothing, or is gone."""
    try:
        found: dict[str, Any] = json.loads((folder / STATUS).read_text("utf-8"))
    except (OSError, ValueError):
        raise RunError(f"{folder}: holds no run on several machines that goes on") from None
    if (folder / SUMMARY).exists() or not alive(found["pid"]):
        raise RunError(f"{folder}: the run is over")
    return found | {"layers": list(_layers(folder).values())}


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
    interrupt(status(folder)["pid"])


def revoke(folder: Path, name: str) -> None:
    """Let the head take back the key of the machine `name`. Raises UserError."""
    names = [agent["name"] for agent in status(folder)["agents"] if agent["name"] != HEAD]
    if name not in names:
        raise SpecError(f"{name}: no such machine{nearest(name, names)}")
    with (folder / REVOKED).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def layers_table(found: dict[str, Any]) -> Table:
    """A line a core: where it is, how far, how fast, and how wide its window has become."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    homes = {
        core: agent["name"]
        for agent in found["agents"]
        for cores in agent["workers"].values()
        for core in cores
    }
    for heading in ("core", "machine", "step", "samples/s", "busy", "window", "staleness"):
        made.add_column(heading, justify="left" if heading in ("core", "machine") else "right")
    for told in found["layers"]:
        made.add_row(
            told["layer"],
            homes.get(told["layer"], "missing"),
            f"{told['step']:,}",
            f"{told['samples_per_second']:,.0f}",
            f"{told['busy_fraction']:.0%}",
            str(told["window"]),
            f"{told['staleness_p50']} (max {told['staleness_max']})",
        )
    return made


def ways_table(found: dict[str, Any]) -> Table:
    """A line a long way: how wide its window is, how far it is, and what goes over it."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("from", "to", "window", "round trip", "MB/s"):
        made.add_column(heading, justify="left" if heading in ("from", "to") else "right")
    for told in found["layers"]:
        for neighbour, way in told["ways"].items():
            took, rate = way["round_trip_ms"], way["mb_per_second"]
            made.add_row(
                told["layer"],
                escape(neighbour),
                str(way["window"]),
                "" if took is None else f"{took:,.1f} ms",
                "" if rate is None else f"{rate:,.1f}",
            )
    return made


def status_table(found: dict[str, Any]) -> Table:
    """A line a machine."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=f"head at {found['endpoint']}")
    for heading in ("machine", "host", "address", "slots", "cores", "workers", "last heard of"):
        made.add_column(heading)
    for agent in found["agents"]:
        made.add_row(
            agent["name"],
            escape(agent["host"]),
            escape(agent["address"]),
            str(agent["slots"]),
            str(agent["cores"]),
            ", ".join(agent["workers"]) or ("" if agent["name"] == HEAD else "in reserve"),
            f"{agent['silent_seconds']:.1f} s ago",
        )
    return made
