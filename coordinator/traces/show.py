"""What a person is shown of a trace; the same things as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult

from coordinator.commands.trace_parsing import bytes_text, some, time_text
from coordinator.console.columns import Column, Phrases, Table, line
from coordinator.console.standard_streams import transliterate
from coordinator.traces.causality import Chapter
from coordinator.traces.difference import Difference
from coordinator.traces.find import Entry, Loss
from coordinator.traces.follow import Heard
from coordinator.traces.stats import EdgeStats

_SENT: Final = ("messages", "sent", "bytes", "rate", "seconds", "on_record", "unsent")
_TAKEN: Final = ("used", "dropped", "waiting", "missing", "strangers", "balanced", "lost")
"""What an edge's statistics lack without the trace of its sender, and without either."""


def stats_table(rows: Sequence[EdgeStats]) -> Table:
    """A line an edge; what its delays may be wrong by where clocks differ."""
    across = any(row.bound for row in rows)
    columns = (
        Column("edge", left=True),
        Column("messages"),
        Column("sent", 5),
        Column("per s", 3),
        Column("transit", 7),
        Column("wait", 8),
        Column("delay", 1),
        Column("95 %", 4),
        Column("largest", 9),
        *([Column("±", 2)] if across else []),
        Column("stale", 2),
        Column("oldest", 6),
        Column("dropped", 1),
        Column("lost", 1),
    )
    notes = (
        Phrases(
            (
                "delay is from sending to use: transit, then wait",
                "medians where nothing else is said",
            ),
            "; ",
        ),
        Phrases(
            (
                "stale counts batches from a guess to its truth",
                "credits and marks have no delay here",
            ),
            "; ",
        ),
    )
    return Table(columns, [tuple(_stats_row(row, across)) for row in rows], notes)


def _stats_row(row: EdgeStats, across: bool) -> Iterator[str]:
    delay, old = row.delay, row.staleness
    yield str(row.edge)
    sent = (f"{row.messages:,}", bytes_text(row.bytes), f"{row.rate:,.0f}")
    yield from sent if row.told else "---"
    yield from (some(spread, lambda s: time_text(s.p50)) for spread in (row.transit, row.waited))
    yield from map(time_text, (delay.p50, delay.p95, delay.max) if delay else (None,) * 3)
    if across:
        yield time_text(row.bound)
    yield from (f"{old.p50:.0f}", f"{old.max:.0f}") if old else "--"
    yield from (f"{row.dropped:,}", f"{row.lost:,}") if row.told and row.heard else "--"


def stats_json(row: EdgeStats) -> dict[str, object]:
    """The same as plain values; None for what is not known, as there is no trace of an end."""
    plain: dict[str, object] = asdict(row)
    unknown = (() if row.told else _SENT) + (() if row.told and row.heard else _TAKEN)
    known = plain | {
        "edge": str(row.edge),
        "accounts": [
            _without(asdict(a) | {"edge": str(a.edge), "balanced": a.balanced}, unknown)
            for a in row.accounts
        ],
        "messages": row.messages,
        "bytes": row.bytes,
        "rate": row.rate,
        "dropped": row.dropped,
        "lost": row.lost,
    }
    return _without(known, unknown)


def _without(values: dict[str, object], unknown: Iterable[str]) -> dict[str, object]:
    return values | {name: None for name in unknown if name in values}


def messages_table(entries: Iterable[Entry]) -> Table:
    """A line a message."""
    columns = (
        Column("edge", left=True),
        Column("kind", left=True),
        Column("batch"),
        Column("size", 3),
        Column("sent at, s", 2),
        Column("received", 4),
        Column("used", 1),
        Column("for", 5),
        Column("queue", 7),
        Column("stale", 6),
        Column("version", 8),
        Column("fate", left=True),
    )
    rows = [
        (
            entry.edge,
            entry.kind,
            str(entry.batch),
            bytes_text(entry.bytes) if entry.bytes else "-",
            _moment(entry.sent),
            _later(entry.sent, entry.received),
            _later(entry.sent, entry.used),
            _length(entry.used, entry.end),
            str(entry.queue),
            str(entry.staleness),
            str(entry.version),
            _fate(entry),
        )
        for entry in entries
    ]
    return Table(columns, rows)


def _moment(time: int | None) -> str:
    return some(time, lambda t: f"{t / 1e9:.6f}")


def _length(begin: int | None, end: int | None) -> str:
    return "-" if begin is None or end is None else time_text(max(0, end - begin))


def _later(begin: int | None, end: int | None) -> str:
    return "-" if begin is None or end is None else f"+{_length(begin, end)}"


def _fate(entry: Entry) -> str:
    return f"{entry.fate}: {entry.why}" if entry.why else entry.fate


@dataclass(frozen=True, slots=True)
class StoryTree:
    """The batch and all messages about it, each under the one that led to it."""

    batch: int
    chapters: Sequence[Chapter]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        start = min(chapter.entry.first for chapter in self.chapters)
        yield Phrases((f"batch {self.batch}", f"first sent {start / 1e9:.6f} s after the start"))
        for text in _branches(self.chapters, start, options.max_width, ""):
            yield line(transliterate(text, console.encoding))


def _branches(chapters: Sequence[Chapter], start: int, width: int, before: str) -> Iterator[str]:
    """The lines of `chapters`, in order of time, with the guides `before` them.

    The guides take no more than a third of the `width`: deeper branches are indented no further.
    """
    ordered = sorted(chapters, key=lambda chapter: chapter.entry.first)
    for chapter in ordered:
        last = chapter is ordered[-1]
        branch, below = ("└ ", "  ") if last else ("├ ", "│ ")
        sentence = Phrases(_sentence(chapter.entry, start))
        follows = "│   " if chapter.next else "    "
        first, *more = sentence.for_encoding("utf-8").lines(width - len(before + below + follows))
        yield f"{before}{branch}{first}"
        yield from (f"{before}{below}{follows}{text}" for text in more)
        guides = (before + below)[-max(2, width // 6 * 2) :]
        yield from _branches(chapter.next, start, width, guides)


def _sentence(entry: Entry, start: int) -> list[str]:
    """What happened to a message, in phrases; times from the story's beginning."""
    words = [f"{entry.edge} {entry.kind}"]
    if entry.bytes:
        words.append(bytes_text(entry.bytes))
    for word, time in (("sent", entry.sent), ("received", entry.received)):
        if time is not None:
            words.append(f"{word} +{time_text(time - start)}")
    if entry.queue > 1:
        words.append(f"{entry.queue - 1} before it")
    if entry.used is not None:
        words.append(f"{_fate(entry)} +{time_text(entry.used - start)}")
    else:
        words.append(_fate(entry))
    if entry.end is not None:
        words.append(f"for {_length(entry.used, entry.end)}")
    if entry.staleness:
        words.append(f"{entry.staleness} batches old")
    return words


def lost_table(rows: Iterable[Loss]) -> Table:
    """A line a reason."""
    columns = (
        *(Column(heading, left=True) for heading in ("edge", "kind", "fate", "why")),
        Column("messages"),
        Column("first batch", 1),
        Column("last batch", 2),
    )
    lines = [(*row[:4], f"{row.messages:,}", str(row.first), str(row.last)) for row in rows]
    return Table(columns, lines)


def difference_table(rows: Iterable[Difference]) -> Table:
    """A line an edge and measure, of those that either run has."""
    columns = (
        *(Column(heading, left=True) for heading in ("edge", "measure")),
        *(Column("a", 1), Column("b", 1), Column("b/a")),
    )
    lines = [
        (
            row.edge,
            row.measure,
            _measure(row.measure, row.a),
            _measure(row.measure, row.b),
            some(row.ratio, lambda r: f"{r:.2f}"),
        )
        for row in rows
        if row.a or row.b
    ]
    return Table(columns, lines)


def _measure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.startswith("delay"):
        return time_text(value)
    if name == "bytes_per_second":
        return bytes_text(value)
    if name in ("dropped", "lost"):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}"


def heard_words(heard: Heard) -> Phrases:
    """One thing that happened, in phrases that stand in columns."""
    words = [
        f"{heard.time / 1e9:12.6f} s",
        f"{heard.core:<8} {heard.event:<8} {heard.edge:<16}",
        f"{heard.kind:<10} {heard.batch:>8}",
    ]
    if heard.bytes:
        words.append(bytes_text(heard.bytes))
    words += [
        f"{name} {getattr(heard, name)}"
        for name in ("queue", "staleness", "version")
        if getattr(heard, name)
    ]
    return Phrases([*words, heard.why] if heard.why else words, "  ")
