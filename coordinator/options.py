"""What the words of the command line have in common: their arguments, and how they fail."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from coordinator.parameters import UserPath

ENGINES: Final = ("local", "inline")

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
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="A process a layer, or all in one process.",
)
any_engine = click.option(
    "--engine",
    default="local",
    show_default=True,
    help="A process a layer, or inline: all in one; ssh, slurm, ray, and what else is installed.",
)
run_dir = click.option(
    "--run-dir",
    type=UserPath(),
    help="Where the run leaves its files.  [default: runs/<time>-<name>]",
)
force = click.option("--force", is_flag=True, help="Overwrite the run that is in --run-dir.")
trace = click.option(
    "--trace",
    metavar="ring|full|payloads|off",
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


class _Mistake(click.ClickException):
    """A user's mistake: one line and exit status 2."""

    exit_code = 2


class Commands(click.Group):
    """Turns the mistakes of users into one line, and Ctrl-C into exit status 130."""

    def make_context(self, *arguments: Any, **words: Any) -> click.Context:
        with _ctrl_c():
            return super().make_context(*arguments, **words)

    def invoke(self, ctx: click.Context) -> Any:
        with _ctrl_c():
            from protocol import UserError
            from protocol.errors import LostError

            try:
                return super().invoke(ctx)
            except LostError as error:
                raise click.ClickException(str(error)) from None
            except UserError as error:
                raise _Mistake(str(error)) from None
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                where = error.filename or "not all was printed"
                raise click.ClickException(f"{where}: {error.strerror}") from None


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C is exit status 130; click alone prints 'Aborted!' and exits with 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


@contextmanager
def about(path: Path | None) -> Iterator[None]:
    """Lets what is wrong with a pipeline name the file that it stands in."""
    from protocol import DataError, SpecError

    try:
        yield
    except (DataError, SpecError) as error:
        raise type(error)(f"{path or 'the embedded example'}: {error}") from None
