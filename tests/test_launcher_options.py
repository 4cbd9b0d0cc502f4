"""Options of engines and launchers: declared as a dataclass, parsed with clear errors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from coordinator.engines.options import NoOptions, declared, option, parse
from protocol import RunError, SpecError
from protocol.validation import parse_seconds


@dataclass(frozen=True)
class QueueOptions:
    queue: str = option("Queue to submit to.")
    host_count: int = option("Hosts to request.", default=1)
    share: float = option("Share of a host.", default=0.5, default_text="half")
    exclusive: bool = option("Share no host.", default=False)
    limit: float | None = option(
        "Time limit.", default=None, metavar="SECONDS", parse=parse_seconds
    )


def test_texts_become_values_of_the_declared_types() -> None:
    given = {"host_count": "3", "share": "0.25", "exclusive": "True", "limit": "7.5"}
    made = parse(QueueOptions, {"queue": "long", **given}, "engine mine")
    assert made == QueueOptions("long", 3, 0.25, True, 7.5)


def test_values_of_the_declared_types_are_taken_as_they_are() -> None:
    made = parse(QueueOptions, {"queue": "long", "share": 1, "exclusive": True}, "engine mine")
    assert made == QueueOptions("long", 1, 1.0, True)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "engine mine: needs --queue"),
        (
            {"queue": "a", "hostcount": "3"},
            "engine mine: has no option --hostcount; did you mean '--host-count'?",
        ),
        (
            {"queue": "a", "host_count": "3.5"},
            "engine mine: --host-count: '3.5' is not a whole number",
        ),
        ({"queue": "a", "share": "nan"}, "engine mine: --share: 'nan' is not a number"),
        ({"queue": "a", "share": "many"}, "engine mine: --share: 'many' is not a number"),
        ({"queue": "a", "exclusive": "1"}, "engine mine: --exclusive: '1' is not true or false"),
        ({"queue": 3}, "engine mine: --queue: 3 is not a text"),
        ({"queue": "a", "host_count": True}, "engine mine: --host-count: True is not a whole"),
        ({"queue": "a", "host_count": None}, "engine mine: --host-count: None is not a whole"),
    ],
)
def test_an_option_that_is_wrong_unknown_or_missing_is_named(
    given: dict[str, object], error: str
) -> None:
    with pytest.raises(RunError) as caught:
        parse(QueueOptions, given, "engine mine")
    assert str(caught.value).startswith(error)


def test_an_option_with_a_parser_of_its_own_has_that_error() -> None:
    with pytest.raises(SpecError, match=r"--limit: '-1' is not a number of seconds above 0"):
        parse(QueueOptions, {"queue": "a", "limit": "-1"}, "engine mine")


def test_an_engine_without_options_refuses_each() -> None:
    assert parse(NoOptions, {}, "engine local") == NoOptions()
    with pytest.raises(RunError, match=r"^engine local: has no option --hosts$"):
        parse(NoOptions, {"hosts": "a"}, "engine local")


def test_a_declaration_has_what_the_help_shows() -> None:
    queue, count, share, _, limit = declared(QueueOptions)
    assert (queue.flag, queue.required, queue.default) == ("--queue", True, "")
    assert (count.flag, count.type, count.default) == ("--host-count", int, "1")
    assert (share.help, share.default) == ("Share of a host.", "half")
    assert (limit.type, limit.required, limit.metavar) == (float, False, "SECONDS")
