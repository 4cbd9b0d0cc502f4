"""docs/protocol.md lists every key of a pipeline, with its type, default and choices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, cast, get_type_hints

import pytest

from protocol import Pipeline, config, pipeline
from protocol.codec.quantization import EDGE_DTYPES
from tests.protocol_page import table

every = pytest.mark.parametrize


def pipeline_keys(cls: type[Any] = Pipeline, prefix: str = "") -> Iterator[list[str]]:
    """Key, type and default of each key of a pipeline, as the page writes them."""
    hints = get_type_hints(cls)
    for f in fields(cls):
        hint, key = hints[f.name], prefix + f.name
        if is_dataclass(hint):
            yield from pipeline_keys(cast(type[Any], hint), f"{key}.")
        elif hint == tuple[config.LayerConfig, ...]:
            yield from pipeline_keys(config.LayerConfig, f"{key}[].")
        else:
            type_name = str(hint)
            while "tuple" in type_name:
                type_name = re.sub(r"tuple\[([\w ]+), \.\.\.\]", r"list of \1", type_name)
            type_name = re.sub(r"<class '(\w+)'>", r"\1", type_name).replace(" | None", " or none")
            type_name = type_name.replace("dict[str, str]", "map of str")
            value = f.default_factory() if f.default_factory is not MISSING else f.default
            default = "none" if value is None else json.dumps(value, default=repr)
            yield [key, type_name, "required" if value is MISSING else default]


def test_the_keys_of_a_pipeline_are_on_the_page() -> None:
    assert table("Pipeline") == list(pipeline_keys())


@every(
    "key",
    [
        *("rule", "train.optimizer", "train.schedule", "train.loss", "train.on_nonfinite"),
        *("trace.mode", "edge_dtype"),
    ],
)
def test_the_choices_of_a_key_are_on_the_page(key: str) -> None:
    choices = {
        "rule": pipeline.RULES,
        "train.optimizer": config.OPTIMIZERS,
        "train.schedule": config.SCHEDULES,
        "train.loss": config.LOSSES,
        "train.on_nonfinite": config.ON_NONFINITE,
        "trace.mode": config.TRACES,
        "edge_dtype": EDGE_DTYPES,
    }
    assert dict(table("Pipeline", 1))[key] == ", ".join(choices[key])
