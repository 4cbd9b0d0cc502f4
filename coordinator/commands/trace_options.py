"""The options that several commands of `dni trace` share, and their output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from coordinator.console.terminal import Terminal
    from coordinator.traces.find import MessageFilter
    from coordinator.traces.run import Traces

layer_option = click.option(
    "--layer", help="Show only messages from and to this layer (a number) or the source."
)
edge_option = click.option("--edge", help="Show only this edge, such as layer0>layer1.")
kind_option = click.option(
    "--kind", help="Show only this kind: activation, gradient, credit, marker or test."
)
batch_option = click.option("--batch", help="Show only these batches: a number, or first-last.")


@contextmanager
def console(*traces: Traces) -> Iterator[Terminal]:
    """Yield the terminal for the output; then print the problems of `traces` on standard error."""
    from coordinator.console.terminal import Terminal

    yield Terminal()
    warnings = Terminal(stderr=True)
    for found in traces:
        for problem in found.all_problems():
            warnings.print_text(f"warning: {problem}")


def message_filter(
    folder: Path, layer: str | None, edge: str | None, kind: str | None, batch: str | None
) -> MessageFilter:
    """The filter that the options describe. Raises UserError if the run has no such messages."""
    from coordinator.commands.trace_parsing import parse_batches, parse_choice, parse_stage
    from coordinator.run_folder.read import read_run_pipeline
    from coordinator.traces.find import MessageFilter
    from protocol.trace_format import KINDS

    pipeline = read_run_pipeline(folder)
    if edge is not None:
        parse_choice(edge, [str(e) for e in pipeline.edges], "--edge")
    return MessageFilter(
        stage=None if layer is None else parse_stage(layer, pipeline.stages),
        edge=edge,
        kinds=parse_choice(kind, KINDS, "--kind"),
        batches=None if batch is None else parse_batches(batch),
    )
