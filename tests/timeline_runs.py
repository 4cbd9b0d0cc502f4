"""Runs whose timelines are tested."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig
from tests.traced import shared_run

NAME: Final = "<script>alert(1)&\"'"
RULES: Final = ("backprop", "cdni", "unlocked-cdni")
HIDDEN: Final = LayerConfig(("linear 8", "relu"))


def timeline_run(factory: pytest.TempPathFactory, rule: str) -> Path:
    """The folder of a run with `rule`; it must not be changed."""
    pipeline = Pipeline(
        name=NAME,
        rule=rule,
        data=DataConfig(name="digits", batch=32),
        train=TrainConfig(steps=60, eval_every=30, threads=1),
        layer=(HIDDEN, HIDDEN, LayerConfig(("linear 10",))),
    )
    return shared_run(factory, pipeline)
