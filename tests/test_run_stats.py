"""What workers say of themselves is summed up, and nonsense in it does no harm."""

from __future__ import annotations

import json

import pytest

from coordinator.observers.run_stats import RunStats
from protocol import DataConfig, LayerConfig, Pipeline, Report

PIPELINE = Pipeline(name="p", data=DataConfig(name="digits"), layer=(LayerConfig(("linear 10",)),))


def ways(*told: object) -> list[object]:
    """What is kept of such words about the way to layer1, half a second apart."""
    stats = RunStats(PIPELINE)
    reports = [Report("layer0", elapsed=0.5 * n, ways={"layer1": t}) for n, t in enumerate(told, 1)]
    return [stats.add(report)["links"] for report in reports]


def test_the_rate_of_a_way_is_that_since_the_report_before() -> None:
    assert ways((4, None, 1.0), (8, 20.5, 3.0)) == [
        {"layer1": {"window": 4, "round_trip_ms": None, "mb_per_second": 2.0}},
        {"layer1": {"window": 8, "round_trip_ms": 20.5, "mb_per_second": 4.0}},
    ]


@pytest.mark.parametrize(
    "told", [None, 1, "x", (), (1, 2), (1.5, 2.0, 3.0), (1, b"x", 2.0), {"a": 1}, (1, 2.0, "3")]
)
def test_what_is_no_word_about_a_way_is_nothing(told: object) -> None:
    nothing = {"layer1": {"window": 0, "round_trip_ms": None, "mb_per_second": 0.0}}
    assert ways(told) == [nothing]


def test_numbers_that_json_cannot_write_are_left_out() -> None:
    assert "NaN" not in json.dumps(ways((1, float("nan"), float("inf")), (1, 1.0, float("nan"))))
    assert "Infinity" not in json.dumps(ways((1, float("inf"), float("-inf"))))
