"""Small data sets, and networks of one layer for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol import DataConfig, LayerConfig, Pipeline, SpecError, TrainConfig
from protocol.dataset_info import DatasetInfo
from tests.data_help import Array, arrays, saved
from workers.assembly.compatibility import layer_modules
from workers.data import Dataset, load

RNG = np.random.default_rng(5)
Y = np.arange(60) % 3


def loaded(folder: Path, x: Array | None = None, y: Array | None = None) -> Dataset:
    """A data set of `x` and `y`, of which the last third is the test set."""
    x = RNG.standard_normal((60, 4)) if x is None else x
    y = np.arange(60) % 3 if y is None else y
    return load(
        path=saved(folder, arrays(x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:]))
    )


def net(*modules: str, **train: Any) -> Pipeline:
    return Pipeline(
        data=DataConfig(path="x", batch=4),
        train=TrainConfig(**train),
        layer=(LayerConfig(modules),),
    )


def refused(pipeline: Pipeline, info: DatasetInfo) -> str:
    with pytest.raises(SpecError) as caught:
        layer_modules(pipeline, info)
    assert "\n" not in str(caught.value)
    return str(caught.value)
