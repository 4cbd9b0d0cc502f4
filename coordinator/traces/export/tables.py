"""One row per message, as CSV or JSON Lines.

Both formats have the same fields. Times `..._ns` count from the moment when the first stage began,
`..._unix_ns` from 1970, both on the coordinator's clock, with an error of at most `bound_ns`.
`sent_ns` is the time of sending, `received_ns` of receiving, `used_ns` of the use or the drop, and
`end_ns` the time when all work on the message was done. A value that is unknown, or does not exist,
is empty in CSV and null in JSON.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

import numpy as np

from coordinator.traces.events import NEVER, Numbers
from coordinator.traces.export.view import View, chunks
from coordinator.traces.messages import DROPPED, OUTCOMES, UNSENT, USED, Messages
from coordinator.traces.run import Traces
from protocol import trace_format as form

TIMES: Final = ("sent", "received", "used", "end")
FIELDS: Final = (
    *("edge", "kind", "batch", "outcome", "reason", "cause"),
    *("bytes", "queue", "staleness", "version", "used_version"),
    *(f"{time}_ns" for time in TIMES),
    *(f"{time}_unix_ns" for time in TIMES),
    "bound_ns",
)


def write_csv(traces: Traces, file: TextIO) -> int:
    """Write a header and one row per message; return the number of messages."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    written = 0
    for rows in _rows(traces, None, str):
        writer.writerows(zip(*rows, strict=True))
        written += len(rows[0])
    return written


def write_jsonl(traces: Traces, file: TextIO) -> int:
    """Write one object per message and line; return the number of messages."""
    line = "{" + ",".join(f'"{field}":%s' for field in FIELDS) + "}\n"
    written = 0
    for rows in _rows(traces, "null", json.dumps):
        file.write("".join([line % row for row in zip(*rows, strict=True)]))
        written += len(rows[0])
    return written


Rows = list[list[Any]]


def _rows(traces: Traces, blank: object, text: Callable[[str], str]) -> Iterator[Rows]:
    """The columns of FIELDS, for a chunk of messages at a time."""
    view = View(traces)
    for edge in traces.edges:
        for messages in traces.messages(edge):
            constant = text(str(edge)), text(form.KINDS[messages.kind]), traces.bound(edge)
            for part in chunks(len(messages)):
                yield _columns(view, messages, part, constant, blank, text)


def _columns(
    view: View,
    messages: Messages,
    part: slice,
    constant: tuple[str, str, int],
    blank: object,
    text: Callable[[str], str],
) -> Rows:
    def numbers(values: Numbers, known: Numbers | bool = True) -> list[Any]:
        found = values.astype(object)
        found[~np.broadcast_to(known, values.shape)] = blank
        cells: list[Any] = found.tolist()
        return cells

    def names(strings: tuple[str, ...], indices: Numbers) -> list[Any]:
        found = np.array([text(string) if string else blank for string in strings], dtype=object)
        cells: list[Any] = found[indices].tolist()
        return cells

    outcome, sent = messages.outcome[part], messages.sent[part] != NEVER
    edge, kind, bound = ([value] * len(outcome) for value in constant)
    processed, received = np.isin(outcome, (USED, DROPPED)), messages.received[part] != NEVER
    times = [getattr(messages, time)[part] for time in TIMES]
    return [
        edge,
        kind,
        numbers(messages.batch[part]),
        names(OUTCOMES, outcome),
        names(form.DROP_REASONS, messages.reason[part]),
        names(("", *messages.edges), messages.cause[part]),
        numbers(messages.bytes[part], sent),
        numbers(messages.queue[part], received),
        numbers(messages.staleness[part], outcome == USED),
        numbers(messages.version[part], sent | (outcome == UNSENT)),
        numbers(messages.used_version[part], processed),
        *(numbers(time - view.start, time != NEVER) for time in times),
        *(numbers(time + view.unix, time != NEVER) for time in times),
        bound,
    ]
