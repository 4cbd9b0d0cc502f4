"""The words of `dni trace`. Imports happen inside, so that the command line answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from coordinator import options

if TYPE_CHECKING:
    from coordinator.display import Terminal
    from coordinator.traces.find import Choice
    from coordinator.traces.run import Traces

SHOWN = 100
"""Messages that a person is shown where no number is asked for."""

_FILE = click.Path(path_type=Path, dir_okay=False)
run_argument = click.argument("run", metavar="RUN")
layer_option = click.option(
    "--layer", help="Only what this layer (a number), or the source, has to do with."
)
edge_option = click.option("--edge", help="Only this edge, such as layer0>layer1.")
kind_option = click.option("--kind", help="Only activation, gradient, credit, mark or test.")


@click.group("trace")
def trace_group() -> None:
    """Inspect what became of every message of RUN: a run folder, or the end of a name in runs/.

    Also of a run that is still going on.
    """


@contextmanager
def _console(*traces: Traces) -> Iterator[Terminal]:
    """Where to print; then, on standard error, what could not be read of the traces."""
    from coordinator.display import Terminal

    yield Terminal()
    complaints = Terminal(stderr=True)
    for found in traces:
        for problem in found.all_problems():
            complaints.say(f"warning: {problem}")


def _choice(
    folder: Path, layer: str | None, edge: str | None, kind: str | None, batch: str | None
) -> Choice:
    """What the options choose. Raises UserError where there is no such thing in the run."""
    from coordinator.record import pipeline_of
    from coordinator.traces.find import Choice
    from coordinator.traces.words import batches, core_name, one_of
    from protocol.trace import KINDS

    pipeline = pipeline_of(folder)
    if edge is not None:
        one_of(edge, [str(e) for e in pipeline.edges], "--edge")
    return Choice(
        core=None if layer is None else core_name(layer, pipeline.cores),
        edge=edge,
        kinds=one_of(kind, KINDS, "--kind"),
        batches=None if batch is None else batches(batch),
    )


def _print_json(rows: Iterable[object]) -> None:
    """A JSON list, written as it is made."""
    between = "["
    for row in rows:
        click.echo(f"{between}{json.dumps(row)}", nl=False)
        between = ",\n "
    click.echo("]" if between != "[" else "[]")


@trace_group.command("stats")
@run_argument
@options.as_json
def stats_command(run: str, as_json: bool) -> None:
    """Show an edge a line: messages, delays, staleness, what was dropped and lost."""
    from coordinator.traces.run import Traces
    from coordinator.traces.show import stats_json, stats_table
    from coordinator.traces.stats import stats
    from coordinator.traces.words import run_folder

    traces = Traces(run_folder(run))
    rows = stats(traces)
    with _console(traces) as console:
        if as_json:
            _print_json(map(stats_json, rows))
            return
        console.print(stats_table(rows))
        odd = [f"{a.edge} {a.kind}" for row in rows for a in row.accounts if not a.balanced]
        if odd and not traces.running:
            console.say(f"the books do not balance: {', '.join(odd)}")


@trace_group.command("messages")
@run_argument
@layer_option
@edge_option
@kind_option
@click.option("--batch", help="Only these batches: a number, or first-last.")
@click.option("--fate", help="Only used, dropped, unsent, waiting, missing or forgotten ones.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many.  [default: {SHOWN}]")
@options.as_json
def messages_command(
    run: str,
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

    from coordinator.traces.find import find
    from coordinator.traces.messages import FATES
    from coordinator.traces.run import Traces
    from coordinator.traces.show import messages_table
    from coordinator.traces.words import one_of, run_folder

    folder = run_folder(run)
    choice = _choice(folder, layer, edge, kind, batch)
    choice = replace(choice, fates=one_of(fate, FATES, "--fate"))
    traces = Traces(folder, choice.keep)
    entries, count = find(traces, choice, limit or SHOWN)
    with _console(traces) as console:
        if as_json:
            _print_json(entry._asdict() for entry in entries)
        else:
            console.print(messages_table(entries))
        if count > len(entries):
            more = f"the first {len(entries):,} of {count:,} messages; --limit shows more"
            click.echo(more, err=as_json)


@trace_group.command("batch")
@run_argument
@click.argument("batch", type=click.IntRange(1))
@options.as_json
def batch_command(run: str, batch: int, as_json: bool) -> None:
    """Tell the story of the batch with the number BATCH through all layers and back."""
    from coordinator.traces.show import story_tree
    from coordinator.traces.story import story
    from coordinator.traces.words import run_folder

    traces, chapters = story(run_folder(run), batch)
    with _console(traces) as console:
        if as_json:
            _print_json(chapter.as_dict() for chapter in chapters)
        else:
            console.print(story_tree(batch, chapters), highlight=False)


@trace_group.command("lost")
@run_argument
@options.as_json
def lost_command(run: str, as_json: bool) -> None:
    """Show what was sent, or was to be, and never used, and why."""
    from coordinator.traces.find import lost
    from coordinator.traces.run import Traces
    from coordinator.traces.show import lost_table
    from coordinator.traces.words import run_folder

    traces = Traces(run_folder(run))
    rows = lost(traces)
    with _console(traces) as console:
        if as_json:
            _print_json(row._asdict() for row in rows)
        elif rows:
            console.print(lost_table(rows))
        else:
            console.say("every message was used")


@trace_group.command("tap")
@run_argument
@layer_option
@edge_option
@kind_option
@click.option("--batch", help="Only these batches: a number, or first-last.")
@options.as_json
def tap_command(
    run: str,
    layer: str | None,
    edge: str | None,
    kind: str | None,
    batch: str | None,
    as_json: bool,
) -> None:
    """Listen to a pipeline that runs, until it ends or Ctrl-C; with --json, a line each."""
    from coordinator.traces.show import heard_line
    from coordinator.traces.tap import Missed, tap
    from coordinator.traces.words import run_folder

    folder = run_folder(run)
    choice = _choice(folder, layer, edge, kind, batch)
    for heard in tap(folder, choice):
        if isinstance(heard, Missed):
            click.echo(f"{heard.core}: {heard.records:,} records were overwritten unread", err=True)
        else:
            click.echo(json.dumps(heard._asdict()) if as_json else heard_line(heard))


@trace_group.command("diff")
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@options.as_json
def diff_command(run_a: str, run_b: str, as_json: bool) -> None:
    """Show where two runs differ: rates, delays, staleness, losses, edge by edge."""
    from coordinator.traces.difference import difference
    from coordinator.traces.run import Traces
    from coordinator.traces.show import difference_table
    from coordinator.traces.words import run_folder

    a, b = (Traces(run_folder(run)) for run in (run_a, run_b))
    rows = difference(a, b)
    with _console(a, b) as console:
        if as_json:
            _print_json(
                {"edge": r.edge, "measure": r.measure, "a": r.a, "b": r.b, "ratio": r.ratio}
                for r in rows
            )
        else:
            console.print(difference_table(rows))


def _write(file: Path, text: str) -> None:
    """Write `file`, whole or not at all. Raises RunError where that cannot be."""
    from coordinator.record import whole
    from protocol import RunError

    try:
        whole(file, lambda part: part.write_text(text, "utf-8"))
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}") from None


@trace_group.command("timeline")
@run_argument
@click.option("--from", "begin", metavar="TIME", help="Begin so long after the start, such as 10s.")
@click.option("--for", "length", metavar="TIME", help="Show so long a time, such as 200ms.")
@click.option("--svg", type=_FILE, help="Draw it into this file.")
@click.option("--html", type=_FILE, help="Make a page of it, with zoom, pan and click.")
def timeline_command(
    run: str, begin: str | None, length: str | None, svg: Path | None, html: Path | None
) -> None:
    """Draw what each core did when, and the messages between them; here or into a file.

    Without --from and --for a stretch in the middle of training is shown.
    """
    from coordinator.traces.timeline.html import html as page
    from coordinator.traces.timeline.layout import read
    from coordinator.traces.timeline.svg import svg as picture
    from coordinator.traces.timeline.text import text
    from coordinator.traces.words import nanoseconds, run_folder

    times = (
        None if word is None else nanoseconds(word, option)
        for word, option in ((begin, "--from"), (length, "--for"))
    )
    made = read(run_folder(run), *times)
    with _console() as console:
        if svg is None and html is None:
            console.print(text(made, console.width))
        for file, draw in ((svg, picture), (html, page)):
            if file is not None:
                _write(file, draw(made))
                console.say(f"picture: {file}")


@trace_group.command("export")
@run_argument
@click.option(
    "--to",
    "form",
    required=True,
    metavar="FORMAT",
    help="perfetto, chrome, csv, jsonl or otlp (OpenTelemetry, JSON lines).",
)
@click.argument("file", type=_FILE)
def export_command(run: str, form: str, file: Path) -> None:
    """Write the trace of RUN to FILE for other tools."""
    from coordinator.traces.export import export
    from coordinator.traces.run import Traces
    from coordinator.traces.words import run_folder

    traces = Traces(run_folder(run))
    count = export(traces, form, file)
    with _console(traces) as console:
        console.say(f"{file}: {count:,} entries")


class Replayed(Protocol):
    """What came of a replay; see `workers.replay`."""

    @property
    def core(self) -> str:
        """The layer's name."""

    @property
    def messages(self) -> int:
        """How many it was told again."""

    @property
    def equal(self) -> bool:
        """Whether it came to the same, bit for bit."""

    @property
    def differing(self) -> tuple[tuple[str, float], ...]:
        """The arrays that are not the same, and by how much."""

    @property
    def note(self) -> str:
        """What else there is to say."""


def replay_command(replay: Callable[[Path, int], Replayed]) -> click.Command:
    """`dni trace replay`, given what replays a layer of a run."""

    @click.command("replay")
    @run_argument
    @click.option("--layer", type=click.IntRange(0), required=True, help="The layer's number.")
    @options.as_json
    @click.pass_context
    def command(ctx: click.Context, run: str, layer: int, as_json: bool) -> None:
        """Tell a layer again what it was told in RUN, and compare its weights bit for bit.

        The run must have been recorded with --trace payloads. The exit status is 1 where the
        weights are not the same.
        """
        from coordinator.traces.words import run_folder

        done = replay(run_folder(run), layer)
        if as_json:
            facts = {name: getattr(done, name) for name in ("core", "messages", "equal", "note")}
            click.echo(json.dumps(facts | {"differing": dict(done.differing)}))
        else:
            same = "the same weights, bit for bit" if done.equal else "NOT the same weights"
            click.echo(f"{done.core}: {done.messages:,} messages, {same}")
            for name, distance in done.differing:
                click.echo(f"  {name}: off by up to {distance:g}")
            if done.note:
                click.echo(done.note)
        ctx.exit(0 if done.equal else 1)

    return command
