"""The command that trains a pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator.commands import options
from coordinator.commands.engine_options import EngineCommand
from coordinator.commands.functions import Functions


def run_command(functions: Functions) -> click.Command:
    """`dni run`."""

    @click.command("run", cls=EngineCommand)
    @options.pipeline_argument
    @options.overrides
    @options.engine
    @options.workers
    @options.of_one_run
    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        pipeline: Path | None,
        overrides: tuple[str, ...],
        deterministic: bool,
        trace: str | None,
        as_json: bool,
        **settings: object,
    ) -> None:
        """Train the PIPELINE file, by default the embedded example.

        Layers do not wait for each other, so two runs with the same train.seed differ a little.
        With --deterministic they are equal, bit for bit, and slower.
        """
        from coordinator.commands.tables import end_of_run
        from coordinator.console.terminal import Terminal
        from coordinator.observers.terminal import choose_display

        console = Terminal(stderr=as_json)
        keys = options.with_options(overrides, deterministic, trace)
        made = functions.load_pipeline(pipeline, keys)
        with options.about(pipeline, overrides):
            observers = [choose_display(console)]
            result = functions.run(made, report=console.try_print, observers=observers, **settings)
        ctx.exit(end_of_run(console, result, as_json))

    return run
