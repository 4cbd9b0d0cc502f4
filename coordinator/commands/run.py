"""The command that trains a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
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
    @options.run_dir
    @options.force
    @options.deterministic
    @options.trace
    @options.as_json
    @click.pass_context
    def run(
        ctx: click.Context,
        pipeline: Path | None,
        overrides: tuple[str, ...],
        engine: str,
        engine_options: Mapping[str, str],
        workers: int | None,
        run_dir: Path | None,
        force: bool,
        deterministic: bool,
        trace: str | None,
        as_json: bool,
    ) -> None:
        """Train the PIPELINE file, by default the embedded example.

        Layers do not wait for each other, so two runs with the same train.seed differ a little.
        With --deterministic they are equal, bit for bit, and slower.
        """
        from coordinator.commands.tables import end_of_run
        from coordinator.console.terminal import Terminal
        from coordinator.observers.terminal import choose_display

        console = Terminal(stderr=as_json)
        read = functions.read(pipeline, options.with_options(overrides, deterministic, trace))
        with options.about(pipeline, overrides):
            result = functions.run(
                read,
                engine=engine,
                engine_options=engine_options,
                workers=workers,
                report=console.try_print,
                run_dir=run_dir,
                force=force,
                observers=[choose_display(console)],
            )
        ctx.exit(end_of_run(console, result, as_json))

    return run
