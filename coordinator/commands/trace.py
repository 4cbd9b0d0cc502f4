"""The commands of `dni trace`.

The imports are inside the functions, so that the command line starts fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from coordinator.commands import options
from coordinator.commands.parameters import run_argument
from coordinator.commands.trace_export import export_command, timeline_command
from coordinator.commands.trace_options import (
    batch_option,
    console,
    edge_option,
    kind_option,
    layer_option,
    message_filter,
)
from coordinator.console.json_output import print_json, print_json_list

DEFAULT_LIMIT: Final = 100
"""The number of messages that `dni trace messages` shows without --limit."""


@click.group("trace")
def trace_group() -> None:
    """Show what became of every message of RUN, which may be in progress.

    RUN is a run folder, the end of a name in runs/, or newest.
    """


@trace_group.command("stats")
@run_argument()
@options.as_json
def stats_command(run: Path, as_json: bool) -> None:
    """Show one row per edge: messages, delays, staleness, dropped and lost messages."""
    from coordinator.traces.run import Traces
    from coordinator.traces.show import stats_json, stats_table
    from coordinator.traces.stats import edge_stats

    traces = Traces(run)
    rows = edge_stats(traces)
    with console(traces) as screen:
        if as_json:
            print_json_list(map(stats_json, rows))
            return
        screen.show(stats_table(rows))
        wrong = [f"{c.edge} {c.kind}" for row in rows for c in row.counts if not c.balanced]
        if wrong and not traces.running:
            screen.print_text(f"sent messages are unaccounted for: {', '.join(wrong)}")


@trace_group.command("messages")
@run_argument()
@layer_option
@edge_option
@kind_option
@batch_option
@click.option(
    "--outcome",
    help="Show only this outcome: used, dropped, unsent, waiting, missing or overwritten.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"Largest number of messages to show.  [default: {DEFAULT_LIMIT}]",
)
@options.as_json
def messages_command(
    run: Path,
    layer: str | None,
    edge: str | None,
    kind: str | None,
    batch: str | None,
    outcome: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show single messages from sending to use, in order of time."""
    from dataclasses import replace

    from coordinator.commands.trace_parsing import parse_choice
    from coordinator.traces.find import find_messages
    from coordinator.traces.messages import OUTCOMES
    from coordinator.traces.run import Traces
    from coordinator.traces.show import messages_table

    choice = message_filter(run, layer, edge, kind, batch)
    choice = replace(choice, outcomes=parse_choice(outcome, OUTCOMES, "--outcome"))
    traces = Traces(run, choice.record_filter)
    rows, count = find_messages(traces, choice, limit or DEFAULT_LIMIT)
    with console(traces) as screen:
        if as_json:
            print_json_list(row._asdict() for row in rows)
        else:
            screen.show(messages_table(rows))
        if count > len(rows):
            more = f"the first {len(rows):,} of {count:,} messages; --limit shows more"
            click.echo(more, err=as_json)


@trace_group.command("batch")
@run_argument()
@click.argument("batch", type=click.IntRange(1))
@options.as_json
def batch_command(run: Path, batch: int, as_json: bool) -> None:
    """Show all messages about the batch number BATCH, each under the one that caused it."""
    from coordinator.traces.causality import causal_tree
    from coordinator.traces.show_causes import CausalTree

    traces, roots = causal_tree(run, batch)
    with console(traces) as screen:
        if as_json:
            print_json_list(tree.as_dict() for tree in roots)
        else:
            screen.show(CausalTree(batch, roots))


@trace_group.command("lost")
@run_argument()
@options.as_json
def lost_command(run: Path, as_json: bool) -> None:
    """Show the messages that were not used, and the reason."""
    from coordinator.traces.find import unused_messages
    from coordinator.traces.run import Traces
    from coordinator.traces.show import lost_table

    traces = Traces(run)
    rows = unused_messages(traces)
    with console(traces) as screen:
        if as_json:
            print_json_list(row._asdict() for row in rows)
        elif rows:
            screen.show(lost_table(rows))
        else:
            all_used = "every message was used"
            screen.print_text("no lost message so far" if traces.remote_stages else all_used)


@trace_group.command("follow")
@run_argument()
@layer_option
@edge_option
@kind_option
@batch_option
@options.as_json
def follow_command(
    run: Path,
    layer: str | None,
    edge: str | None,
    kind: str | None,
    batch: str | None,
    as_json: bool,
) -> None:
    """Show the events of a run in progress until it ends or Ctrl-C; --json prints one per line."""
    from coordinator.console.terminal import Terminal
    from coordinator.traces.follow import OverwrittenRecords, follow
    from coordinator.traces.show import event_phrases

    choice = message_filter(run, layer, edge, kind, batch)
    screen = Terminal()
    for event in follow(run, choice):
        if isinstance(event, OverwrittenRecords):
            missed = f"{event.stage}: {event.records:,} records were overwritten before being read"
            click.echo(missed, err=True)
        elif as_json:
            print_json(event._asdict())
        else:  # rich is too slow for thousands of lines per second
            phrases = event_phrases(event).for_encoding(screen.encoding)
            click.echo("\n".join(phrases.lines(screen.width)))


@trace_group.command("diff")
@run_argument("run_a")
@run_argument("run_b")
@options.as_json
def diff_command(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Compare two runs edge by edge: rates, delays, staleness, dropped and lost messages."""
    from coordinator.traces.difference import differences
    from coordinator.traces.run import Traces
    from coordinator.traces.show import difference_table

    a, b = (Traces(run) for run in (run_a, run_b))
    rows = differences(a, b)
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
