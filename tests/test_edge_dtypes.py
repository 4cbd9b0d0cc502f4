"""The formats of edges: which edge has which, what each can hold, and mistakes in the keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from protocol import (
    Activation,
    DataConfig,
    Edge,
    Gradient,
    LayerConfig,
    Marker,
    NonFiniteError,
    Pipeline,
    SpecError,
    TrainConfig,
    from_dict,
    read_pipeline,
)
from protocol.codec import quantization
from protocol.dataset_info import DatasetInfo
from workers.tools.check import plan_layers
from workers.transport.edge_formats import EdgeFormats

every = pytest.mark.parametrize
LARGE: Final = np.array([[0, -65520]], np.float32)


def pipeline(**keys: object) -> Pipeline:
    layers = (LayerConfig(("linear 16",)), LayerConfig(("linear 16",)), LayerConfig(("linear 10",)))
    return replace(Pipeline(data=DataConfig(name="digits", batch=32), layer=layers), **keys)  # type: ignore[arg-type]


@every("message", [Activation(1, 1, True, LARGE, np.zeros(1)), Gradient(1, 1, LARGE)])
def test_a_number_that_float16_cannot_hold_is_refused(message: Activation | Gradient) -> None:
    edge = Edge("layer0", "layer1")
    with pytest.raises(NonFiniteError, match="layer0>layer1 leaves the range of float16"):
        EdgeFormats(pipeline(edge_dtype="float16")).format_of(edge, message)
    assert EdgeFormats(pipeline(edge_dtype="int8")).format_of(edge, message) == "int8"
    assert (
        EdgeFormats(pipeline(edge_dtype="float16", placement=((0, 1), (2,)))).format_of(
            edge, message
        )
        == "float32"
    )
    ignoring = pipeline(edge_dtype="float16", train=TrainConfig(on_nonfinite="ignore"))
    assert EdgeFormats(ignoring).format_of(edge, message) == "float16"


def test_numbers_that_float16_can_hold_pass() -> None:
    formats, edge = EdgeFormats(pipeline(edge_dtype="float16")), Edge("layer0", "layer1")
    largest = np.array([[65519, -65519]], np.float32)
    for array in (largest, np.zeros((0, 3), np.float32), LARGE.astype(np.int64)):
        assert formats.format_of(edge, Gradient(1, 1, array)) == "float16"
    assert np.isfinite(largest.astype(np.float16)).all()
    assert formats.format_of(edge, Marker("end", 1)) == "float16"


def test_an_edge_has_its_own_dtype_or_that_of_the_pipeline() -> None:
    made = pipeline(
        edge_dtype="float16", edge_dtypes={"layer0>layer1": "int8", "layer1>layer2": "float32"}
    )
    dtypes = {str(edge): made.dtype_on(edge) for edge in made.edges}
    assert dtypes.pop("layer0>layer1") == "int8"
    assert dtypes.pop("layer1>layer2") == "float32"
    assert set(dtypes.values()) == {"float16"}
    assert from_dict(Pipeline, made.as_dict()) == made
    assert hash(made)


def test_edges_within_a_worker_are_not_quantized() -> None:
    made = pipeline(
        edge_dtype="int8", edge_dtypes={"layer0>layer1": "int8"}, placement=((0, 1), (2,))
    )
    quantized = {str(edge) for edge in made.edges if made.dtype_on(edge) != quantization.FLOAT32}
    assert quantized == {"source>layer0", "layer0>source", "layer1>layer2", "layer2>layer1"}


FILE: Final = """\
edge_dtypes = { "layer1>layer0" = "float16" }
[data]
name = "digits"
[[layer]]
modules = ["linear 16"]
[[layer]]
modules = ["linear 10"]
"""


@every(
    ("override", "said"),
    [
        ("edge_dtype=int9", "edge_dtype: unknown value 'int9'; did you mean 'int8'?"),
        ("edge_dtype=8", "edge_dtype: a string is needed, not 8"),
        ("edge_dtypes=int8", "edge_dtypes: a table is needed, not 'int8'"),
        ("edge_dtypes.layer0>layer1=8", "edge_dtypes.layer0>layer1: a string is needed, not 8"),
        ("edge_dtypes.layer0>layer1=half", "edge_dtypes.layer0>layer1: unknown value 'half'"),
        (
            "edge_dtypes.layer0>layr1=int8",
            "edge_dtypes: there is no edge 'layer0>layr1'; did you mean 'layer0>layer1'?",
        ),
        (
            "edge_dtypes.layer1>layer2=int8",
            "edge_dtypes: there is no edge 'layer1>layer2'; did you mean",
        ),
        ("edge_dtypes.7=int8", "edge_dtypes: there is no edge '7'; known: source>layer0, "),
    ],
)
def test_a_mistake_in_the_keys_is_an_error_that_names_the_key(
    tmp_path: Path, override: str, said: str
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(FILE)
    with pytest.raises(SpecError) as error:
        read_pipeline(file, [override])
    assert said in str(error.value)


def test_an_override_adds_to_the_edges_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(FILE)
    made = read_pipeline(file, ["edge_dtypes.layer0>layer1=int8"])
    assert made.edge_dtypes == {"layer1>layer0": "float16", "layer0>layer1": "int8"}


@every("rule", ["cdni", "unlocked-cdni"])
def test_check_shows_the_bytes_that_travel(rule: str) -> None:
    info = DatasetInfo((8, 8), "|u1", 1 / 16, 10, True, 1437, 360)
    wide = plan_layers(pipeline(rule=rule), info)
    plans = plan_layers(
        pipeline(rule=rule, edge_dtype="int8", edge_dtypes={"layer2>layer1": "float16"}), info
    )
    labels, row = 32 * 8, 32 * 4
    assert [plan.up_bytes for plan in wide] == [n * 32 + labels for n in (64, 64, 64)]
    assert [plan.up_bytes for plan in plans] == [n * 32 + labels for n in (64, 20, 20)]
    assert [plan.down_bytes for plan in plans] == [0, 16 * 32 + row, 16 * 32 * 2]
    assert [plan.memory_mb for plan in plans] == [plan.memory_mb for plan in wide]
