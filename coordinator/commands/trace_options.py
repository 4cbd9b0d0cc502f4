"""What the words of `dni trace` have in common: what they ask for, and where they print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from coordinator.console.terminal import Terminal
    from coordinator.traces.find import Choice
    from coordinator.traces.run import Traces

layer_option = click.option(
    "--layer", help="Only what this layer (a number), or the source, has to do with."
)
edge_option = click.option("--edge", help="Only this edge, such as layer0>layer1.")
kind_option = click.option("--kind", help="Only activation, gradient, credit, marker or test.")


@contextmanager
def console(*traces: Traces) -> Iterator[Terminal]:
    """Where to print; then, on standard error, what could not be read of the traces."""
    from coordinator.console.terminal import Terminal

    yield Terminal()
    complaints = Terminal(stderr=True)
    for found in traces:
        for problem in found.all_problems():
            complaints.print_text(f"warning: {problem}")


def choice(
    folder: Path, layer: str | None, edge: str | None, kind: str | None, batch: str | None
) -> Choice:
    """What the options choose. Raises UserError where there is no such thing in the run."""
    from coordinator.commands.trace_parsing import batches, core_name, one_of
    from coordinator.run_folder.read import read_run_pipeline
    from coordinator.traces.find import Choice
    from protocol.trace_format import KINDS

    pipeline = read_run_pipeline(folder)
    if edge is not None:
        one_of(edge, [str(e) for e in pipeline.edges], "--edge")
    return Choice(
        core=None if layer is None else core_name(layer, pipeline.stages),
        edge=edge,
        kinds=one_of(kind, KINDS, "--kind"),
        batches=None if batch is None else batches(batch),
    )
