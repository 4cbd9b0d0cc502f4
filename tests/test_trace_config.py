"""A mistake in the keys of tracing is reported with the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocol import SpecError, read_pipeline
from protocol.config import TRACES
from tests.dni import TINY


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("trace.mode=rong", ["trace.mode", "'rong'", "did you mean 'ring'?"]),
        ("trace.mode=1", ["trace.mode", "1"]),
        ("trace.megabytes=0", ["trace.megabytes", "less than 1"]),
        ("trace.megabytes=-5", ["trace.megabytes", "less than 1"]),
        ("trace.megabytes=1.5", ["trace.megabytes", "whole number"]),
        ("trace.megabytes=10000000000000", ["trace.megabytes", "more than"]),
        ("trace.megabyte=1", ["trace.megabyte", "did you mean 'trace.megabytes'?"]),
        ("trace.layers=[3]", ["trace.layers", "no layer 3"]),
        ("trace.layers=[-1]", ["trace.layers", "less than 0"]),
        ("trace.layers=2", ["trace.layers"]),
        ('trace.layers=["a"]', ["trace.layers"]),
        ("trace.batches=[5, 3]", ["trace.batches", "[5, 3]", "[first, last]"]),
        ("trace.batches=[0, 3]", ["trace.batches", "[first, last]"]),
        ("trace.batches=[1]", ["trace.batches", "[first, last]"]),
        ("trace.batches=[1, 2, 3]", ["trace.batches", "[first, last]"]),
        ("trace=5", ["trace"]),
    ],
)
def test_mistake_is_reported_with_its_key(tmp_path: Path, override: str, texts: list[str]) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, "utf-8")
    with pytest.raises(SpecError) as caught:
        read_pipeline(path, [override])
    assert "\n" not in str(caught.value)
    for text in texts:
        assert re.search(re.escape(text), str(caught.value))


@pytest.mark.parametrize("mode", TRACES)
def test_every_mode_is_accepted(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, "utf-8")
    overrides = [f"trace.mode={mode}", "trace.layers=[0, 2]", "trace.batches=[5, 9]"]
    read = read_pipeline(path, overrides)
    assert (read.trace.mode, read.trace.layers, read.trace.batches) == (mode, (0, 2), (5, 9))
    assert read.as_dict()["trace"] == {
        "mode": mode,
        "megabytes": 8,
        "layers": [0, 2],
        "batches": [5, 9],
    }
