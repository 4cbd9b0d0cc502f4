"""Parse the values of the options of `dni trace`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from coordinator.console.units import NANOSECONDS
from protocol import SpecError, did_you_mean
from protocol.pipeline import SOURCE, layer_name

_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m)")


def parse_stage(text: str, stages: Sequence[str]) -> str:
    """The stage `text`: source, layer2 or 2. Raises SpecError."""
    name = layer_name(int(text)) if text.isascii() and text.isdigit() else text
    if name not in stages:
        raise SpecError(
            f"--layer: {text!r} is not a stage of the run; give {SOURCE} or 0 … {len(stages) - 2}"
        )
    return name


def parse_batches(text: str) -> tuple[int, int]:
    """The first and the last batch of `100-200`, or of one number. Raises SpecError."""
    found = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", text)
    if not found:
        raise SpecError(f"--batch: {text!r} is neither a number nor first-last, such as 100-200")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise SpecError(f"--batch: {text!r} ends before it begins")
    return first, last


def parse_time(text: str, option: str) -> int:
    """The ns of a time such as 10s, 1.5ms or 200us. Raises SpecError."""
    found = _TIME.fullmatch(text)
    if not found:
        raise SpecError(f"{option}: {text!r} is not a time; write 10s, 1.5s, 200ms or 300us")
    return round(float(found[1]) * NANOSECONDS[found[2]])


def parse_choice(text: str | None, choices: Sequence[str], option: str) -> tuple[int, ...]:
    """The index of `text` in `choices`, as a tuple; empty for None. Raises SpecError."""
    if text is None:
        return ()
    if text not in choices or not text:
        raise SpecError(f"{option}: unknown value {text!r}{did_you_mean(text, choices)}")
    return (choices.index(text),)
