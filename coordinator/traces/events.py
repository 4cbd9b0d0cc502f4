"""The records of one stage as columns, by edge and event, in the order in which they occurred."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.clocks import Times
from coordinator.traces.files import TraceFile
from protocol import Edge
from protocol import trace_format as form
from protocol.trace_format import Records

Numbers: TypeAlias = npt.NDArray[Any]
Columns: TypeAlias = dict[str, Numbers]
RecordFilter: TypeAlias = Callable[[Records], npt.NDArray[np.bool_]]

NEVER: Final = -1
"""The value of a time, or an index, that does not exist."""
_COLUMNS: Final = {
    form.SENT: ("time", "batch", "kind", "bytes", "version", "cause"),
    form.RECEIVED: ("time", "batch", "kind", "queue"),
    form.USED: ("time", "end", "batch", "kind", "staleness", "version"),
    form.DROPPED: ("time", "batch", "kind", "reason", "version", "cause"),
    form.RESUMED: ("time", "end", "batch", "kind", "version"),
}


@dataclass(frozen=True, slots=True, eq=False)
class WorkSpans:
    """The spans of time in which a stage computed, in order of time; one entry per span.

    `begin` and `end` are ns on the coordinator's clock; `end` is NEVER if the span did not end.
    `batch` and `kind` are those of the message that the stage worked on, and `edge` is the index
    in `edges` of the edge that brought it. A layer may process a training batch in two spans. In
    the first it computes the activation that it sends up. In the second, which is `resumed`, it
    predicts the gradient, updates its weights and sends a gradient down.
    """

    stage: str
    begin: Times
    end: Times
    batch: Numbers
    kind: Numbers
    edge: Numbers
    resumed: Numbers
    edges: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.begin)


class StageEvents:
    """The records of one stage, by edge and event, in the order in which they occurred.

    Records from before the `horizon`, a time on the stage's own clock, have been overwritten. The
    horizon is 0 if the file holds all records.
    """

    def __init__(self, file: TraceFile, keep: RecordFilter | None = None) -> None:
        parts: dict[tuple[int, int], dict[str, list[Numbers]]] = {}
        for block in file.blocks():
            chosen = block if keep is None else block[keep(block)]
            _split(chosen, parts)
        self.horizon = file.horizon
        self._edges = {name: i for i, name in enumerate(file.metadata.edges)}
        self._all = {key: _concatenated(columns) for key, columns in parts.items()}

    def columns(self, edge: Edge, event: int) -> Columns:
        """The columns of the records of `event` on `edge`; empty columns if there are none."""
        found = self._all.get((self._edges.get(str(edge), NEVER), event))
        return empty_columns(event) if found is None else found

    def work(self, stage: str, convert: Callable[[Numbers], Times]) -> WorkSpans:
        """The spans in which `stage` computed; `convert` maps its times to the coordinator's."""
        spans: dict[str, list[Numbers]] = defaultdict(list)
        for name, index in self._edges.items():
            for event in (form.USED, form.RESUMED):
                columns = self.columns(Edge.named(name), event)
                work = np.isin(columns["kind"], form.WORK)
                for column in ("time", "end", "batch", "kind"):
                    spans[column].append(columns[column][work])
                count = int(work.sum())
                spans["edge"].append(np.full(count, index, np.uint16))
                spans["resumed"].append(np.full(count, event == form.RESUMED))
        found = _concatenated(spans)
        order = np.argsort(found["time"], kind="stable")
        ordered = {column: values[order] for column, values in found.items()}
        begin, end = convert(ordered.pop("time")), ordered.pop("end")
        ended = np.where(end == 0, NEVER, convert(end))
        return WorkSpans(stage, begin, ended, **ordered, edges=tuple(self._edges))


def _split(block: Records, parts: dict[tuple[int, int], dict[str, list[Numbers]]]) -> None:
    """Append the records of `block` to `parts`, by edge and event."""
    code = block["edge"].astype(np.uint32) * len(form.EVENTS) + block["event"]
    short = code.astype(np.uint16) if code.max(initial=0) < 1 << 16 else code
    order = np.argsort(short, kind="stable")  # numpy sorts 16-bit integers in linear time
    found, starts = np.unique(code[order], return_index=True)
    for number, group in zip(found, np.split(order, starts[1:]), strict=False):
        edge, event = divmod(int(number), len(form.EVENTS))
        if event in _COLUMNS:
            columns = parts.setdefault((edge, event), defaultdict(list))
            for name in _COLUMNS[event]:
                columns[name].append(block[name][group])


def _concatenated(columns: dict[str, list[Numbers]]) -> Columns:
    return {name: np.concatenate(columns.pop(name)) for name in list(columns)}


def empty_columns(event: int) -> Columns:
    """The columns of an event without records."""
    return {name: np.empty(0, form.RECORD[name]) for name in _COLUMNS[event]}
