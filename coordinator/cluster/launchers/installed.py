"""The launchers that are installed, found by the entry point group `dni.launchers`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import NamedTuple

from coordinator.cluster.launchers.launcher import API_VERSION, GROUP, Launcher, LauncherClass
from coordinator.engines.installed import GROUP as ENGINES
from coordinator.engines.installed import installed, load, load_engine
from coordinator.engines.options import Option, declared, option, parse
from protocol import RunError, did_you_mean
from protocol.validation import parse_seconds


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """The options that every launcher has: they are about the head and not about the agents."""

    bind: str | None = option(
        "Address and port at which the head listens.",
        default=None,
        default_text="the address of this host that the agents reach, any port",
        metavar="tcp://ADDRESS:PORT",
    )
    start_timeout: float | None = option(
        "Seconds that all agents have to join.",
        default=None,
        metavar="SECONDS",
        parse=parse_seconds,
    )


_HEAD_KEYS = frozenset(made.key for made in declared(HeadOptions))


class ChosenLauncher(NamedTuple):
    """A launcher with its options, and what the head has to know about it."""

    launcher: Launcher
    bind: str | None
    """Where the head listens; None for any port of `launcher.local_address()`."""
    start_timeout: float | None
    """Seconds that all agents have to join; None for no limit."""


def choose(
    name: str, options: Mapping[str, object], engines: Collection[str] = ()
) -> ChosenLauncher:
    """The installed launcher `name` with its `options`; errors list the `engines` as known too.

    Raises RunError where the launcher or an option is unknown, or a library is missing.
    """
    points = installed(GROUP)
    if name not in points:
        names = [*engines, *sorted(points)]
        hint = did_you_mean(name, names)
        known = "" if "known" in hint else f"; known: {', '.join(names)}"
        raise RunError(f"engine: unknown engine {name!r}{hint}{known}")
    made = _load(points[name])
    owner = f"engine {name}"
    head = {key: value for key, value in options.items() if key in _HEAD_KEYS}
    own = {key: value for key, value in options.items() if key not in _HEAD_KEYS}
    bind_and_limit = parse(HeadOptions, head, owner)
    limit = bind_and_limit.start_timeout
    launcher = made(parse(made.options_type, own, owner))
    return ChosenLauncher(
        launcher, bind_and_limit.bind, made.start_timeout if limit is None else limit
    )


def installed_options() -> Iterator[tuple[str, Option]]:
    """The name of each installed launcher and engine, with each option that it declares.

    The options of all launchers come first, with an empty name. A launcher or an engine that cannot
    be loaded is left out: choosing it raises the error.
    """
    options: dict[str, tuple[Option, ...]] = {}
    limits: dict[str, float | None] = {}
    for name, point in sorted(installed(GROUP).items()):
        with suppress(Exception):  # the module is not ours: no error of it may stop other engines
            launcher = _load(point)
            options[name], limits[name] = declared(launcher.options_type), launcher.start_timeout
    for name, point in sorted(installed(ENGINES).items()):
        with suppress(Exception):
            options[name] = declared(load_engine(point).options_type)
    for made in declared(HeadOptions):
        is_limit = made.key == "start_timeout"
        yield "", replace(made, default=_limits_text(limits)) if is_limit else made
    for name, each in options.items():
        for made in each:
            yield name, made


def _limits_text(limits: Mapping[str, float | None]) -> str:
    """Such as `ray: 120; slurm: no limit`."""
    texts = {name: "no limit" if limit is None else f"{limit:g}" for name, limit in limits.items()}
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def _load(point: EntryPoint) -> LauncherClass:
    made: LauncherClass = load(point, "launcher", API_VERSION)
    return made
