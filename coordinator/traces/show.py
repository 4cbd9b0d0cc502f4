"""What a person is shown of a trace; the same things as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from coordinator.traces.difference import Difference
from coordinator.traces.find import Entry, Loss
from coordinator.traces.stats import EdgeStats
from coordinator.traces.story import Chapter
from coordinator.traces.tap import Heard
from coordinator.traces.words import bytes_text, some, time_text


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    """Columns of words, then columns of numbers."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in left:
        made.add_column(heading, no_wrap=True)
    for heading in right:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def stats_table(rows: Sequence[EdgeStats]) -> Table:
    """A line an edge; what its delays may be wrong by where clocks differ."""
    across = any(row.bound for row in rows)
    headings = ["messages", "sent", "per s", "transit", "wait", "delay", "95 %", "largest"]
    made = _table(
        ["edge"], [*headings, *(["±"] if across else []), "stale", "oldest", "dropped", "lost"]
    )
    for row in rows:
        delay, old = row.delay, row.staleness
        made.add_row(
            str(row.edge),
            f"{row.messages:,}",
            bytes_text(row.bytes),
            f"{row.rate:,.0f}",
            *(some(spread, lambda s: time_text(s.p50)) for spread in (row.transit, row.waited)),
            *(map(time_text, (delay.p50, delay.p95, delay.max) if delay else (None,) * 3)),
            *([time_text(row.bound)] if across else []),
            *((f"{old.p50:.0f}", f"{old.max:.0f}") if old else "--"),
            f"{row.dropped:,}",
            f"{row.lost:,}",
        )
    made.caption = (
        "delay is from sending to use: transit, then wait; medians where nothing else is said\n"
        "stale counts batches from a guess to its truth; credits and marks have no delay here"
    )
    return made


def stats_json(row: EdgeStats) -> dict[str, object]:
    """The same as plain values."""
    plain: dict[str, object] = asdict(row)
    return plain | {
        "edge": str(row.edge),
        "accounts": [
            asdict(a) | {"edge": str(a.edge), "balanced": a.balanced} for a in row.accounts
        ],
        "messages": row.messages,
        "bytes": row.bytes,
        "rate": row.rate,
        "dropped": row.dropped,
        "lost": row.lost,
    }


def messages_table(entries: Iterable[Entry]) -> Table:
    """A line a message."""
    made = _table(
        ["edge", "kind"],
        ["batch", "size", "sent at, s", "received", "used", "for", "queue", "stale", "version"],
    )
    made.add_column("fate", no_wrap=True)
    for entry in entries:
        made.add_row(
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
    return made


def _moment(time: int | None) -> str:
    return some(time, lambda t: f"{t / 1e9:.6f}")


def _length(begin: int | None, end: int | None) -> str:
    return "-" if begin is None or end is None else time_text(max(0, end - begin))


def _later(begin: int | None, end: int | None) -> str:
    return "-" if begin is None or end is None else f"+{_length(begin, end)}"


def _fate(entry: Entry) -> str:
    return f"{entry.fate}: {entry.why}" if entry.why else entry.fate


def story_tree(batch: int, chapters: Sequence[Chapter]) -> Tree:
    """The batch and all messages about it, each under the one that led to it."""
    start = min(chapter.entry.first for chapter in chapters)
    tree = Tree(f"batch {batch}, first sent {start / 1e9:.6f} s after the start")
    for chapter in chapters:
        _grow(tree, chapter, start)
    return tree


def _grow(tree: Tree, chapter: Chapter, start: int) -> None:
    branch = tree.add(escape(_sentence(chapter.entry, start)))
    for follower in sorted(chapter.next, key=lambda c: c.entry.first):
        _grow(branch, follower, start)


def _sentence(entry: Entry, start: int) -> str:
    """What happened to a message, in words; times from the story's beginning."""
    words = [f"{entry.edge} {entry.kind}"]
    if entry.bytes:
        words[0] += f" {bytes_text(entry.bytes)}"
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
    return ", ".join(words)


def lost_table(rows: Iterable[Loss]) -> Table:
    """A line a reason."""
    made = _table(["edge", "kind", "fate", "why"], ["messages", "first batch", "last batch"])
    for row in rows:
        made.add_row(*map(str, row[:4]), f"{row.messages:,}", str(row.first), str(row.last))
    return made


def difference_table(rows: Iterable[Difference]) -> Table:
    """A line an edge and measure, of those that either run has."""
    made = _table(["edge", "measure"], ["a", "b", "b/a"])
    for row in rows:
        if row.a or row.b:
            texts = [_measure(row.measure, value) for value in (row.a, row.b)]
            made.add_row(row.edge, row.measure, *texts, some(row.ratio, lambda r: f"{r:.2f}"))
    return made


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


def heard_line(heard: Heard) -> str:
    """One thing that happened, in a line."""
    words = f"{heard.time / 1e9:12.6f} s  {heard.core:<8} {heard.event:<8} {heard.edge:<16} "
    words += f"{heard.kind:<10} {heard.batch:>8}"
    if heard.bytes:
        words += f"  {bytes_text(heard.bytes)}"
    for name in ("queue", "staleness", "version"):
        if getattr(heard, name):
            words += f"  {name} {getattr(heard, name)}"
    return f"{words}  {heard.why}" if heard.why else words
