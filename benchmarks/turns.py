"""Two ways of doing the same, measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence


def compare(first: str, second: str, rounds: int, rate: Callable[[str], float]) -> None:
    """Measure both so often, each round the other way round, and print the first's share.

    `rate` gives samples/s. After each round its ratio is printed, and at the end of all the mean,
    its standard error and the median.
    """
    ratios = []
    for number in range(rounds):
        order = (first, second) if number % 2 else (second, first)
        rates = {kind: rate(kind) for kind in order}
        ratios.append(rates[first] / rates[second])
        said = ", ".join(f"{kind} {rates[kind]:,.0f}" for kind in (first, second))
        print(f"{said} samples/s: {ratios[-1]:.3f}", flush=True)
    conclude(first, second, ratios)


def conclude(first: str, second: str, ratios: Sequence[float]) -> None:
    """Print the mean of `ratios`, its standard error and the median."""
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    mean, median = statistics.mean(ratios), statistics.median(ratios)
    print(f"{first}/{second}: mean {mean:.3f} ± {spread:.3f}, median {median:.3f}")
