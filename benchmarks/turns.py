"""Two candidates, measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence


def measure_in_turn(first: str, second: str, rounds: int, rate: Callable[[str], float]) -> None:
    """Measure both in `rounds`, in alternating order, and print the ratios of first to second.

    `rate` returns samples/s of one of the two. The end of the output has the mean of the ratios,
    its standard error and the median.
    """
    ratios = []
    for number in range(rounds):
        order = (first, second) if number % 2 else (second, first)
        rates = {kind: rate(kind) for kind in order}
        ratios.append(rates[first] / rates[second])
        rate_text = ", ".join(f"{kind} {rates[kind]:,.0f}" for kind in (first, second))
        print(f"{rate_text} samples/s: {ratios[-1]:.3f}", flush=True)
    conclude(first, second, ratios)


def conclude(first: str, second: str, ratios: Sequence[float]) -> None:
    """Print the mean of `ratios`, its standard error and the median."""
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    mean, median = statistics.mean(ratios), statistics.median(ratios)
    print(f"{first}/{second}: mean {mean:.3f} ± {spread:.3f}, median {median:.3f}")
