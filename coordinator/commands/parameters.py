"""Parameter types of commands: paths, and names of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

STDOUT: Final = Path("/dev/stdout")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class UserPath(click.Path):
    """A path in which `~` and `~name` are expanded; `settings` are those of `click.Path`."""

    def __init__(self, **settings: bool) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from protocol.paths import user_path

        return super().convert(user_path(value, _parameter_name(param)), param, ctx)


class OutputPath(UserPath):
    """The path of a file to write; `-` is standard output."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return STDOUT if value == "-" else super().convert(value, param, ctx)


class RunPath(UserPath):
    """The folder of a run; `coordinator.run_folder.find.find_run` finds it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from coordinator.run_folder.find import find_run

        return super().convert(find_run(value, _parameter_name(param)), param, ctx)


def run_argument(name: str = "run") -> Callable[[_Command], _Command]:
    """An argument that names a run: a path, the end of a folder name under runs/, or newest."""
    return click.argument(name, metavar=name.upper(), type=RunPath())


def _parameter_name(param: click.Parameter | None) -> str:
    """The name of `param` in errors: the long form of an option, an argument as in the help."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return (param and param.metavar) or ((param and param.name) or "path").upper()
