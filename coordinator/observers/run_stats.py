"""The statistics of a run in progress: the newest report of each stage, and sums over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from protocol import Evaluated, Pipeline, Report


@dataclass(frozen=True, slots=True)
class LayerStats:
    """The newest report of a stage, and its rate in samples/s since the previous report.

    For the last report the rate is that of the whole training.
    """

    report: Report
    rate: float


@dataclass(slots=True)
class RunStats:
    """Sums over reports and evaluations. Times are seconds since the run began.

    `rows` has the newest line of metrics.jsonl of each stage.
    """

    pipeline: Pipeline
    layers: dict[str, LayerStats] = field(default_factory=dict)
    rows: dict[str, dict[str, object]] = field(default_factory=dict)
    loss: float | None = None
    test_loss: float | None = None
    test_error: float | None = None

    def add(self, message: Report | Evaluated) -> dict[str, object]:
        """Add `message`; return its line of metrics.jsonl."""
        return self._evaluate(message) if isinstance(message, Evaluated) else self._report(message)

    def _evaluate(self, message: Evaluated) -> dict[str, object]:
        judged = max(message.judged, 1)
        self.test_loss = message.loss / judged
        self.test_error = 100 * message.errors / judged
        return {
            "step": message.step,
            "test_error": self.test_error,
            "test_loss": finite_or_none(self.test_loss),
        }

    def _report(self, report: Report) -> dict[str, object]:
        before = self._newest(report.name)
        rate = _rate(report, before)
        if report.finished and report.training:
            rate = report.samples / report.training
        self.layers[report.name] = LayerStats(_keep_comparison(report, before), rate)
        if report.loss is not None:
            self.loss = report.loss
        self.rows[report.name] = row = _row(report, before, rate)
        return row

    @property
    def step(self) -> int:
        """The newest training batch from which the output layer has learnt."""
        return self._newest(self.pipeline.stages[-1]).step

    @property
    def samples_per_second(self) -> float:
        """Training samples per second through the output layer; evaluations do not count."""
        top = self._newest(self.pipeline.stages[-1])
        return top.samples / top.training if top.training else 0.0

    def _newest(self, name: str) -> Report:
        layer = self.layers.get(name)
        return layer.report if layer else Report(name)

    def summary(self, outcome: str, wall_seconds: float) -> dict[str, object]:
        """The statistics for summary.json."""
        return {
            "pipeline": self.pipeline.name,
            "rule": self.pipeline.rule,
            "steps": self.step,
            "outcome": outcome,
            "wall_seconds": wall_seconds,
            "samples_per_second": self.samples_per_second,
            "train_loss": finite_or_none(self.loss),
            "test_error": self.test_error,
            "test_loss": finite_or_none(self.test_loss),
            "layers": [_layer(self._newest(name)) for name in self.pipeline.stages[1:]],
        }


def _row(report: Report, before: Report, rate: float) -> dict[str, object]:
    """The line of metrics.jsonl for `report`, which follows the report `before`."""
    return {
        "layer": report.name,
        "step": report.step,
        "loss": finite_or_none(report.loss),
        **_counters(report),
        "samples_per_second": rate,
        "busy_fraction": busy_fraction(report),
        "staleness_p50": report.staleness_p50,
        "staleness_max": report.staleness_max,
        "synthetic_cosine": finite_or_none(report.synthetic_cosine),
        "norm_ratio": finite_or_none(report.norm_ratio),
        "queue": report.queue,
        "window": report.window,
        "links": _link_stats(report, before),
        "rss_mb": report.rss_mb,
    }


def _counters(report: Report) -> dict[str, object]:
    return {
        "updates": report.updates,
        "activations": report.activations,
        "gradients": report.gradients,
        "dropped_gradients": report.dropped_gradients,
        "inputs": report.inputs,
        "dropped_inputs": report.dropped_inputs,
        "unsent": report.unsent,
    }


def _keep_comparison(report: Report, before: Report) -> Report:
    """Keep the comparison with the true gradient of the previous report if `report` has none."""
    if report.synthetic_cosine is not None or report.norm_ratio is not None:
        return report
    return replace(report, synthetic_cosine=before.synthetic_cosine, norm_ratio=before.norm_ratio)


def _rate(report: Report, before: Report) -> float:
    seconds = report.elapsed - before.elapsed
    return (report.samples - before.samples) / seconds if seconds > 0 else 0.0


def _link_stats(report: Report, before: Report) -> dict[str, dict[str, float | None]]:
    """The window, the round trip in ms, and MB/s since the previous report, by neighbour."""
    found = {}
    seconds = report.elapsed - before.elapsed
    for neighbour, value in report.links.items():
        window, round_trip, sent = _link(value)
        rate = (sent - _link(before.links.get(neighbour))[2]) / seconds if seconds > 0 else 0.0
        found[neighbour] = {
            "window": window,
            "round_trip_ms": round_trip,
            "mb_per_second": finite_or_none(rate),
        }
    return found


def _link(value: object) -> tuple[int, float | None, float]:
    """Return window, round trip and sent bytes of a link; a malformed value becomes zeros."""
    match value:
        case [int(window), float() | None as round_trip, float(sent)]:
            return window, finite_or_none(round_trip), sent
        case _:
            return 0, None, 0.0


def busy_fraction(report: Report) -> float:
    """The fraction of its time that a stage was computing."""
    return report.busy / report.elapsed if report.elapsed else 0.0


def finite_or_none(number: float | None) -> float | None:
    """`number`, or None if JSON cannot represent it."""
    return number if number is not None and math.isfinite(number) else None


def _layer(report: Report) -> dict[str, object]:
    return {
        "name": report.name,
        **_counters(report),
        "busy_fraction": busy_fraction(report),
        "staleness_p50": report.staleness_p50,
        "staleness_max": report.staleness_max,
        "synthetic_cosine": finite_or_none(report.synthetic_cosine),
        "norm_ratio": finite_or_none(report.norm_ratio),
        "peak_rss_mb": report.peak_rss_mb,
    }
