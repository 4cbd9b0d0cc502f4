"""The options of an engine or a launcher, declared with types where it is written.

Options are a frozen dataclass whose fields are made by `option`:

    @dataclass(frozen=True)
    class QueueOptions:
        queue: str = option("Queue to submit to.")
        nodes: int = option("Number of hosts to request.", default=1)

A field without a default is required. Fields have the type `str`, `int`, `float` or `bool`, or one
of these with `| None`. `parse` makes an instance from the texts of the command line, or from values
of the types themselves. The command line is built from `declared`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, TypeVar, get_args, get_type_hints

from protocol import RunError, did_you_mean

_HELP: Final = "dni.help"
_METAVAR: Final = "dni.metavar"
_DEFAULT_TEXT: Final = "dni.default"
_PARSE: Final = "dni.parse"
_T = TypeVar("_T")

Parse = Callable[[str, str], object]
"""Makes a value of an option; takes its name, such as `--tasks`, and its text."""


def option(
    help_text: str,
    *,
    default: Any = MISSING,
    default_text: str = "",
    metavar: str = "",
    parse: Parse | None = None,
) -> Any:
    """A field of a dataclass of options.

    `help_text` is one sentence; `default_text` says in the help what the default means where the
    value itself does not; `parse` takes the place of the conversion by type and raises a UserError.
    """
    metadata = {
        _HELP: help_text,
        _METAVAR: metavar,
        _DEFAULT_TEXT: default_text,
        _PARSE: parse,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NoOptions:
    """The options of an engine or a launcher that has none."""


@dataclass(frozen=True, slots=True)
class Option:
    """A declared option: its `key` in Python and -E, its `flag` on the command line, its type."""

    key: str
    type: type
    required: bool
    help: str
    default: str
    metavar: str
    parse: Parse | None

    @property
    def flag(self) -> str:
        """The option on the command line, such as `--ssh-args`."""
        return _flag(self.key)


def declared(options: type) -> tuple[Option, ...]:
    """The options that the dataclass `options` declares, in their order."""
    hints = get_type_hints(options)
    return tuple(_option(made, hints[made.name]) for made in fields(options))


def parse(options: type[_T], given: Mapping[str, object], owner: str) -> _T:
    """The instance of the dataclass `options` for the `given` values by key.

    `owner` begins each error, such as "engine ssh". Raises RunError for an unknown or a missing
    option and for a value of a wrong type.
    """
    known = {made.key: made for made in declared(options)}
    for key in given:
        if key not in known:
            hint = did_you_mean(_flag(key), (made.flag for made in known.values())) if known else ""
            raise RunError(f"{owner}: has no option {_flag(key)}{hint}")
    for key, made in known.items():
        if made.required and key not in given:
            raise RunError(f"{owner}: needs {made.flag}")
    return options(**{key: _value(known[key], value, owner) for key, value in given.items()})


def _option(made: Field[Any], hint: Any) -> Option:
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    metadata = made.metadata
    default = metadata.get(_DEFAULT_TEXT) or (
        "" if made.default in (MISSING, None, "") else str(made.default)
    )
    return Option(
        key=made.name,
        type=kinds[0],
        required=made.default is MISSING,
        help=metadata.get(_HELP, ""),
        default=default,
        metavar=metadata.get(_METAVAR, ""),
        parse=metadata.get(_PARSE),
    )


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _value(made: Option, given: object, owner: str) -> object:
    if isinstance(given, str):
        if made.parse:
            return made.parse(made.flag, given)
        if made.type is not str:
            return _converted(made, given, owner)
    exact = (made.type, int) if made.type is float else (made.type,)
    if type(given) not in exact:
        raise RunError(f"{owner}: {made.flag}: {given!r:.40} is not {_NAMES[made.type]}")
    return made.type(given)


_NAMES: Final = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_BOOLEANS: Final = {"true": True, "false": False}


def _converted(made: Option, text: str, owner: str) -> object:
    try:
        value = _BOOLEANS[text.lower()] if made.type is bool else made.type(text)
    except (KeyError, ValueError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        raise RunError(f"{owner}: {made.flag}: {text!r:.40} is not {_NAMES[made.type]}")
    return value
