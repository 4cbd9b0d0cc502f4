"""The commands for a run that goes on: status, stop, revoke."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator.commands import options
from coordinator.commands.parameters import run_argument


@click.command("status")
@run_argument()
@options.as_json
def status_command(run: Path, as_json: bool) -> None:
    """Show the hosts and stages of RUN, its progress, and what it waits for."""
    from coordinator.console.json_output import print_json
    from coordinator.console.terminal import Terminal
    from coordinator.control.client import status
    from coordinator.control.tables import host_table, link_table, progress_line, stage_table

    snapshot = status(run)
    if as_json:
        print_json(snapshot)
        return
    console = Terminal()
    console.print(progress_line(snapshot), "")
    tables = [host_table(snapshot)]
    if snapshot["stages"]:
        tables += [stage_table(snapshot), link_table(snapshot)]
    for table in tables:
        if table.rows:
            console.print(table, "")


@click.command("stop")
@run_argument()
@options.as_json
def stop_command(run: Path, as_json: bool) -> None:
    """End RUN as Ctrl-C does: every layer saves its weights."""
    from coordinator.console.json_output import print_json
    from coordinator.console.terminal import Terminal
    from coordinator.control.client import stop

    stop(run)
    if as_json:
        print_json({"run": run, "state": "stopping"})
    else:
        Terminal().print_text(f"{run} is stopping")


@click.command("revoke")
@run_argument()
@click.argument("host")
@options.as_json
def revoke_command(run: Path, host: str, as_json: bool) -> None:
    """Refuse the key of HOST in RUN from now on; RUN ends if HOST has one of its layers.

    HOST is a name that `dni status` shows, such as host1.
    """
    from coordinator.console.json_output import print_json
    from coordinator.console.terminal import Terminal
    from coordinator.control.client import revoke

    revoke(run, host)
    if as_json:
        print_json({"run": run, "revoked": host})
    else:
        Terminal().print_text(f"{run}: the key of {host} is revoked")


CONTROL_COMMANDS = (status_command, stop_command, revoke_command)
