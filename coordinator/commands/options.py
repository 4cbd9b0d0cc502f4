"""Options that several commands share, and how commands report failures."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import click

from coordinator.commands.parameters import UserPath
from coordinator.console import standard_streams

EXAMPLE: Final = "the embedded example"
"""What errors call the pipeline that runs if no file is given."""

pipeline_argument = click.argument("pipeline", type=UserPath(dir_okay=False), required=False)
overrides = click.option(
    "-o",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the pipeline, such as train.steps=3000. Repeatable.",
)
engine = click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="NAME",
    help="What runs the workers: local (one process per layer), inline (all in this process), or "
    "a launcher that starts agents on other hosts: ssh, slurm, ray or another installed one.",
)
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of worker processes that the layers share.  [default: one per layer]",
)
run_dir = click.option(
    "--run-dir",
    type=UserPath(),
    help="Folder for the files of the run.  [default: runs/<time>-<name>]",
)
force = click.option("--force", is_flag=True, help="Overwrite the run in --run-dir.")
trace = click.option(
    "--trace",
    metavar="ring|full|messages|off",
    help="Which messages to trace: ring (the newest), full (all), messages (all, and record the "
    "messages themselves), or off.  [default: the pipeline's trace.mode, ring]",
)
deterministic = click.option(
    "--deterministic",
    is_flag=True,
    help="Train in lockstep (train.schedule=lockstep): slower, and the same seed gives the same "
    "result. Without it each run differs slightly.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def of_one_run(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options of every command that trains one pipeline."""
    for option in (as_json, trace, deterministic, force, run_dir):  # the last one is shown first
        command = option(command)
    return command


def with_options(
    overrides: tuple[str, ...], deterministic: bool, trace: str | None = None
) -> tuple[str, ...]:
    """`overrides` with the keys that other options set."""
    more = (f"trace.mode={trace}",) if trace else ()
    return (*overrides, *more, *(("train.schedule=lockstep",) if deterministic else ()))


_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_HELP: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Newer versions of click raise their help if a group gets no command."""


class _Failure(click.ClickException):
    """A failure, shown in one line; on a full disk the exit status alone shows it."""

    def show(self, file: IO[Any] | None = None) -> None:
        with suppress(OSError):
            super().show(file)


class _UserMistake(_Failure):
    """A user's mistake."""

    exit_code = 2


class _UsageMistake(_Failure, click.UsageError):
    """A wrong option or argument."""


class Commands(click.Group):
    """A group of commands whose failures are one line, and for which Ctrl-C is exit status 130."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, with standard streams that accept every character."""
        standard_streams.prepare_streams()
        return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _exit_on_ctrl_c(), _one_line(), _exit_on_closed_pipe(), _flushed():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _exit_on_ctrl_c(), _one_line(), _exit_on_closed_pipe(), _flushed():
            return super().invoke(ctx)


@contextmanager
def _exit_on_ctrl_c() -> Iterator[None]:
    """Exit with status 130 on Ctrl-C; click alone prints 'Aborted!' and exits with 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


@contextmanager
def _exit_on_closed_pipe() -> Iterator[None]:
    """Exit with status 0 if the reader of the output has closed it; click alone exits with 1."""
    try:
        yield
    except BrokenPipeError:
        if not standard_streams.discard_closed_outputs():  # another pipe was closed
            raise
        raise click.exceptions.Exit(0) from None


@contextmanager
def _flushed() -> Iterator[None]:
    """Flush standard output while a failure to write it can still be reported."""
    try:
        yield
    except click.exceptions.Exit as end:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # the exit status stays
            standard_streams.discard_closed_outputs()
        raise end
    else:
        sys.stdout.flush()


@contextmanager
def _one_line() -> Iterator[None]:
    """Show an expected error as one line, with visible escapes for control characters."""
    try:
        yield
    except click.exceptions.Exit:  # --help: the modules with our errors need not be imported
        raise
    except Exception as error:
        failure = _failure(error)
        if failure is None:
            raise
        raise failure from None


def _failure(error: Exception) -> _Failure | None:
    """The exception that click shows for `error`; None for an unexpected one."""
    from protocol import UserError
    from protocol.errors import LostError

    if isinstance(error, LostError):
        return _Failure(_safe(str(error)))
    if isinstance(error, UserError):
        return _UserMistake(_safe(str(error)))
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        where = error.filename or "the output is incomplete"
        return _Failure(_safe(f"{where}: {error.strerror}"))
    if isinstance(error, click.UsageError) and not isinstance(error, _HELP):
        return _UsageMistake(_safe(error.format_message()), error.ctx)
    return None


def _safe(text: str) -> str:
    from protocol.printable import printable

    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return standard_streams.transliterate(printable(text), encoding)


@contextmanager
def about(path: Path | None, overrides: Collection[str] = ()) -> Iterator[None]:
    """Add the name of the pipeline file to errors about the pipeline.

    For the embedded example the error names the one of the `overrides` that is wrong.
    """
    from protocol import DataError, SpecError
    from protocol.pipeline_file import name_source

    try:
        yield
    except (DataError, SpecError) as error:
        text = f"{path}: {error}" if path else name_source(str(error), overrides, {}, EXAMPLE)
        raise type(error)(text) from None
