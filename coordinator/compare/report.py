"""What a person sees of a comparison at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from coordinator.compare.conduct import Comparison
from coordinator.compare.results import CSV, JSON, Group
from coordinator.display import Terminal


def show_comparison(console: Terminal, result: Comparison, out: Path, as_json: bool) -> None:
    """The table, what failed, and where the files are; with `as_json` JSON on standard output."""
    if as_json:
        groups = [group.as_dict(result.goal[group.network]) for group in result.groups]
        told = {"outcome": result.end.outcome, "groups": groups, "failures": result.failures}
        print(json.dumps(told, allow_nan=False))
    if result.groups:
        console.print(_table(result.groups, result.goal))
    for failure in result.failures:
        console.say(f"failed: {failure}")
    if result.end.outcome == "interrupted":
        console.say("interrupted; the same command goes on from here")
    files = [out / CSV, out / JSON, *([result.picture] if result.picture else [])]
    console.say(f"files: {', '.join(map(str, files))}")


def _table(groups: Sequence[Group], goal: dict[str, float]) -> Table:
    """A line a network and rule."""
    papers = any(group.paper is not None for group in groups)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("network")
    made.add_column("rule")
    for heading in ("test error", "runs", "samples/s", "seconds to error"):
        made.add_column(heading, justify="right")
    if papers:
        made.add_column("paper", justify="right")
    before = ""
    for group in groups:
        if before not in ("", group.network):
            made.add_section()
        at = goal[group.network]
        reached = group.seconds_to(at)
        spread = f" ± {group.spread:.2f}" if len(group.runs) > 1 else ""
        row = [
            escape(group.network) if group.network != before else "",
            group.rule,
            f"{group.error:.2f}{spread} %",
            str(len(group.runs)),
            f"{group.rate:,.0f}",
            f"{reached:.1f} s to {at:.1f} %" if reached is not None else f"never {at:.1f} %",
        ]
        if papers:
            row.append(f"{group.paper:.1f} %" if group.paper is not None else "")
        made.add_row(*row)
        before = group.network
    return made
