"""Compare two runs: rates, delays and staleness, edge by edge."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.traces.run import Traces
from coordinator.traces.stats import EdgeStats, edge_stats


@dataclass(frozen=True, slots=True)
class MeasureDifference:
    """The value of a measure on an edge in two runs; None if a run does not have it."""

    edge: str
    measure: str
    a: float | None
    b: float | None

    @property
    def ratio(self) -> float | None:
        """b / a; None if that is not defined."""
        return None if self.a is None or self.b is None or not self.a else self.b / self.a


def measures(edge: EdgeStats) -> dict[str, float | None]:
    """Rates per second, delays in ns, staleness in batches, and fractions of the sent messages."""
    delay, sent = edge.delay, max(1, edge.messages)
    known = edge.sender_known and edge.receiver_known
    return {
        "rate": edge.rate if edge.sender_known else None,
        "bytes_per_second": edge.rate * edge.bytes / sent if edge.sender_known else None,
        "delay_p50": delay.p50 if delay else None,
        "delay_p95": delay.p95 if delay else None,
        "staleness_p50": edge.staleness.p50 if edge.staleness else None,
        "dropped": edge.dropped / sent if known else None,
        "lost": edge.lost_messages / sent if known else None,
    }


def differences(a: Traces, b: Traces) -> list[MeasureDifference]:
    """Compare all measures of all edges that exist in either run."""
    first, second = ({str(row.edge): measures(row) for row in edge_stats(t)} for t in (a, b))
    nothing: dict[str, float | None] = {}
    found = []
    for edge in dict.fromkeys([*first, *second]):
        one, other = first.get(edge, nothing), second.get(edge, nothing)
        found += [MeasureDifference(edge, m, one.get(m), other.get(m)) for m in one or other]
    return found
