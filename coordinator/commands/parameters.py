"""The kinds of words that a command takes: paths, and the names of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

STDOUT: Final = Path("/dev/stdout")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class UserPath(click.Path):
    """A path, with `~` and `~name` expanded; `words` are those of `click.Path`."""

    def __init__(self, **words: bool) -> None:
        super().__init__(path_type=Path, **words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from protocol.paths import user_path

        return super().convert(user_path(value, _called(param)), param, ctx)


class OutputPath(UserPath):
    """The path of a file to write; `-` is standard output."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return STDOUT if value == "-" else super().convert(value, param, ctx)


class Run(UserPath):
    """The folder of a run, found by `coordinator.run_folder.run_folder`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from coordinator.run_folder.find import find_run

        return super().convert(find_run(value, _called(param)), param, ctx)


def run_argument(name: str = "run") -> Callable[[_Command], _Command]:
    """The argument that names a run: a path, the end of a name under runs/, or newest."""
    return click.argument(name, metavar=name.upper(), type=Run())


def _called(param: click.Parameter | None) -> str:
    """How an error names `param`: an option as it is given, an argument as help shows it."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return (param and param.metavar) or ((param and param.name) or "path").upper()
