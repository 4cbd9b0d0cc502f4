"""The command `dni`: all of its commands."""

from __future__ import annotations

import click

from coordinator.commands import options
from coordinator.commands.cluster import cluster_commands
from coordinator.commands.compare import compare_command
from coordinator.commands.control import CONTROL_COMMANDS
from coordinator.commands.data import data_group
from coordinator.commands.functions import Functions
from coordinator.commands.inspection import check_command, evaluate_command
from coordinator.commands.manifest import manifest_group
from coordinator.commands.run import run_command
from coordinator.commands.trace import trace_group
from coordinator.commands.trace_export import replay_command


def command_group(functions: Functions) -> click.Group:
    """The command, whose commands call `functions`."""

    @click.group(cls=options.Commands, context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="dni-train")
    def main() -> None:
        """Train a network whose layers are processes that never wait for each other."""

    trace_group.add_command(replay_command(functions.replay))
    commands: tuple[click.Command, ...] = (
        run_command(functions),
        compare_command(functions),
        check_command(functions),
        evaluate_command(functions),
        data_group(functions),
        trace_group,
        *cluster_commands(functions),
        *CONTROL_COMMANDS,
        manifest_group(functions.load_pipeline),
        _worker_command(functions),
    )
    for command in commands:
        main.add_command(command)
    return main


def _worker_command(functions: Functions) -> click.Command:
    @click.command("worker", hidden=True)
    @click.argument("name")
    @click.pass_context
    def worker(ctx: click.Context, name: str) -> None:  # noqa: ARG001  shown in lists of processes
        """Run the worker NAME of a pipeline; standard input brings its configuration."""
        ctx.exit(functions.work_as_worker())

    return worker
