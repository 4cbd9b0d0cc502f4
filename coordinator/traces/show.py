"""Tables and sentences that show what a trace holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Final

from coordinator.console.columns import Column, Phrases, Table
from coordinator.console.units import bytes_text, text_or_dash, time_text
from coordinator.traces.difference import MeasureDifference
from coordinator.traces.find import MessageRow, UnusedMessages
from coordinator.traces.follow import FollowedEvent
from coordinator.traces.stats import EdgeStats

_BY_SENDER: Final = ("messages", "sent", "bytes", "rate", "seconds", "recorded", "unsent")
"""The statistics that are unknown without the trace of the sender."""
_BY_BOTH: Final = ("used", "dropped", "waiting", "missing", "unmatched", "balanced", "lost")
"""The statistics that are unknown without the traces of both ends."""


def stats_table(rows: Sequence[EdgeStats]) -> Table:
    """One row per edge; the error of delays is shown if clocks differ."""
    clocks_differ = any(row.bound for row in rows)
    columns = (
        Column("edge", left=True),
        Column("messages"),
        Column("sent", 5),
        Column("rate", 3),
        Column("transit", 7),
        Column("wait", 8),
        Column("delay", 1),
        Column("p95", 4),
        Column("max", 9),
        *([Column("±", 2)] if clocks_differ else []),
        Column("staleness", 2),
        Column("max stale", 6),
        Column("dropped", 1),
        Column("lost", 1),
    )
    notes = (
        Phrases(("rate: messages per second", "delay: from sending to use, transit + wait"), "; "),
        Phrases(("transit, wait, delay, staleness: medians", "staleness: in batches"), "; "),
        Phrases(("credits and markers have no delay",)),
    )
    return Table(columns, [tuple(_stats_cells(row, clocks_differ)) for row in rows], notes)


def _stats_cells(row: EdgeStats, clocks_differ: bool) -> Iterator[str]:
    delay, staleness = row.delay, row.staleness
    yield str(row.edge)
    sent = (f"{row.messages:,}", bytes_text(row.bytes), f"{row.rate:,.0f}")
    yield from sent if row.sender_known else ("-",) * len(sent)
    yield from (text_or_dash(d, lambda d: time_text(d.p50)) for d in (row.transit, row.wait))
    yield from map(time_text, (delay.p50, delay.p95, delay.max) if delay else (None,) * 3)
    if clocks_differ:
        yield time_text(row.bound)
    yield from (f"{staleness.p50:.0f}", f"{staleness.max:.0f}") if staleness else ("-", "-")
    known = row.sender_known and row.receiver_known
    yield from (f"{row.dropped:,}", f"{row.lost_messages:,}") if known else ("-", "-")


def stats_json(row: EdgeStats) -> dict[str, object]:
    """The statistics as built-in types; None for what is unknown because a trace is missing."""
    values: dict[str, object] = asdict(row)
    known = row.sender_known and row.receiver_known
    unknown = (() if row.sender_known else _BY_SENDER) + (() if known else _BY_BOTH)
    values |= {
        "edge": str(row.edge),
        "counts": [
            _without(asdict(c) | {"edge": str(c.edge), "balanced": c.balanced}, unknown)
            for c in row.counts
        ],
        "messages": row.messages,
        "bytes": row.bytes,
        "rate": row.rate,
        "dropped": row.dropped,
        "lost": row.lost_messages,
    }
    return _without(values, unknown)


def _without(values: dict[str, object], unknown: Iterable[str]) -> dict[str, object]:
    return values | {name: None for name in unknown if name in values}


_MESSAGE_COLUMNS: Final = (
    Column("edge", left=True),
    Column("kind", left=True),
    Column("batch"),
    Column("size", 3),
    Column("sent at, s", 2),
    Column("received", 4),
    Column("used", 1),
    Column("work", 5),
    Column("queue", 7),
    Column("staleness", 6),
    Column("version", 8),
    Column("outcome", left=True),
)


def messages_table(messages: Iterable[MessageRow]) -> Table:
    """One row per message."""
    rows = [
        (
            message.edge,
            message.kind,
            str(message.batch),
            bytes_text(message.bytes) if message.bytes else "-",
            text_or_dash(message.sent, lambda t: f"{t / 1e9:.6f}"),
            _later(message.sent, message.received),
            _later(message.sent, message.used),
            duration_text(message.used, message.end),
            str(message.queue),
            str(message.staleness),
            str(message.version),
            outcome_text(message),
        )
        for message in messages
    ]
    return Table(_MESSAGE_COLUMNS, rows)


def duration_text(begin: int | None, end: int | None) -> str:
    """The time from `begin` to `end`, at least 0; a dash if one of them is None."""
    return "-" if begin is None or end is None else time_text(max(0, end - begin))


def _later(begin: int | None, end: int | None) -> str:
    return "-" if begin is None or end is None else f"+{duration_text(begin, end)}"


def outcome_text(message: MessageRow) -> str:
    """The outcome of `message` and, if there is one, its reason."""
    return f"{message.outcome}: {message.reason}" if message.reason else message.outcome


def lost_table(rows: Iterable[UnusedMessages]) -> Table:
    """One row per edge, kind, outcome and reason."""
    columns = (
        *(Column(heading, left=True) for heading in ("edge", "kind", "outcome", "reason")),
        Column("messages"),
        Column("first batch", 1),
        Column("last batch", 2),
    )
    cells = [(*row[:4], f"{row.messages:,}", str(row.first), str(row.last)) for row in rows]
    return Table(columns, cells)


def difference_table(rows: Iterable[MeasureDifference]) -> Table:
    """One row per edge and measure that is not 0 in both runs."""
    columns = (
        *(Column(heading, left=True) for heading in ("edge", "measure")),
        *(Column("a", 1), Column("b", 1), Column("b/a")),
    )
    cells = [
        (
            row.edge,
            row.measure,
            _measure_text(row.measure, row.a),
            _measure_text(row.measure, row.b),
            text_or_dash(row.ratio, lambda ratio: f"{ratio:.2f}"),
        )
        for row in rows
        if row.a or row.b
    ]
    return Table(columns, cells)


def _measure_text(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.startswith("delay"):
        return time_text(value)
    if name == "bytes_per_second":
        return bytes_text(value)
    if name in ("dropped", "lost"):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}"


def event_phrases(event: FollowedEvent) -> Phrases:
    """One event, in phrases of fixed width."""
    phrases = [
        f"{event.time / 1e9:12.6f} s",
        f"{event.stage:<8} {event.event:<8} {event.edge:<16}",
        f"{event.kind:<10} {event.batch:>8}",
    ]
    if event.bytes:
        phrases.append(bytes_text(event.bytes))
    phrases += [
        f"{name} {getattr(event, name)}"
        for name in ("queue", "staleness", "version")
        if getattr(event, name)
    ]
    return Phrases([*phrases, event.reason] if event.reason else phrases, "  ")
