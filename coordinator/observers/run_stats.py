"""What is known of a run while it goes on: the newest word of each worker, and the sums of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from protocol import Evaluated, Pipeline, Report


@dataclass(frozen=True, slots=True)
class LayerView:
    """The newest report of a worker, and its rate in samples/s since the report before.

    In the last report it is the rate of the whole training.
    """

    report: Report
    rate: float


@dataclass(slots=True)
class Tally:
    """Reports and evaluations, added up. Times are seconds since the run began."""

    pipeline: Pipeline
    layers: dict[str, LayerView] = field(default_factory=dict)
    loss: float | None = None
    test_loss: float | None = None
    test_error: float | None = None

    def add(self, message: Report | Evaluated) -> dict[str, object]:
        """Take one message in; returns what of it is worth keeping."""
        if isinstance(message, Evaluated):
            judged = max(message.judged, 1)
            self.test_loss = message.loss / judged
            self.test_error = 100 * message.errors / judged
            return {
                "step": message.step,
                "test_error": self.test_error,
                "test_loss": finite(self.test_loss),
            }
        before = self.layers.get(message.name)
        line = message
        if before is not None:
            message = _with_last_comparison(message, before.report)
        rate = _rate(message, before.report if before else Report(message.name))
        if message.finished and message.training:
            rate = message.samples / message.training
        self.layers[message.name] = LayerView(message, rate)
        if message.loss is not None:
            self.loss = message.loss
        return {
            "layer": message.name,
            "step": message.step,
            "loss": finite(message.loss),
            "updates": message.updates,
            "activations": message.activations,
            "gradients": message.gradients,
            "dropped_gradients": message.dropped_gradients,
            "inputs": message.inputs,
            "dropped_inputs": message.dropped_inputs,
            "unsent": message.unsent,
            "samples_per_second": rate,
            "busy_fraction": busy(message),
            "staleness_p50": message.staleness_p50,
            "staleness_max": message.staleness_max,
            "synthetic_cosine": finite(line.synthetic_cosine),
            "norm_ratio": finite(line.norm_ratio),
            "queue": message.queue,
            "window": message.window,
            "ways": _ways(message, before.report if before else Report(message.name)),
            "rss_mb": message.rss_mb,
        }

    @property
    def step(self) -> int:
        """The newest training batch that the top layer has learnt from."""
        return self._report(self.pipeline.cores[-1]).step

    @property
    def samples_per_second(self) -> float:
        """Training samples through the top layer a second, evaluations left out at the end."""
        top = self._report(self.pipeline.cores[-1])
        return top.samples / top.training if top.training else 0.0

    def _report(self, name: str) -> Report:
        view = self.layers.get(name)
        return view.report if view else Report(name)

    def summary(self, outcome: str, wall_seconds: float) -> dict[str, object]:
        """The contents of summary.json."""
        return {
            "pipeline": self.pipeline.name,
            "rule": self.pipeline.rule,
            "steps": self.step,
            "outcome": outcome,
            "wall_seconds": wall_seconds,
            "samples_per_second": self.samples_per_second,
            "train_loss": finite(self.loss),
            "test_error": self.test_error,
            "test_loss": finite(self.test_loss),
            "layers": [_layer(self._report(name)) for name in self.pipeline.cores[1:]],
        }


def _with_last_comparison(report: Report, before: Report) -> Report:
    """`report`, where no gradient came since the one before, with the comparison of that one."""
    if report.synthetic_cosine is not None or report.norm_ratio is not None:
        return report
    return replace(report, synthetic_cosine=before.synthetic_cosine, norm_ratio=before.norm_ratio)


def _rate(report: Report, before: Report) -> float:
    seconds = report.elapsed - before.elapsed
    return (report.samples - before.samples) / seconds if seconds > 0 else 0.0


def _ways(report: Report, before: Report) -> dict[str, dict[str, float | None]]:
    """By neighbour: the window, the round trip in ms, and MB/s since the report before."""
    found = {}
    seconds = report.elapsed - before.elapsed
    for neighbour, told in report.ways.items():
        window, took, sent = _way(told)
        rate = (sent - _way(before.ways.get(neighbour))[2]) / seconds if seconds > 0 else 0.0
        found[neighbour] = {"window": window, "round_trip_ms": took, "mb_per_second": finite(rate)}
    return found


def _way(told: object) -> tuple[int, float | None, float]:
    """Of what a worker said of a way, what makes sense."""
    match told:
        case [int(window), float() | None as took, float(sent)]:
            return window, finite(took), sent
        case _:
            return 0, None, 0.0


def busy(report: Report) -> float:
    """The share of its time that a worker was at work."""
    return report.busy / report.elapsed if report.elapsed else 0.0


def finite(number: float | None) -> float | None:
    """`number`, or None where JSON has no way to write it."""
    return number if number is not None and math.isfinite(number) else None


def _layer(report: Report) -> dict[str, object]:
    return {
        "name": report.name,
        "updates": report.updates,
        "activations": report.activations,
        "gradients": report.gradients,
        "dropped_gradients": report.dropped_gradients,
        "inputs": report.inputs,
        "dropped_inputs": report.dropped_inputs,
        "unsent": report.unsent,
        "busy_fraction": busy(report),
        "staleness_p50": report.staleness_p50,
        "staleness_max": report.staleness_max,
        "synthetic_cosine": finite(report.synthetic_cosine),
        "norm_ratio": finite(report.norm_ratio),
        "peak_rss_mb": report.peak_rss_mb,
    }
