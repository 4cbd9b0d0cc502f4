"""Where two runs differ: rates, delays, staleness, edge by edge."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.traces.run import Traces
from coordinator.traces.stats import EdgeStats, stats


@dataclass(frozen=True, slots=True)
class Difference:
    """A measure of an edge in the two runs, None where one has none."""

    edge: str
    measure: str
    a: float | None
    b: float | None

    @property
    def ratio(self) -> float | None:
        """How many times a's is b's; None where there is no such number."""
        return None if self.a is None or self.b is None or not self.a else self.b / self.a


def measures(edge: EdgeStats) -> dict[str, float | None]:
    """Messages and bytes a second, ns from sending to use, batches, and parts of what was sent."""
    delay, sent = edge.delay, max(1, edge.messages)
    whole = edge.told and edge.heard
    return {
        "rate": edge.rate if edge.told else None,
        "bytes_per_second": edge.rate * edge.bytes / sent if edge.told else None,
        "delay_p50": delay.p50 if delay else None,
        "delay_p95": delay.p95 if delay else None,
        "staleness_p50": edge.staleness.p50 if edge.staleness else None,
        "dropped": edge.dropped / sent if whole else None,
        "lost": edge.lost / sent if whole else None,
    }


def difference(a: Traces, b: Traces) -> list[Difference]:
    """All measures of all edges that are in one of the runs."""
    first, second = ({str(row.edge): measures(row) for row in stats(t)} for t in (a, b))
    nothing: dict[str, float | None] = {}
    found = []
    for edge in dict.fromkeys([*first, *second]):
        one, other = first.get(edge, nothing), second.get(edge, nothing)
        found += [Difference(edge, m, one.get(m), other.get(m)) for m in one or other]
    return found
