"""The words of `dni trace` that make files of a trace, or run a layer again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import click

from coordinator.commands import options
from coordinator.commands.parameters import OutputPath, run_argument
from coordinator.commands.trace_options import console
from coordinator.console.json_output import print_json


def _write_text(file: Path, text: str) -> None:
    from coordinator.traces.output import write_output_text

    write_output_text(file, lambda out: out.write(text))


def _tell_written(file: Path, text: str) -> None:
    """Print `text` about the `file` that was written: on standard error if that is the output."""
    from coordinator.console.terminal import Terminal
    from coordinator.traces.output import is_stdout

    Terminal(stderr=is_stdout(file)).print_text(text)


@click.command("timeline")
@run_argument()
@click.option("--from", "begin", metavar="TIME", help="Begin so long after the start, such as 10s.")
@click.option("--for", "length", metavar="TIME", help="Show so long a time, such as 200ms.")
@click.option("--svg", type=OutputPath(), help="Draw it into this file; - is standard output.")
@click.option("--html", type=OutputPath(), help="Make a page of it, with zoom, pan and click.")
def timeline_command(
    run: Path, begin: str | None, length: str | None, svg: Path | None, html: Path | None
) -> None:
    """Draw what each core did when, and the messages between them; here or into a file.

    Without --from and --for a stretch in the middle of training is shown.
    """
    from coordinator.commands.trace_parsing import nanoseconds
    from coordinator.traces.export.suffix import check
    from coordinator.traces.timeline.html import html as page
    from coordinator.traces.timeline.layout import read
    from coordinator.traces.timeline.svg import svg as picture
    from coordinator.traces.timeline.text import text

    for form, file in (("svg", svg), ("html", html)):
        if file is not None:
            check(f"--{form}", form, file)
    times = (
        None if word is None else nanoseconds(word, option)
        for word, option in ((begin, "--from"), (length, "--for"))
    )
    made = read(run, *times)
    with console() as screen:
        if svg is None and html is None:
            screen.show(text(made, screen.image_width))
        for file, draw in ((svg, picture), (html, page)):
            if file is not None:
                _write_text(file, draw(made))
                _tell_written(file, f"picture: {file}")


@click.command("export")
@run_argument()
@click.option(
    "--to",
    "form",
    required=True,
    metavar="FORMAT",
    help="perfetto, chrome, csv, jsonl or otlp (OpenTelemetry, JSON lines).",
)
@click.argument("file", type=OutputPath())
def export_command(run: Path, form: str, file: Path) -> None:
    """Write the trace of RUN to FILE for other tools; - is standard output."""
    from coordinator.traces.export import export
    from coordinator.traces.run import Traces

    traces = Traces(run)
    count = export(traces, form, file)
    with console(traces):
        _tell_written(file, f"{file}: {count:,} entries")


class Replayed(Protocol):
    """What came of a replay; see `workers.tools.replay`."""

    @property
    def layer(self) -> str:
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
    @run_argument()
    @click.option("--layer", type=click.IntRange(0), required=True, help="The layer's number.")
    @options.as_json
    @click.pass_context
    def command(ctx: click.Context, run: Path, layer: int, as_json: bool) -> None:
        """Tell a layer again what it was told in RUN, and compare its weights bit for bit.

        The run must have been recorded with --trace messages. The exit status is 1 where the
        weights are not the same.
        """
        from coordinator.console.terminal import Terminal

        done = replay(run, layer)
        if as_json:
            facts = {name: getattr(done, name) for name in ("layer", "messages", "equal", "note")}
            print_json(facts | {"differing": dict(done.differing)})
        else:
            same = "the same weights, bit for bit" if done.equal else "NOT the same weights"
            said = [f"{done.layer}: {done.messages:,} messages, {same}"]
            said += [f"  {name}: off by up to {off:g}" for name, off in done.differing]
            console = Terminal()
            for text in (*said, *([done.note] if done.note else [])):
                console.print_text(text)
        ctx.exit(0 if done.equal else 1)

    return command
