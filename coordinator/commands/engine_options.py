"""The options of engines and launchers as options of a command.

Each installed launcher declares its options. `EngineCommand` adds them to a command when its
arguments are parsed or its help is shown, so that `dni --help` loads no launcher.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from coordinator.engines.options import Option

ARGUMENT: Final = "engine_options"
"""The argument with which the callback of an `EngineCommand` gets the options that are given."""
_METAVARS: Final = {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "true|false"}


class EngineCommand(click.Command):
    """A command that takes the options of all installed launchers, and any other with -E.

    Its callback gets those that are given as a mapping `engine_options` of texts by key.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._key_value = _key_value_option()
        self._of_launchers: list[click.Parameter] | None = None
        self._needs_launchers = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`; launchers are loaded only if an option is not the command's own."""
        own = {name for param in (*self.params, self._key_value) for name in param.opts}
        flags = (arg.partition("=")[0] for arg in args if arg.startswith("-"))
        self._needs_launchers = any(flag not in own for flag in flags)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters of the command, with the options of the installed launchers."""
        own = super().get_params(ctx)
        count = len(self.params)
        return [*own[:count], self._key_value, *self._launcher_options(), *own[count:]]

    def _launcher_options(self) -> list[click.Parameter]:
        if not self._needs_launchers:
            return []
        if self._of_launchers is None:
            taken = {name for param in self.params for name in (param.name, *param.opts)}
            self._of_launchers = _launcher_options(taken)
        return self._of_launchers

    def invoke(self, ctx: click.Context) -> Any:
        """Call the callback with the options of launchers in one mapping."""
        names = [param.name or "" for param in self._launcher_options()]
        given = {name: ctx.params.pop(name) for name in names}
        options = {key: value for key, value in given.items() if value is not None}
        ctx.params[ARGUMENT] = options | _key_values(ctx.params.pop(ARGUMENT))
        return super().invoke(ctx)


def _key_value_option() -> click.Option:
    return click.Option(
        ["-E", ARGUMENT],
        multiple=True,
        metavar="KEY=VALUE",
        help="Set an option of the engine. Repeatable.",
    )


def _launcher_options(taken: Collection[str | None]) -> list[click.Parameter]:
    """One option for each key that a launcher declares; -E sets those whose name is `taken`."""
    from coordinator.cluster.launchers.installed import installed_options

    by_key: dict[str, list[tuple[str, Option]]] = {}
    for name, declared in installed_options():
        if declared.flag not in taken and declared.key not in taken:
            by_key.setdefault(declared.key, []).append((name, declared))
    return [_click_option(key, declarations) for key, declarations in by_key.items()]


def _click_option(key: str, declarations: list[tuple[str, Option]]) -> click.Option:
    """The option `key`; where several launchers declare it, the help has a part for each."""
    first = declarations[0][1]
    metavar = first.metavar or _METAVARS[first.type]
    parts = [_help(name, made) for name, made in declarations]
    return click.Option([first.flag, key], metavar=metavar, help=" ".join(parts))


def _help(name: str, declared: Option) -> str:
    default = f"  [default: {declared.default}]" if declared.default else ""
    return f"{name}: {declared.help}{default}" if name else f"{declared.help}{default}"


def _key_values(texts: tuple[str, ...]) -> dict[str, str]:
    """The options of -E. Raises RunError for a text that is not KEY=VALUE."""
    from protocol import RunError

    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise RunError(f"-E: {key!r} is not KEY=VALUE")
    return {key.replace("-", "_"): value for key, _, value in pairs}
