"""The parts of Perfetto's format that all events share: packets, tracks, strings and the clock.

Field numbers are those of perfetto_trace.proto. All packets form one sequence. It begins with the
strings, to which the other packets refer by number.
"""

from __future__ import annotations

from typing import Final

from coordinator.traces.clocks import Times
from coordinator.traces.events import Numbers
from coordinator.traces.export.arrows import ATTRIBUTES
from coordinator.traces.export.protobuf import Template, bytes_field, encode_one, varint_field
from coordinator.traces.export.view import View
from coordinator.traces.run import Traces
from protocol import trace_format as form

MONOTONIC, REALTIME = 3, 1
_SEQUENCE: Final = varint_field(10, 1)
_CLEARED, _NEEDED = varint_field(13, 1), varint_field(13, 2)
_PREFIXES: Final = ("", "sent ", "dropped ", "unsent ")


class StringTable:
    """Numbers the strings that many packets share: names of events and attributes, and values."""

    def __init__(self, traces: Traces) -> None:
        names = ["update", *(f"{prefix}{kind}" for prefix in _PREFIXES for kind in form.KINDS[1:])]
        attributes = ["batch", "edge", "kind", "reason", *ATTRIBUTES]
        values = [str(edge) for edge in traces.edges]
        values += [edge for file in traces.files.values() for edge in file.metadata.edges]
        values += [reason for reason in form.DROP_REASONS if reason]
        self.all = list(dict.fromkeys(names + attributes + values))
        self._numbers = {string: i for i, string in enumerate(self.all, 1)}

    def __getitem__(self, string: str) -> int:
        return self._numbers[string]

    def annotation(self, key: str, value: str | Numbers) -> Template:
        """A debug annotation with a string of the table, or with one number per message."""
        if isinstance(value, str):
            return bytes_field(4, varint_field(1, self[key]) + varint_field(17, self[value]))
        if not len(value):
            return []
        return bytes_field(4, varint_field(1, self[key]) + varint_field(3, value))


def preamble(view: View, strings: StringTable) -> bytes:
    """The packets before all events: the clock, and the strings."""
    now = view.start
    monotonic = bytes_field(1, varint_field(1, MONOTONIC) + varint_field(2, now))
    real = bytes_field(1, varint_field(1, REALTIME) + varint_field(2, now + view.unix))
    clock = bytes_field(6, monotonic + real + varint_field(2, MONOTONIC))
    interned: Template = []
    for field in (2, 3, 29):
        for i, string in enumerate(strings.all, 1):
            interned += bytes_field(field, varint_field(1, i) + bytes_field(2, string))
    defaults = bytes_field(59, varint_field(58, MONOTONIC))
    first = defaults + bytes_field(12, interned) + _CLEARED + varint_field(87, 1)
    snapshot = varint_field(8, now) + varint_field(58, MONOTONIC) + clock
    return encode_one(bytes_field(1, snapshot)) + encode_one(bytes_field(1, _SEQUENCE + first))


def packet(time: Times, event: Template) -> Template:
    """A packet with an event, one per entry of `time`."""
    return bytes_field(1, varint_field(8, time) + _SEQUENCE + _NEEDED + bytes_field(11, event))


def track(uuid: int, body: Template) -> bytes:
    """The packet that describes the track `uuid`."""
    return encode_one(bytes_field(1, _SEQUENCE + bytes_field(60, varint_field(1, uuid) + body)))
