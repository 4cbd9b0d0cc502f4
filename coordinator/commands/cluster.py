"""The commands for runs on a cluster: up, join, doctor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from coordinator.commands import options
from coordinator.commands.functions import Functions

_address = click.option(
    "--address", help="Address at which other hosts reach this host (default: detected)."
)


@click.command("join")
@click.argument("token")
@click.option(
    "--slots",
    type=click.IntRange(1),
    default=1,
    help="Number of workers that this host can run (default: 1).",
)
@click.option("--layers", help="Layers that this host prefers, such as 2,3 (default: none).")
@_address
@click.option("--cpus", type=click.IntRange(1), help="Number of CPUs to use (default: all).")
@click.option("--lifeline", is_flag=True, help="With -: leave the run when standard input closes.")
@click.pass_context
def join_command(
    ctx: click.Context,
    token: str,
    slots: int,
    layers: str | None,
    address: str | None,
    cpus: int | None,
    lifeline: bool,
) -> None:
    """Run workers on this host for the head that printed TOKEN (- reads it from a pipe)."""
    from coordinator.cluster.agent import Agent
    from coordinator.commands.cluster_parsing import preferred_layers, read_token, stdin_closed
    from coordinator.console.terminal import Terminal

    closed = stdin_closed if lifeline else bool
    preferred = preferred_layers(layers)
    tell = Terminal().try_print
    agent = Agent(read_token(token), slots, preferred, address, tell, cpus, closed)
    ctx.exit(agent.join())


@click.command("doctor")
@click.argument("token")
@_address
@options.as_json
@click.pass_context
def doctor_command(ctx: click.Context, token: str, address: str | None, as_json: bool) -> None:
    """Check whether this host can join with TOKEN (- reads it from a pipe), without joining."""
    from coordinator.cluster.doctor import examine
    from coordinator.commands.cluster_parsing import read_token
    from coordinator.console.json_output import print_json
    from coordinator.console.terminal import Terminal

    console = Terminal()
    findings = []
    for finding in examine(read_token(token), address):
        findings.append(finding)
        if not as_json:
            result = "ok" if finding.passed else "FAIL"
            console.print_text(f"{finding.check}: {result}: {finding.found}")
            if finding.fix:
                console.print_text(f"    {finding.fix}")
    if as_json:
        print_json([finding._asdict() for finding in findings])
    ctx.exit(0 if all(finding.passed for finding in findings) else 1)


class WorkerCount(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter
    """A number of workers, or "auto"."""

    name = "INTEGER|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """The number, or "auto". Raises UsageError for anything else."""
        if value == "auto":
            return "auto"
        if not str(value).isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is neither a whole number above 0 nor auto", param, ctx)
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
        from protocol.validation import parse_seconds

        return parse_seconds((param and param.opts[0]) or self.name, str(value))


_CLUSTER_OPTIONS: Final = (
    click.option(
        "--bind",
        required=True,
        metavar="tcp://ADDRESS:PORT",
        help="Where hosts join: an address of this host that they can reach.",
    ),
    click.option(
        "--workers",
        type=WorkerCount(),
        help="Number of worker slots to wait for before training starts; auto: train with the "
        "slots that have joined, and let layers share a worker (default: one per layer).",
    ),
    click.option(
        "--wait",
        type=Seconds(),
        metavar="SECONDS",
        help="End the wait after so many seconds without a new host: --workers auto then trains "
        "with the slots that have joined, on a terminal dni asks whether to do so, and any other "
        "run fails (default: 30 with auto or on a terminal; else no limit).",
    ),
    click.option(
        "--joins",
        type=click.IntRange(1),
        help="Number of hosts that may join with the token (default: twice the workers).",
    ),
    click.option(
        "--advertise",
        metavar="tcp://ADDRESS:PORT",
        help="Address that hosts connect to (default: --bind).",
    ),
    click.option("--insecure", is_flag=True, help="Encrypt nothing; only for a trusted network."),
)


def _cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_CLUSTER_OPTIONS):
        command = option(command)
    return command


def cluster_commands(functions: Functions) -> tuple[click.Command, ...]:
    """`dni up`, `dni join` and `dni doctor`."""

    @click.command("up")
    @options.pipeline_argument
    @options.overrides
    @_cluster_options
    @options.of_one_run
    @click.pass_context
    def up_command(
        ctx: click.Context,
        /,
        pipeline: Path | None,
        overrides: tuple[str, ...],
        deterministic: bool,
        trace: str | None,
        as_json: bool,
        **cluster: object,
    ) -> None:
        """Train the PIPELINE file on other hosts: print the command to paste there, and wait."""
        from coordinator.commands.cluster_parsing import terminal_question
        from coordinator.commands.tables import end_of_run
        from coordinator.console.terminal import Terminal
        from coordinator.observers.terminal import choose_display

        console = Terminal(stderr=as_json)
        keys = options.with_options(overrides, deterministic, trace)
        made = functions.load_pipeline(pipeline, keys)
        question = terminal_question(console.print_text) if console.is_terminal else None
        with options.about(pipeline, overrides):
            observers = [choose_display(console)]
            result = functions.up(
                made, report=console.try_print, observers=observers, question=question, **cluster
            )
        ctx.exit(end_of_run(console, result, as_json))

    return up_command, join_command, doctor_command
