"""The words for runs on several machines: up, join, status, stop, revoke."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordinator import options

if TYPE_CHECKING:
    from coordinator.train import Result
    from protocol import Pipeline


@click.command("join")
@click.argument("token")
@click.option("--slots", type=click.IntRange(1), default=1, help="How many workers to run here.")
@click.option("--layers", help="The layers to have here, if possible, such as 2,3.")
@click.option("--address", help="How other machines reach this one.  [default: found out]")
@click.option("--cores", type=click.IntRange(1), help="Use so many here.  [default: all]")
@click.option("--lifeline", is_flag=True, help="With -: end when standard input does.")
@click.pass_context
def join_command(
    ctx: click.Context,
    token: str,
    slots: int,
    layers: str | None,
    address: str | None,
    cores: int | None,
    lifeline: bool,
) -> None:
    """Run workers on this machine for the head that printed TOKEN (- reads it from a pipe)."""
    from coordinator.display import Terminal
    from coordinator.several.agent import Agent
    from coordinator.several.words import input_ended, wishes
    from protocol.token import Token

    text = sys.stdin.readline() if token == "-" else token
    deserted = input_ended if lifeline else bool
    layer_names = wishes(layers)
    agent = Agent(Token.read(text), slots, layer_names, address, Terminal().tell, cores, deserted)
    ctx.exit(agent.join())


@click.command("doctor")
@click.argument("token")
@click.option("--address", help="How other machines reach this one.  [default: found out]")
@options.as_json
@click.pass_context
def doctor_command(ctx: click.Context, token: str, address: str | None, as_json: bool) -> None:
    """Look whether this machine could join with TOKEN (- reads it from a pipe); joins nothing."""
    from coordinator.display import Terminal
    from coordinator.several.doctor import examine
    from protocol.plain import json_text
    from protocol.token import Token

    console = Terminal()
    text = sys.stdin.readline() if token == "-" else token
    findings = []
    for finding in examine(Token.read(text), address):
        findings.append(finding)
        if not as_json:
            word = "well" if finding.well else "NOT WELL"
            console.say(f"{finding.check}: {word}: {finding.found}")
            if finding.mend:
                console.say(f"    {finding.mend}")
    if as_json:
        click.echo(json_text([finding._asdict() for finding in findings]))
    ctx.exit(0 if all(finding.well for finding in findings) else 1)


@click.command("status")
@click.argument("run", metavar="RUN")
@options.as_json
def status_command(run: str, as_json: bool) -> None:
    """Show who is there in RUN, which layer is where, and how it goes."""
    from coordinator.display import Terminal
    from coordinator.several.status import layers_table, status, status_table, ways_table
    from coordinator.traces.words import run_folder
    from protocol.plain import json_text

    found = status(run_folder(run))
    if as_json:
        click.echo(json_text(found))
    else:
        for table in (status_table, layers_table, ways_table):
            Terminal().show(table(found), "")


@click.command("stop")
@click.argument("run", metavar="RUN")
def stop_command(run: str) -> None:
    """End RUN as Ctrl-C at its head does: weights are saved."""
    from coordinator.several.status import stop
    from coordinator.traces.words import run_folder

    stop(run_folder(run))


@click.command("revoke")
@click.argument("run", metavar="RUN")
@click.argument("name")
def revoke_command(run: str, name: str) -> None:
    """Take back the key of the machine NAME of RUN: it is refused from now on."""
    from coordinator.several.status import revoke
    from coordinator.traces.words import run_folder

    revoke(run_folder(run), name)


_WHERE: Final = (
    click.option(
        "--bind",
        required=True,
        metavar="tcp://ADDRESS:PORT",
        help="Where machines join: an address of this one that they can reach.",
    ),
    click.option(
        "--workers", type=click.IntRange(1), help="Begin with so many.  [default: one a layer]"
    ),
    click.option(
        "--joins",
        type=click.IntRange(1),
        help="How many machines may join with the line.  [default: twice the workers]",
    ),
    click.option(
        "--advertise",
        metavar="tcp://ADDRESS:PORT",
        help="What machines are told to come to.  [default: --bind]",
    ),
    click.option("--insecure", is_flag=True, help="Encrypt nothing: for a network of your own."),
)


def _where(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_WHERE):
        command = option(command)
    return command


def several_commands(
    read: Callable[[Path | None, tuple[str, ...]], Pipeline], up: Callable[..., Result]
) -> tuple[click.Command, ...]:
    """All of them; `read` makes a pipeline of a file and overrides, and `up` trains it."""

    @click.command("up")
    @options.pipeline_argument
    @options.overrides
    @_where
    @options.run_dir
    @options.force
    @options.as_json
    @click.pass_context
    def up_command(
        ctx: click.Context,
        /,
        pipeline: Path | None,
        overrides: tuple[str, ...],
        as_json: bool,
        **where: object,
    ) -> None:
        """Train the PIPELINE file on other machines: print the line to paste there, and wait."""
        from coordinator.display import Terminal, choose
        from coordinator.tables import end_of_run

        console = Terminal(stderr=as_json)
        made = read(pipeline, overrides)
        with options.about(pipeline):
            result = up(made, tell=console.tell, display=choose(console), **where)
        ctx.exit(end_of_run(console, result, as_json))

    others = (join_command, doctor_command, status_command, stop_command, revoke_command)
    return up_command, *others
