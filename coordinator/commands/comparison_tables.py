"""Show the results of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Group as Stack
from rich.console import RenderableType

from coordinator.commands.tables import finish_output, json_failure
from coordinator.compare.results import CSV, JSON, RunGroup
from coordinator.compare.runner import Comparison
from coordinator.console.columns import Column, Phrases, Table
from coordinator.console.terminal import Terminal


def end_of_comparison(console: Terminal, result: Comparison, out: Path, as_json: bool) -> int:
    """Show the table, the failures and the files; with `as_json` print JSON on stdout too.

    Returns the exit status, which is 1 if the JSON could not be printed.
    """
    failure = ""
    if as_json:
        groups = [group.as_dict(result.goal[group.network]) for group in result.groups]
        values = {"outcome": result.end.outcome, "groups": groups, "failures": result.failures}
        failure = json_failure(values, "comparison")
    with suppress(OSError, ValueError):
        _show(console, result, out)
    return finish_output(console, result, failure)


def _show(console: Terminal, result: Comparison, out: Path) -> None:
    if result.groups:
        console.show(comparison_table(result.groups, result.goal))
    for failure in result.failures:
        console.print_text(f"failed: {failure}")
    if result.end.outcome == "interrupted":
        console.print_text("interrupted; the same command continues the comparison")
    files = [out / CSV, out / JSON, *([result.image] if result.image else [])]
    console.print_text(f"files: {', '.join(map(str, files))}")


def comparison_table(groups: Sequence[RunGroup], goal: dict[str, float]) -> RenderableType:
    """One row per network and rule; the name of a single network stands above the table."""
    columns = [
        Column("rule", left=True),
        Column("test error"),
        Column("runs", 3),
        Column("samples/s", 1),
        Column("time to error", 2),
    ]
    if any(group.paper is not None for group in groups):
        columns.append(Column("paper", 4))
    rows = list(_rows(groups, goal))
    if len({group.network for group in groups}) > 1:
        return Table([Column("network", left=True), *columns], rows)
    return Stack(Phrases([groups[0].network]), Table(columns, [row[1:] for row in rows]))


def _rows(groups: Sequence[RunGroup], goal: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """The rows; an empty row, which is drawn as a line, separates the networks."""
    before = ""
    for group in groups:
        if before not in ("", group.network):
            yield ()
        error = goal[group.network]
        reached = group.seconds_to(error)
        spread = f" ± {group.spread:.2f}" if len(group.runs) > 1 else ""
        yield (
            group.network if group.network != before else "",
            group.rule,
            f"{group.error:.2f}{spread} %",
            str(len(group.runs)),
            f"{group.rate:,.0f}",
            f"{reached:.1f} s to {error:.1f} %" if reached is not None else f"never {error:.1f} %",
            "" if group.paper is None else f"{group.paper:.1f} %",
        )
        before = group.network
