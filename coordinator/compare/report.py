"""What a person sees of a comparison at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Group as Stack
from rich.console import RenderableType

from coordinator.commands.tables import ended, json_lost
from coordinator.compare.results import CSV, JSON, Group
from coordinator.compare.runner import Comparison
from coordinator.console.columns import Column, Phrases, Table
from coordinator.console.terminal import Terminal


def end_of_comparison(console: Terminal, result: Comparison, out: Path, as_json: bool) -> int:
    """Show what came of it; the exit status, which is 1 where JSON was lost.

    There is the table, what failed, and where the files are; with `as_json` JSON on stdout.
    """
    lost = ""
    if as_json:
        groups = [group.as_dict(result.goal[group.network]) for group in result.groups]
        told = {"outcome": result.end.outcome, "groups": groups, "failures": result.failures}
        lost = json_lost(told, "comparison")
    with suppress(OSError, ValueError):
        _show(console, result, out)
    return ended(console, result, lost)


def _show(console: Terminal, result: Comparison, out: Path) -> None:
    if result.groups:
        console.show(comparison_table(result.groups, result.goal))
    for failure in result.failures:
        console.print_text(f"failed: {failure}")
    if result.end.outcome == "interrupted":
        console.print_text("interrupted; the same command goes on from here")
    files = [out / CSV, out / JSON, *([result.picture] if result.picture else [])]
    console.print_text(f"files: {', '.join(map(str, files))}")


def comparison_table(groups: Sequence[Group], goal: dict[str, float]) -> RenderableType:
    """A line a network and rule; the name of a single network, which may be long, stands above."""
    columns = [
        Column("rule", left=True),
        Column("test error"),
        Column("runs", 3),
        Column("samples/s", 1),
        Column("seconds to error", 2),
    ]
    if any(group.paper is not None for group in groups):
        columns.append(Column("paper", 4))
    rows = list(_rows(groups, goal))
    if len({group.network for group in groups}) > 1:
        return Table([Column("network", left=True), *columns], rows)
    return Stack(Phrases([groups[0].network]), Table(columns, [row[1:] for row in rows]))


def _rows(groups: Sequence[Group], goal: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """A rule, which is an empty row, divides the networks."""
    before = ""
    for group in groups:
        if before not in ("", group.network):
            yield ()
        at = goal[group.network]
        reached = group.seconds_to(at)
        spread = f" ± {group.spread:.2f}" if len(group.runs) > 1 else ""
        yield (
            group.network if group.network != before else "",
            group.rule,
            f"{group.error:.2f}{spread} %",
            str(len(group.runs)),
            f"{group.rate:,.0f}",
            f"{reached:.1f} s to {at:.1f} %" if reached is not None else f"never {at:.1f} %",
            "" if group.paper is None else f"{group.paper:.1f} %",
        )
        before = group.network
