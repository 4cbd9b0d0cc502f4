"""What the words of the command line have in common: their arguments, and how they fail."""

from __future__ import annotations

import errno
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import click

from coordinator.commands.parameters import UserPath
from coordinator.console import standard_streams

EXAMPLE: Final = "the embedded example"
"""What the pipeline is called that is run where no file is given."""

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
    help="Where the run leaves its files.  [default: runs/<time>-<name>]",
)
force = click.option("--force", is_flag=True, help="Overwrite the run that is in --run-dir.")
trace = click.option(
    "--trace",
    metavar="ring|full|messages|off",
    help="What to record of the messages: what became of the newest, of all, these and the "
    "messages themselves, or nothing.  [default: the pipeline's trace.mode, ring]",
)
deterministic = click.option(
    "--deterministic",
    is_flag=True,
    help="One batch at a time (train.schedule=lockstep), so that a run can be repeated exactly. "
    "Without it the same seed gives a slightly different result each time.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")


def with_options(
    overrides: tuple[str, ...], deterministic: bool, trace: str | None = None
) -> tuple[str, ...]:
    """`overrides`, and what other options set of a pipeline."""
    more = (f"trace.mode={trace}",) if trace else ()
    return (*overrides, *more, *(("train.schedule=lockstep",) if deterministic else ()))


_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_HELP: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""With newer versions of click a group that is given no word raises its help."""


class _Told(click.ClickException):
    """A failure in one line; where there is no room for that, the exit status still says it."""

    def show(self, file: IO[Any] | None = None) -> None:
        with suppress(OSError):
            super().show(file)


class _Mistake(_Told):
    """A user's mistake."""

    exit_code = 2


class _Usage(_Told, click.UsageError):
    """Wrong words on the command line."""


class Commands(click.Group):
    """Turns the mistakes of users into one line, and Ctrl-C into exit status 130."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """As click does, with streams that take everything that is printed."""
        standard_streams.prepare_streams()
        return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _ctrl_c(), _one_line(), _reader_may_go(), _flushed():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ctrl_c(), _one_line(), _reader_may_go(), _flushed():
            return super().invoke(ctx)


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C is exit status 130; click alone prints 'Aborted!' and exits with 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """A reader of the output who goes away wants no more: exit status 0; click's is 1."""
    try:
        yield
    except BrokenPipeError:
        if not standard_streams.discard_closed_outputs():  # it was another pipe
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
    """Lets the mistakes of others be one line of text, whatever words, files or peers it quotes."""
    try:
        yield
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        raise told from None


def _told(error: Exception) -> _Told | None:
    """How click is to show `error`; None where that is not for us to say."""
    from protocol import UserError
    from protocol.errors import LostError

    if isinstance(error, LostError):
        return _Told(_safe(str(error)))
    if isinstance(error, UserError):
        return _Mistake(_safe(str(error)))
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = error.filename or "not all was printed"
        return _Told(_safe(f"{where}: {error.strerror}"))
    if isinstance(error, click.UsageError) and not isinstance(error, _HELP):
        return _Usage(_safe(error.format_message()), error.ctx)
    return None


def _safe(text: str) -> str:
    from protocol.printable import printable

    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return standard_streams.transliterate(printable(text), encoding)


@contextmanager
def about(path: Path | None, overrides: Collection[str] = ()) -> Iterator[None]:
    """Lets what is wrong with a pipeline name the file that it stands in.

    Of the embedded example it names the one of the `overrides` that is wrong, if one is.
    """
    from protocol import DataError, SpecError
    from protocol.pipeline_file import name_source

    try:
        yield
    except (DataError, SpecError) as error:
        told = f"{path}: {error}" if path else name_source(str(error), overrides, {}, EXAMPLE)
        raise type(error)(told) from None
