"""The story of one batch: every message about it, under the one that led to it.

A gradient names the activation that it answers, and each message was recorded with the edge whose
message of the same batch its sender was at work on; so the story is a tree and no guess by time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.traces.find import DATA, Choice, Entry, find
from coordinator.traces.run import Traces
from protocol import RunError


@dataclass(frozen=True, slots=True)
class Chapter:
    """A message, and what its receiver sent when it had taken it up."""

    entry: Entry
    next: list[Chapter] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Plain dicts and lists."""
        return {**self.entry._asdict(), "next": [chapter.as_dict() for chapter in self.next]}


def story(folder: Path, batch: int) -> tuple[Traces, list[Chapter]]:
    """The chapters that nothing on record led to: in general what the source sent.

    Raises RunError where nothing is known of the batch.
    """
    choice = Choice(kinds=DATA, batches=(batch, batch))
    traces = Traces(folder, choice.keep)
    found, count = find(traces, choice)
    if not count:
        raise RunError(f"{folder}: nothing is on record of batch {batch}")
    chapters = [Chapter(entry) for entry in found]
    by_edge = {chapter.entry.edge: chapter for chapter in chapters}
    led: dict[str, list[Chapter]] = defaultdict(list)
    for chapter in chapters:
        led[chapter.entry.cause if chapter.entry.cause in by_edge else ""].append(chapter)
    for cause, followers in led.items():
        if cause:
            by_edge[cause].next.extend(followers)
    return traces, led[""]
