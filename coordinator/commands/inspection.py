"""Commands that look at a pipeline or a run, and train nothing."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator.commands import options
from coordinator.commands.functions import Functions
from coordinator.commands.parameters import run_argument
from coordinator.console.json_output import print_json


def check_command(functions: Functions) -> click.Command:
    """`dni check`."""

    @click.command("check")
    @options.pipeline_argument
    @options.overrides
    @options.workers
    @options.as_json
    def check(
        pipeline: Path | None, overrides: tuple[str, ...], workers: int | None, as_json: bool
    ) -> None:
        """Show shapes, parameters, bytes per batch and memory of the PIPELINE file."""
        from dataclasses import asdict

        from coordinator.cluster.placement import set_workers
        from coordinator.commands.tables import plan_table
        from coordinator.console.terminal import Terminal
        from coordinator.resources.blas import threads
        from protocol import with_absolute_path

        read = functions.load_pipeline(pipeline, overrides)
        lines: list[str] = []
        with options.about(pipeline, overrides):
            plans = functions.check(read, lines.append)
        known = not with_absolute_path(read).remote_data
        read = set_workers(read, workers, {p.name: p.work for p in plans} if known else {})
        layers = [asdict(plan) for plan in plans]
        if as_json:
            found = {"threads": threads(read), "workers": read.workers, "data": lines}
            print_json(found | {"layers": layers})
            return
        console = Terminal()
        for line in lines:
            console.print_text(line)
        console.show(plan_table(read, layers))

    return check


def evaluate_command(functions: Functions) -> click.Command:
    """`dni evaluate`."""

    @click.command("evaluate")
    @run_argument()
    @options.overrides
    @options.as_json
    def evaluate(run: Path, overrides: tuple[str, ...], as_json: bool) -> None:
        """Compute the exact test error of the final weights of RUN, in one process.

        RUN is a run folder, the end of a name in runs/, or newest.

        If the data have moved, -o says where they are: -o data.path=elsewhere.npz. Only their test
        set is needed.
        """
        from coordinator.commands.tables import judgement_line
        from coordinator.console.terminal import Terminal

        report = Terminal(stderr=True).try_print
        loss, _, errors, judged, absolute = functions.evaluate(run, overrides, report)
        found = {"test_error": 100 * errors / judged, "test_loss": loss / judged, "errors": errors}
        found |= {"judged": judged, "absolute_error": absolute}
        if as_json:
            print_json(found)
        else:
            Terminal().show(judgement_line(found))

    return evaluate
