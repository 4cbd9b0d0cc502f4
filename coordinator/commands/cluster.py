"""The words for runs on several machines: up, join, status, stop, revoke."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from coordinator.commands import options
from coordinator.commands.parameters import run_argument

if TYPE_CHECKING:
    from coordinator.lifecycle.train import Result
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
    from coordinator.cluster.agent import Agent
    from coordinator.commands.cluster_parsing import input_ended, read_token, wishes
    from coordinator.console.terminal import Terminal

    deserted = input_ended if lifeline else bool
    layer_names = wishes(layers)
    agent = Agent(
        read_token(token), slots, layer_names, address, Terminal().try_print, cores, deserted
    )
    ctx.exit(agent.join())


@click.command("doctor")
@click.argument("token")
@click.option("--address", help="How other machines reach this one.  [default: found out]")
@options.as_json
@click.pass_context
def doctor_command(ctx: click.Context, token: str, address: str | None, as_json: bool) -> None:
    """Look whether this machine could join with TOKEN (- reads it from a pipe); joins nothing."""
    from coordinator.cluster.doctor import examine
    from coordinator.commands.cluster_parsing import read_token
    from coordinator.console.json_output import print_json
    from coordinator.console.terminal import Terminal

    console = Terminal()
    findings = []
    for finding in examine(read_token(token), address):
        findings.append(finding)
        if not as_json:
            word = "well" if finding.well else "NOT WELL"
            console.print_text(f"{finding.check}: {word}: {finding.found}")
            if finding.mend:
                console.print_text(f"    {finding.mend}")
    if as_json:
        print_json([finding._asdict() for finding in findings])
    ctx.exit(0 if all(finding.well for finding in findings) else 1)


@click.command("status")
@run_argument()
@options.as_json
def status_command(run: Path, as_json: bool) -> None:
    """Show who is there in RUN, which layer is where, and how it goes."""
    from coordinator.cluster.status import layers_table, status, status_table, ways_table
    from coordinator.console.json_output import print_json
    from coordinator.console.terminal import Terminal

    found = status(run)
    if as_json:
        print_json(found)
    else:
        console = Terminal()
        if found["state"] == "waiting":
            console.print_text(f"waiting: {found['waits_for']}")
        tables = (status_table, layers_table, ways_table) if found["layers"] else (status_table,)
        for table in tables:
            console.show(table(found), "")


@click.command("stop")
@run_argument()
def stop_command(run: Path) -> None:
    """End RUN as Ctrl-C at its head does: weights are saved."""
    from coordinator.cluster.status import stop
    from coordinator.console.terminal import Terminal

    stop(run)
    Terminal().print_text(f"asked {run} to stop")


@click.command("revoke")
@run_argument()
@click.argument("name")
def revoke_command(run: Path, name: str) -> None:
    """Take back the key of the machine NAME of RUN: it is refused from now on."""
    from coordinator.cluster.status import revoke

    revoke(run, name)


class WorkerCount(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter
    """A number of workers, or the word auto."""

    name = "INTEGER|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """The number, or "auto"; anything else is refused."""
        if value == "auto":
            return "auto"
        if not str(value).isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is neither a number above 0 nor auto", param, ctx)
        return int(value)


class Seconds(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter
    """A finite number of seconds above 0."""

    name = "SECONDS"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,  # noqa: ARG002
    ) -> float:
        """The number. Raises SpecError for anything else."""
        from protocol.validation import seconds

        return seconds((param and param.opts[0]) or self.name, str(value))


_WHERE: Final = (
    click.option(
        "--bind",
        required=True,
        metavar="tcp://ADDRESS:PORT",
        help="Where machines join: an address of this one that they can reach.",
    ),
    click.option(
        "--workers",
        type=WorkerCount(),
        help="Number of worker slots to wait for before training starts; auto: as many as join, "
        "and layers share.  [default: one per layer]",
    ),
    click.option(
        "--wait",
        type=Seconds(),
        metavar="SECONDS",
        help="After so long without a new host: with --workers auto train with what has joined; "
        "else ask for that on a terminal, and give up elsewhere.  [default: 30 with auto and on a "
        "terminal; else wait on]",
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
    @options.deterministic
    @options.as_json
    @click.pass_context
    def up_command(
        ctx: click.Context,
        /,
        pipeline: Path | None,
        overrides: tuple[str, ...],
        deterministic: bool,
        as_json: bool,
        **where: object,
    ) -> None:
        """Train the PIPELINE file on other machines: print the line to paste there, and wait."""
        from coordinator.commands.cluster_parsing import terminal_question
        from coordinator.commands.tables import end_of_run
        from coordinator.console.terminal import Terminal
        from coordinator.observers.terminal import choose_display

        console = Terminal(stderr=as_json)
        made = read(pipeline, options.with_options(overrides, deterministic))
        question = terminal_question(console.print_text) if console.is_terminal else None
        with options.about(pipeline, overrides):
            observers = [choose_display(console)]
            result = up(
                made, tell=console.try_print, observers=observers, question=question, **where
            )
        ctx.exit(end_of_run(console, result, as_json))

    others = (join_command, doctor_command, status_command, stop_command, revoke_command)
    return up_command, *others
