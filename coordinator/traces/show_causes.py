"""Show the messages about one batch as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult

from coordinator.console.columns import Phrases, line
from coordinator.console.standard_streams import transliterate
from coordinator.console.units import bytes_text, time_text
from coordinator.traces.causality import CausalNode
from coordinator.traces.find import MessageRow
from coordinator.traces.show import duration_text, outcome_text


@dataclass(frozen=True, slots=True)
class CausalTree:
    """The messages about `batch`, each under the message that caused it."""

    batch: int
    roots: Sequence[CausalNode]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        start = min(tree.message.first for tree in self.roots)
        yield Phrases((f"batch {self.batch}", f"first sent {start / 1e9:.6f} s after the start"))
        for text in _branches(self.roots, start, options.max_width, ""):
            yield line(transliterate(text, console.encoding))


def _branches(trees: Sequence[CausalNode], start: int, width: int, guides: str) -> Iterator[str]:
    """The lines of `nodes` in order of time, each after `guides`.

    The guides take at most a third of `width`; deeper branches are not indented further.
    """
    ordered = sorted(trees, key=lambda tree: tree.message.first)
    for tree in ordered:
        last = tree is ordered[-1]
        branch, below = ("└ ", "  ") if last else ("├ ", "│ ")
        sentence = Phrases(_sentence(tree.message, start)).for_encoding("utf-8")
        continued = "│   " if tree.effects else "    "
        first, *more = sentence.lines(width - len(guides + below + continued))
        yield f"{guides}{branch}{first}"
        yield from (f"{guides}{below}{continued}{text}" for text in more)
        deeper = (guides + below)[-max(2, width // 6 * 2) :]
        yield from _branches(tree.effects, start, width, deeper)


def _sentence(message: MessageRow, start: int) -> list[str]:
    """What happened to `message`, in phrases; times are relative to `start`."""
    phrases = [f"{message.edge} {message.kind}"]
    if message.bytes:
        phrases.append(bytes_text(message.bytes))
    for name, time in (("sent", message.sent), ("received", message.received)):
        if time is not None:
            phrases.append(f"{name} +{time_text(time - start)}")
    if message.queue > 1:
        phrases.append(f"{message.queue - 1} before it in the queue")
    outcome = outcome_text(message)
    if message.used is not None:
        outcome += f" +{time_text(message.used - start)}"
    phrases.append(outcome)
    if message.end is not None:
        phrases.append(f"work {duration_text(message.used, message.end)}")
    if message.staleness:
        phrases.append(f"staleness {message.staleness}")
    return phrases
