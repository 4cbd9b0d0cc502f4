"""A row a message: what a spreadsheet, a data frame or a line of shell is happy with.

Both formats have the same fields. Times `..._ns` count from when the first core began,
`..._unix_ns` from 1970, both by the clock of the coordinator, which is right within `bound_ns`.
`sent_ns` is when the message was sent, `received_ns` when it came, `used_ns` when it was taken up
or dropped, `end_ns` when all that it led to was done. What is not known or never was is empty in
CSV and null in JSON.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

import numpy as np

from coordinator.traces.events import NEVER, Numbers
from coordinator.traces.export.view import View, parts
from coordinator.traces.messages import DROPPED, FATES, UNSENT, USED, Messages
from coordinator.traces.run import Traces
from protocol import trace_format as form

TIMES: Final = ("sent", "received", "used", "end")
FIELDS: Final = (
    *("edge", "kind", "batch", "fate", "why", "cause"),
    *("bytes", "queue", "staleness", "version", "used_version"),
    *(f"{time}_ns" for time in TIMES),
    *(f"{time}_unix_ns" for time in TIMES),
    "bound_ns",
)


def write_csv(traces: Traces, file: TextIO) -> int:
    """Write a header and a row a message; returns the number of messages."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    written = 0
    for rows in _rows(traces, None, str):
        writer.writerows(zip(*rows, strict=True))
        written += len(rows[0])
    return written


def write_jsonl(traces: Traces, file: TextIO) -> int:
    """Write an object a message, each on a line; returns the number of messages."""
    line = "{" + ",".join(f'"{field}":%s' for field in FIELDS) + "}\n"
    written = 0
    for rows in _rows(traces, "null", json.dumps):
        file.write("".join([line % row for row in zip(*rows, strict=True)]))
        written += len(rows[0])
    return written


Rows = list[list[Any]]


def _rows(traces: Traces, blank: object, text: Callable[[str], str]) -> Iterator[Rows]:
    """The columns of FIELDS for some messages at a time."""
    view = View(traces)
    for edge in traces.edges:
        for messages in traces.messages(edge):
            constant = text(str(edge)), text(form.KINDS[messages.kind]), traces.bound(edge)
            for part in parts(len(messages)):
                yield _columns(view, messages, part, constant, blank, text)


def _columns(
    view: View,
    messages: Messages,
    part: slice,
    constant: tuple[str, str, int],
    blank: object,
    text: Callable[[str], str],
) -> Rows:
    def some(values: Numbers, known: Numbers | bool = True) -> list[Any]:
        found = values.astype(object)
        found[~np.broadcast_to(known, values.shape)] = blank
        listed: list[Any] = found.tolist()
        return listed

    def word(words: tuple[str, ...], places: Numbers) -> list[Any]:
        said = np.array([blank if not w else text(w) for w in words], dtype=object)
        listed: list[Any] = said[places].tolist()
        return listed

    fate, sent = messages.fate[part], messages.sent[part] != NEVER
    edge, kind, bound = ([value] * len(fate) for value in constant)
    taken, heard = np.isin(fate, (USED, DROPPED)), messages.received[part] != NEVER
    times = [getattr(messages, time)[part] for time in TIMES]
    return [
        edge,
        kind,
        some(messages.batch[part]),
        word(FATES, fate),
        word(form.DROP_REASONS, messages.why[part]),
        word(("", *messages.edges), messages.cause[part]),
        some(messages.bytes[part], sent),
        some(messages.queue[part], heard),
        some(messages.staleness[part], fate == USED),
        some(messages.version[part], sent | (fate == UNSENT)),
        some(messages.used_version[part], taken),
        *(some(time - view.start, time != NEVER) for time in times),
        *(some(time + view.unix, time != NEVER) for time in times),
        bound,
    ]
