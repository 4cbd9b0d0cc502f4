"""Engines that other people have, each no more than a way to run `dni join -` somewhere.

The head stays in this process, and whoever joins it is an agent like any other. So an engine only
has to start agents, to say when one has ended, and to leave none behind. Engines are found by the
entry point group `dni.engines`; each is a callable whose keyword arguments, all of them texts, are
its options, and which gives a `Launcher`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, TypeAlias

from protocol import RunError, nearest
from protocol.errors import DISTRIBUTION, install_hint
from protocol.validation import seconds

GROUP: Final = "dni.engines"
BIND: Final = "bind"
"""The option of all engines: where the head listens."""
START_TIMEOUT: Final = "start_timeout"
"""The option of all engines: seconds that agents have to join."""


class Launcher(Protocol):
    """Where agents are started. Another engine needs these words and nothing else."""

    start_timeout: float | None
    """Seconds that agents have to join where the user does not say; None for as many as it takes,
    such as in a queue."""

    def home(self) -> str:
        """The address of this machine at which agents reach it. Raises RunError."""

    def launch(self, token: str, slots: int) -> None:
        """Start agents with so many slots in all.

        They read `token` from their standard input, as it is nothing for others to see in a list
        of processes or in a file. Raises RunError where it is known at once that this cannot be.
        """

    def gone(self) -> list[str]:
        """Who has ended, each with its last words; called ten times a second, so never slow."""

    def waiting(self) -> list[str]:
        """What keeps agents from joining, as far as is known, each with what to look at.

        Called a few times a minute while agents are missing.
        """

    def close(self) -> None:
        """See to it that nothing is left of any agent. Called once, also after a failed launch."""


Make: TypeAlias = Callable[..., Launcher]


def chosen(name: str, options: Mapping[str, str], own: Collection[str]) -> Launcher | None:
    """The engine `name` with `options`; None where it is one of our `own`, which have none.

    Raises RunError where it cannot be had, or an option is not known.
    """
    if name not in own:
        own_options = {key: options[key] for key in options.keys() - {BIND, START_TIMEOUT}}
        return launcher(name, own_options, own)
    if options:
        raise RunError(f"engine {name}: has no option {_option(next(iter(options)))}")
    return None


def launcher(name: str, options: Mapping[str, str], own: Collection[str] = ()) -> Launcher:
    """The same of an engine that is not our `own`."""
    points = _points()
    if name not in points:
        names = [*own, *sorted(points)]
        hint = nearest(name, names)
        also = "" if "known" in hint else f"; known: {', '.join(names)}"
        raise RunError(f"engine: unknown engine {name!r}{hint}{also}")
    make = _loaded(points[name])
    known = inspect.signature(make).parameters
    for key in options:
        if key not in known:
            hint = nearest(_option(key), map(_option, known))
            raise RunError(f"engine {name}: has no option {_option(key)}{hint}")
    for key, parameter in known.items():
        if key not in options and parameter.default is parameter.empty:
            raise RunError(f"engine {name}: needs {_option(key)}")
    return make(**options)


def _option(key: str) -> str:
    """How an option is given on the command line."""
    return f"--{key.replace('_', '-')}"


def start_timeout(options: Mapping[str, str], launcher: Launcher) -> float | None:
    """Seconds that agents have to join, None for ever. Raises SpecError where it is no number."""
    text = options.get(START_TIMEOUT)
    if text is None:
        return launcher.start_timeout
    return seconds("--start-timeout", text)


def _loaded(point: EntryPoint) -> Make:
    try:
        made: Make = point.load()
    except ImportError as error:
        own = point.dist is not None and point.dist.name == DISTRIBUTION
        hint = f"; {install_hint(point.name)}" if own else ""
        raise RunError(f"engine {point.name}: cannot be loaded: {error}{hint}") from None
    return made


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def last_words(text: str) -> str:
    """The last line of `text` that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
