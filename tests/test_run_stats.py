"""Reports are summed up; malformed values in them are replaced."""

from __future__ import annotations

import json

import pytest

from coordinator.observers.run_stats import RunStats
from protocol import DataConfig, LayerConfig, Pipeline, Report

PIPELINE = Pipeline(name="p", data=DataConfig(name="digits"), layer=(LayerConfig(("linear 10",)),))


def link_rows(*values: object) -> list[object]:
    """The link to layer1 in the metrics after reports with `values`, half a second apart."""
    stats = RunStats(PIPELINE)
    reports = [
        Report("layer0", elapsed=0.5 * n, links={"layer1": t}) for n, t in enumerate(values, 1)
    ]
    return [stats.add(report)["links"] for report in reports]


def test_rate_of_a_link_is_that_since_the_previous_report() -> None:
    assert link_rows((4, None, 1.0), (8, 20.5, 3.0)) == [
        {"layer1": {"window": 4, "round_trip_ms": None, "mb_per_second": 2.0}},
        {"layer1": {"window": 8, "round_trip_ms": 20.5, "mb_per_second": 4.0}},
    ]


@pytest.mark.parametrize(
    "value", [None, 1, "x", (), (1, 2), (1.5, 2.0, 3.0), (1, b"x", 2.0), {"a": 1}, (1, 2.0, "3")]
)
def test_malformed_value_of_a_link_becomes_zeros(value: object) -> None:
    nothing = {"layer1": {"window": 0, "round_trip_ms": None, "mb_per_second": 0.0}}
    assert link_rows(value) == [nothing]


def test_numbers_that_json_cannot_represent_become_null() -> None:
    nan, inf = float("nan"), float("inf")
    assert "NaN" not in json.dumps(link_rows((1, nan, inf), (1, 1.0, nan)))
    assert "Infinity" not in json.dumps(link_rows((1, inf, -inf)))
