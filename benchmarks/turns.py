"""Two candidates, measured in turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from benchmarks.record import Figure, mean, median
from benchmarks.table import show


def measure_in_turn(
    first: str, second: str, rounds: int, rate: Callable[[str], float]
) -> list[Figure]:
    """Measure both in `rounds`, in alternating order; return the figures of first / second.

    `rate` returns samples/s of one of the two. Prints each round, and the figures at the end.
    """
    ratios = []
    for order in itertools.islice(itertools.cycle([(second, first), (first, second)]), rounds):
        rates = {kind: rate(kind) for kind in order}
        ratios.append(rates[first] / rates[second])
        rate_text = ", ".join(f"{kind} {rates[kind]:,.0f}" for kind in (first, second))
        print(f"{rate_text} samples/s: {ratios[-1]:.3f}", flush=True)
    return conclude(first, second, ratios)


def conclude(first: str, second: str, ratios: Sequence[float], target: str = "") -> list[Figure]:
    """Print and return the mean of `ratios`, with its standard error, and the median."""
    name = f"{first} / {second}"
    figures = [
        mean(f"{name}: mean", ratios, target=target),
        median(f"{name}: median", ratios),
    ]
    show(figures)
    return figures
