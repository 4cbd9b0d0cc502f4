"""The words of `dni trace`. Imports happen inside, so that the command line answers at once."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator.commands import options
from coordinator.commands.parameters import run_argument
from coordinator.commands.trace_export import export_command, timeline_command
from coordinator.commands.trace_options import (
    choice,
    console,
    edge_option,
    kind_option,
    layer_option,
)
from coordinator.console.json_output import print_json, print_json_list

SHOWN = 100
"""Messages that a person is shown where no number is asked for."""


@click.group("trace")
def trace_group() -> None:
    """Inspect what became of every message of RUN, which may still be going on.

    RUN is a run folder, the end of a name in runs/, or newest.
    """


@trace_group.command("stats")
@run_argument()
@options.as_json
def stats_command(run: Path, as_json: bool) -> None:
    """Show an edge a line: messages, delays, staleness, what was dropped and lost."""
    from coordinator.traces.run import Traces
    from coordinator.traces.show import stats_json, stats_table
    from coordinator.traces.stats import stats

    traces = Traces(run)
    rows = stats(traces)
    with console(traces) as screen:
        if as_json:
            print_json_list(map(stats_json, rows))
            return
        screen.show(stats_table(rows))
        odd = [f"{a.edge} {a.kind}" for row in rows for a in row.accounts if not a.balanced]
        if odd and not traces.running:
            screen.print_text(f"the books do not balance: {', '.join(odd)}")


@trace_group.command("messages")
@run_argument()
@layer_option
@edge_option
@kind_option
@click.option("--batch", help="Only these batches: a number, or first-last.")
@click.option("--fate", help="Only used, dropped, unsent, waiting, missing or forgotten ones.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many.  [default: {SHOWN}]")
@options.as_json
def messages_command(
    run: Path,
    layer: str | None,
    edge: str | None,
    kind: str | None,
    batch: str | None,
    fate: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show single messages, from their sending to their use."""
    from dataclasses import replace

    from coordinator.commands.trace_parsing import one_of
    from coordinator.traces.find import find
    from coordinator.traces.messages import FATES
    from coordinator.traces.run import Traces
    from coordinator.traces.show import messages_table

    chosen = choice(run, layer, edge, kind, batch)
    chosen = replace(chosen, fates=one_of(fate, FATES, "--fate"))
    traces = Traces(run, chosen.keep)
    entries, count = find(traces, chosen, limit or SHOWN)
    with console(traces) as screen:
        if as_json:
            print_json_list(entry._asdict() for entry in entries)
        else:
            screen.show(messages_table(entries))
        if count > len(entries):
            more = f"the first {len(entries):,} of {count:,} messages; --limit shows more"
            click.echo(more, err=as_json)


@trace_group.command("batch")
@run_argument()
@click.argument("batch", type=click.IntRange(1))
@options.as_json
def batch_command(run: Path, batch: int, as_json: bool) -> None:
    """Tell the story of the batch with the number BATCH through all layers and back."""
    from coordinator.traces.causality import story
    from coordinator.traces.show import StoryTree

    traces, chapters = story(run, batch)
    with console(traces) as screen:
        if as_json:
            print_json_list(chapter.as_dict() for chapter in chapters)
        else:
            screen.show(StoryTree(batch, chapters))


@trace_group.command("lost")
@run_argument()
@options.as_json
def lost_command(run: Path, as_json: bool) -> None:
    """Show what was sent, or was to be, and never used, and why."""
    from coordinator.traces.find import lost
    from coordinator.traces.run import Traces
    from coordinator.traces.show import lost_table

    traces = Traces(run)
    rows = lost(traces)
    with console(traces) as screen:
        if as_json:
            print_json_list(row._asdict() for row in rows)
        elif rows:
            screen.show(lost_table(rows))
        else:
            screen.print_text("so far nothing is lost" if traces.away else "every message was used")


@trace_group.command("tap")
@run_argument()
@layer_option
@edge_option
@kind_option
@click.option("--batch", help="Only these batches: a number, or first-last.")
@options.as_json
def tap_command(
    run: Path,
    layer: str | None,
    edge: str | None,
    kind: str | None,
    batch: str | None,
    as_json: bool,
) -> None:
    """Listen to a pipeline that runs, until it ends or Ctrl-C; with --json, a line each."""
    from coordinator.console.terminal import Terminal
    from coordinator.traces.follow import Missed, tap
    from coordinator.traces.show import heard_words

    chosen = choice(run, layer, edge, kind, batch)
    screen = Terminal()
    for heard in tap(run, chosen):
        if isinstance(heard, Missed):
            click.echo(f"{heard.core}: {heard.records:,} records were overwritten unread", err=True)
        elif as_json:
            print_json(heard._asdict())
        else:  # thousands a second: rich would be slow
            click.echo(
                "\n".join(heard_words(heard).for_encoding(screen.encoding).lines(screen.width))
            )


@trace_group.command("diff")
@run_argument("run_a")
@run_argument("run_b")
@options.as_json
def diff_command(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Show where two runs differ: rates, delays, staleness, losses, edge by edge."""
    from coordinator.traces.difference import difference
    from coordinator.traces.run import Traces
    from coordinator.traces.show import difference_table

    a, b = (Traces(run) for run in (run_a, run_b))
    rows = difference(a, b)
    with console(a, b) as screen:
        if as_json:
            print_json_list(
                {"edge": r.edge, "measure": r.measure, "a": r.a, "b": r.b, "ratio": r.ratio}
                for r in rows
            )
        else:
            screen.show(difference_table(rows))


for _command in (timeline_command, export_command):
    trace_group.add_command(_command)
