"""The messages about one batch as a tree: each message under the one that caused it.

A gradient carries the number of the activation that it answers, and the sender of every message
records the edge of the message of the same batch that caused it. The tree follows these records,
not the times.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.traces.find import MessageFilter, MessageRow, find_messages
from coordinator.traces.run import Traces
from protocol import RunError
from protocol import trace_format as form


@dataclass(frozen=True, slots=True)
class CausalNode:
    """A message, and the messages that its receiver sent because of it."""

    message: MessageRow
    effects: list[CausalNode] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The tree and its subtree as built-in types."""
        effects = [tree.as_dict() for tree in self.effects]
        return {**self.message._asdict(), "effects": effects}


def causal_tree(folder: Path, batch: int) -> tuple[Traces, list[CausalNode]]:
    """The roots of the tree of `batch`: messages without a recorded cause, usually the source's.

    Raises RunError if no message of the batch is recorded.
    """
    choice = MessageFilter(kinds=form.WORK, batches=(batch, batch))
    traces = Traces(folder, choice.record_filter)
    rows, count = find_messages(traces, choice)
    if not count:
        raise RunError(f"{folder}: no message of batch {batch} is recorded")
    trees = [CausalNode(row) for row in rows]
    by_edge = {tree.message.edge: tree for tree in trees}
    effects: dict[str, list[CausalNode]] = defaultdict(list)
    for tree in trees:
        effects[tree.message.cause if tree.message.cause in by_edge else ""].append(tree)
    for cause, caused in effects.items():
        if cause:
            by_edge[cause].effects.extend(caused)
    return traces, effects[""]
