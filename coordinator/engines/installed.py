"""Engines and launchers of other packages, found by entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Final, Protocol

from coordinator.engines.options import parse
from coordinator.lifecycle.engine import ENGINE_API, Engine
from protocol import RunError
from protocol.errors import DISTRIBUTION, install_hint

GROUP: Final = "dni.engines"
"""The group of entry points that names engines."""


class Versioned(Protocol):
    """What every class that an entry point names states."""

    api_version: ClassVar[int]
    options_type: ClassVar[type]


class EngineClass(Versioned, Protocol):
    """The class that an entry point names; calling it with parsed options makes an `Engine`."""

    def __call__(self, options: Any) -> Engine:
        """An engine with these options. Raises RunError for options that are not usable."""


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def load(point: EntryPoint, interface: str, version: int) -> Any:
    """The class that an entry point names. Raises RunError.

    `interface` and `version` are those that this program has, for the error about another version.
    """
    try:
        made = point.load()
    except (AttributeError, ImportError) as error:
        own = point.dist is not None and point.dist.name == DISTRIBUTION
        hint = f"; {install_hint(point.name)}" if own else ""
        raise RunError(f"engine {point.name}: cannot be loaded: {error}{hint}") from None
    found = getattr(made, "api_version", None)
    if found != version:
        raise RunError(
            f"engine {point.name}: {point.value} is written for {interface} interface {found}, "
            f"this dni has {version}; install a version of it that fits"
        )
    return made


def load_engine(point: EntryPoint) -> EngineClass:
    """The class of an engine that an entry point names. Raises RunError."""
    made: EngineClass = load(point, "engine", ENGINE_API)
    return made


def installed_engine(name: str, options: Mapping[str, object]) -> Engine | None:
    """The engine `name` of another package with its `options`; None where there is none.

    Raises RunError where it cannot be loaded, or an option is wrong.
    """
    point = installed(GROUP).get(name)
    if point is None:
        return None
    made = load_engine(point)
    return made(parse(made.options_type, options, f"engine {name}"))
