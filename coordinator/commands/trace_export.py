"""The commands of `dni trace` that draw or export a trace, or replay a layer."""

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


def _confirm(file: Path, text: str) -> None:
    """Print `text` about the written `file`; on standard error if standard output is the file."""
    from coordinator.console.terminal import Terminal
    from coordinator.traces.output import is_stdout

    Terminal(stderr=is_stdout(file)).print_text(text)


@click.command("timeline")
@run_argument()
@click.option("--from", "begin", metavar="TIME", help="Time after the start, such as 10s.")
@click.option("--for", "length", metavar="TIME", help="Length of the window, such as 200ms.")
@click.option("--svg", type=OutputPath(), help="Write an SVG image to this file; - is stdout.")
@click.option("--html", type=OutputPath(), help="Write an interactive page to this file.")
def timeline_command(
    run: Path, begin: str | None, length: str | None, svg: Path | None, html: Path | None
) -> None:
    """Draw the work of every stage and the messages between them, here or into a file.

    The default window shows some batches in the middle of training.
    """
    from coordinator.commands.trace_parsing import parse_time
    from coordinator.traces.export.suffix import check_suffix
    from coordinator.traces.timeline.html import draw_html
    from coordinator.traces.timeline.layout import read_timeline
    from coordinator.traces.timeline.svg import draw_svg
    from coordinator.traces.timeline.text import draw_text

    for form, file in (("svg", svg), ("html", html)):
        if file is not None:
            check_suffix(f"--{form}", form, file)
    times = (
        None if text is None else parse_time(text, option)
        for text, option in ((begin, "--from"), (length, "--for"))
    )
    timeline = read_timeline(run, *times)
    with console() as screen:
        if svg is None and html is None:
            screen.show(draw_text(timeline, screen.image_width))
        for file, draw in ((svg, draw_svg), (html, draw_html)):
            if file is not None:
                _write_text(file, draw(timeline))
                _confirm(file, f"image: {file}")


@click.command("export")
@run_argument()
@click.option(
    "--to",
    "form",
    required=True,
    metavar="FORMAT",
    help="Format: perfetto, chrome, csv, jsonl or otlp (OpenTelemetry, JSON Lines).",
)
@click.argument("file", type=OutputPath())
def export_command(run: Path, form: str, file: Path) -> None:
    """Write the trace of RUN to FILE for other tools; - is standard output."""
    from coordinator.traces.export import export
    from coordinator.traces.run import Traces

    traces = Traces(run)
    count = export(traces, form, file)
    with console(traces):
        _confirm(file, f"{file}: {count:,} entries")


class ReplayOutcome(Protocol):
    """The result of a replay; `workers.tools.replay` returns it."""

    @property
    def layer(self) -> str:
        """The name of the layer."""

    @property
    def messages(self) -> int:
        """The number of messages that the layer received again."""

    @property
    def equal(self) -> bool:
        """Whether the weights are equal bit for bit."""

    @property
    def differing(self) -> tuple[tuple[str, float], ...]:
        """The arrays that differ, each with the largest difference."""

    @property
    def note(self) -> str:
        """A remark on the result, or ""."""


def replay_command(replay: Callable[[Path, int], ReplayOutcome]) -> click.Command:
    """The command `dni trace replay`, given the function that replays a layer of a run."""

    @click.command("replay")
    @run_argument()
    @click.option("--layer", type=click.IntRange(0), required=True, help="The layer's number.")
    @options.as_json
    @click.pass_context
    def command(ctx: click.Context, run: Path, layer: int, as_json: bool) -> None:
        """Send a layer the messages of RUN again, and compare its weights bit for bit.

        The run must have been recorded with --trace messages. The exit status is 1 if the weights
        differ.
        """
        from coordinator.console.terminal import Terminal

        result = replay(run, layer)
        if as_json:
            values = {name: getattr(result, name) for name in _JSON_FIELDS}
            print_json(values | {"differing": dict(result.differing)})
        else:
            for text in _replay_lines(result):
                Terminal().print_text(text)
        ctx.exit(0 if result.equal else 1)

    return command


_JSON_FIELDS = ("layer", "messages", "equal", "note")


def _replay_lines(result: ReplayOutcome) -> list[str]:
    same = "the same weights, bit for bit" if result.equal else "DIFFERENT weights"
    lines = [f"{result.layer}: {result.messages:,} messages, {same}"]
    lines += [f"  {name}: differs by up to {off:g}" for name, off in result.differing]
    return [*lines, result.note] if result.note else lines
