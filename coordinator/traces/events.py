"""What one core recorded, as columns: by edge and event, in the order in which it happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.files import TraceFile
from protocol import Edge
from protocol import trace_format as form
from protocol.trace_format import Records

Times: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[Any]
Columns: TypeAlias = dict[str, Numbers]
Keep: TypeAlias = Callable[[Records], npt.NDArray[np.bool_]]

NEVER: Final = -1
"""In place of a time."""
_COLUMNS: Final = {
    form.SENT: ("time", "batch", "kind", "bytes", "version", "cause"),
    form.RECEIVED: ("time", "batch", "kind", "queue"),
    form.USED: ("time", "end", "batch", "kind", "staleness", "version"),
    form.DROPPED: ("time", "batch", "kind", "reason", "version", "cause"),
    form.RESUMED: ("time", "end", "batch", "kind", "version"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """When a core was at work, and on what, in order of time; a column has an entry a spell.

    `begin` and `end` are ns of the coordinator's clock, `end` NEVER where it did not come to that.
    `edge` is a place in `edges` and says where the message came from that was worked on, `batch`
    and `kind` are that message's. Of a training batch that was interrupted `resumed` tells the
    second half, in which a layer guesses, updates and sends down, from the first, in which it
    computes what it sends up.
    """

    core: str
    begin: Times
    end: Times
    batch: Numbers
    kind: Numbers
    edge: Numbers
    resumed: Numbers
    edges: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.begin)


class Events:
    """What one core recorded, by edge and event, in the order in which it happened.

    Nothing is known from before the `horizon`, on the core's own clock; 0 where all is.
    """

    def __init__(self, file: TraceFile, keep: Keep | None = None) -> None:
        parts: dict[tuple[int, int], dict[str, list[Numbers]]] = {}
        for block in file.blocks():
            chosen = block if keep is None else block[keep(block)]
            _divide(chosen, parts)
        self.horizon = file.horizon
        self._edges = {name: i for i, name in enumerate(file.metadata.edges)}
        self._all = {key: _joined(columns) for key, columns in parts.items()}

    def of(self, edge: Edge, event: int) -> Columns:
        """The columns of these events, the empty ones where there were none."""
        found = self._all.get((self._edges.get(str(edge), NEVER), event))
        return nothing(event) if found is None else found

    def work(self, core: str, time: Callable[[Numbers], Times]) -> Work:
        """When `core` was at work; `time` turns its times into the coordinator's."""
        spells: dict[str, list[Numbers]] = defaultdict(list)
        for name, place in self._edges.items():
            for event in (form.USED, form.RESUMED):
                columns = self.of(Edge.named(name), event)
                work = np.isin(columns["kind"], form.WORK)
                for column in ("time", "end", "batch", "kind"):
                    spells[column].append(columns[column][work])
                count = int(work.sum())
                spells["edge"].append(np.full(count, place, np.uint16))
                spells["resumed"].append(np.full(count, event == form.RESUMED))
        found = _joined(spells)
        order = np.argsort(found["time"], kind="stable")
        ordered = {column: values[order] for column, values in found.items()}
        begin, end = time(ordered.pop("time")), ordered.pop("end")
        ended = np.where(end == 0, NEVER, time(end))
        return Work(core, begin, ended, **ordered, edges=tuple(self._edges))


def _divide(block: Records, parts: dict[tuple[int, int], dict[str, list[Numbers]]]) -> None:
    """Sort the records of `block` into `parts` by edge and event."""
    code = block["edge"].astype(np.uint32) * len(form.EVENTS) + block["event"]
    short = code.astype(np.uint16) if code.max(initial=0) < 1 << 16 else code
    order = np.argsort(short, kind="stable")  # of 16 bits in time linear in their number
    found, starts = np.unique(code[order], return_index=True)
    for number, group in zip(found, np.split(order, starts[1:]), strict=False):
        edge, event = divmod(int(number), len(form.EVENTS))
        if event in _COLUMNS:
            columns = parts.setdefault((edge, event), defaultdict(list))
            for name in _COLUMNS[event]:
                columns[name].append(block[name][group])


def _joined(columns: dict[str, list[Numbers]]) -> Columns:
    return {name: np.concatenate(columns.pop(name)) for name in list(columns)}


def nothing(event: int) -> Columns:
    """The columns of an event that never happened."""
    return {name: np.empty(0, form.RECORD[name]) for name in _COLUMNS[event]}
