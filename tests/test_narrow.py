"""Narrow arrays arrive as close as promised, and what is not finite never arrives as finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from protocol import (
    VERSION,
    Activation,
    Array,
    DataConfig,
    Edge,
    Gradient,
    LayerConfig,
    Mark,
    NonFiniteError,
    Pipeline,
    SpecError,
    TrainConfig,
    WireError,
    decode,
    encode,
    from_dict,
    read_pipeline,
)
from protocol.codec import quantization
from protocol.codec.float16 import BLOCK, floats, halves
from protocol.codec.layouts import INLINE
from protocol.dataset_info import DatasetInfo
from protocol.trace_format import array_bytes
from tests.examples import examples
from workers.nn import Floats
from workers.tools.check import plan_layers
from workers.transport.edge_formats import Widths
from workers.transport.shared_memory import Incoming, Outgoing

NARROW: Final = ("float16", "int8")
SHAPES: Final = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)
LAYOUTS: Final[list[Callable[[Floats], Floats]]] = [
    lambda a: a,
    lambda a: a.T,
    lambda a: a[::-1],
    lambda a: a[..., ::2],
    lambda a: a.astype(">f4"),
]
every = pytest.mark.parametrize


def numbers(most: float) -> st.SearchStrategy[Floats]:
    """Arrays of float32 of up to four axes, however they lie, empty ones too; wide and narrow."""
    each = st.floats(-most, most, width=32) | st.floats(-1, 1, width=32)
    whole = hnp.arrays(np.float32, SHAPES, elements=each)
    return st.builds(lambda array, layout: layout(array), whole, st.sampled_from(LAYOUTS))


def frames(array: Array, wire: str) -> list[bytes]:
    made = encode(Gradient(1, 1, array), None, wire)
    return [f if isinstance(f, bytes) else f.tobytes() for f in made]


def back(array: Array, wire: str) -> Floats:
    """`array` as it arrives on a way of the width `wire`."""
    message = decode(frames(array, wire))
    assert isinstance(message, Gradient)
    assert message.gradient.dtype == np.float32
    return cast(Floats, message.gradient)


def by_row(array: Floats) -> NDArray[np.float64]:
    return array.astype(np.float64).reshape(len(array), int(np.prod(array.shape[1:])))


# -- there and back


@examples(300)
@given(numbers(2.0**127))
def test_8_bits_are_off_by_half_a_scale_at_most(array: Floats) -> None:
    arrived = back(array, "int8")
    assert arrived.shape == array.shape
    sent = by_row(array)
    largest = np.abs(sent).max(axis=1, initial=0, keepdims=True)
    scale = largest / 127
    bound = np.where(scale < 2.0**-126, largest * (1 + 1e-6), scale / 2 + largest * 2.0**-22)
    assert (np.abs(by_row(arrived) - sent) <= bound).all()


@examples(300)
@given(numbers(65504))
def test_float16_is_off_by_half_its_last_bit_at_most(array: Floats) -> None:
    arrived = back(array, "float16")
    assert arrived.shape == array.shape
    sent = by_row(array)
    assert (np.abs(by_row(arrived) - sent) <= np.maximum(np.abs(sent) * 2.0**-11, 2.0**-25)).all()


def test_float16_is_numpys_to_the_bit() -> None:
    """All that there are, what lies half way between two, its neighbours, and any bits at all."""
    all_halves = np.arange(1 << 16, dtype=np.uint16)
    exact = all_halves.view(np.float16).astype(np.float32)
    assert floats(all_halves).tobytes() == exact.tobytes()
    finite = exact[np.isfinite(exact)]
    between = (finite[:-1] + finite[1:]) / 2
    around = [between * np.float32(1 - 2**-24), between * np.float32(1 + 2**-23)]
    anything = np.random.default_rng(0).integers(0, 1 << 32, 10**6, np.uint32).view(np.float32)
    sizes = np.abs(anything)
    samples: list[Floats] = [
        finite,
        between,
        *around,
        anything[sizes < 65520],
        anything[sizes > 60000],
    ]
    for sample in samples:
        with np.errstate(all="ignore"):
            expected = sample.astype(np.float16)
            found = halves(sample).view(np.float16)
        assert found.tobytes() == expected.tobytes()


@every("wire", NARROW)
@every("shape", [(0,), (0, 5), (3, 0), (4, 7), (2, 3, 3, 2), (700, 300)])
def test_zeros_and_nothing_arrive_as_they_are(wire: str, shape: tuple[int, ...]) -> None:
    arrived = back(np.zeros(shape, np.float32), wire)
    np.testing.assert_array_equal(arrived, np.zeros(shape))
    assert arrived.shape == shape
    assert not arrived.flags.writeable


def test_a_row_is_an_example_and_a_picture_has_one_scale() -> None:
    """However large the numbers of one example are, the others keep theirs."""
    array = np.random.default_rng(0).standard_normal((3, 40, 40, 64)).astype(np.float32)
    array[1] *= 1e6
    assert array.size > 2 * BLOCK
    off = by_row(back(array, "int8")) - by_row(array)
    scale = np.abs(by_row(array)).max(axis=1) / 127
    assert (np.abs(off).max(axis=1) <= scale * 0.50001).all()


def test_steps_are_rounded_to_the_nearest_and_the_even_one() -> None:
    array = np.array([[127, 0.4, 0.5, 1.5, -0.6, -127]], np.float32)
    np.testing.assert_array_equal(back(array, "int8"), [[127, 0, 0, 2, -1, -127]])


@every("wire", NARROW)
@every("dtype", ["|u1", "<i8", "<f8", "<f2"])
def test_no_other_dtype_is_narrowed(wire: str, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    assert frames(array, wire) == frames(array, quantization.FULL)
    number = np.array(0.1, np.float32)
    assert frames(number, wire) == frames(number, quantization.FULL)


@every("wire", NARROW)
def test_labels_are_not_narrowed(wire: str) -> None:
    targets = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    message = Activation(1, 1, True, targets, targets)
    arrived = decode([bytes(f) for f in encode(message, None, wire)])
    assert isinstance(arrived, Activation)
    np.testing.assert_array_equal(arrived.labels, targets)
    assert (arrived.x != targets).any()


@every("wire", quantization.WIRES)
@every("shape", [(4, 3), (64, 200), (0, 3)])
def test_what_is_counted_is_what_travels(wire: str, shape: tuple[int, ...]) -> None:
    message = Gradient(1, 1, np.ones(shape, np.float32))
    made = sum(map(len, frames(message.gradient, wire)))
    assert 0 <= made - array_bytes(message, wire) < 40
    labels = np.zeros(shape[0], np.int64)
    batch = Activation(1, 1, True, message.gradient, labels)
    assert array_bytes(batch, wire) == array_bytes(message, wire) + labels.nbytes


@every("wire", NARROW)
def test_a_shelf_holds_narrow_arrays_too(tmp_path: Path, wire: str) -> None:
    array = np.random.default_rng(0).standard_normal((64, 1000)).astype(np.float32)
    shelf, there = Outgoing(tmp_path / "shelf", 2), Incoming(tmp_path / "shelf")
    (header,) = encode(Gradient(1, 1, array), shelf, wire)
    assert len(header) < 50
    message = decode([bytes(header)], there)
    assert isinstance(message, Gradient)
    np.testing.assert_array_equal(message.gradient, back(array, wire))
    assert (tmp_path / "shelf").stat().st_size < array.nbytes * 1.1 / (2 if wire == "int8" else 1)


# -- what is not finite


@every("bad", [np.nan, np.inf, -np.inf])
def test_a_row_of_8_bits_that_is_not_finite_arrives_as_nan(bad: float) -> None:
    array = np.ones((3, 4), np.float32)
    array[1, 2] = bad
    arrived = back(array, "int8")
    assert np.isnan(arrived[1]).all()
    np.testing.assert_allclose(arrived[[0, 2]], 1, rtol=1e-6)


@every("bad", [np.nan, np.inf, -np.inf, 65520.0, -1e30])
def test_float16_keeps_what_is_not_finite_and_does_not_clip(bad: float) -> None:
    array = np.array([[1, bad]], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(back(array, "float16"), array.astype(np.float16))


LARGE: Final = np.array([[0, -65520]], np.float32)


def pipeline(**keys: object) -> Pipeline:
    layers = (LayerConfig(("linear 16",)), LayerConfig(("linear 16",)), LayerConfig(("linear 10",)))
    return replace(Pipeline(data=DataConfig(name="digits", batch=32), layer=layers), **keys)  # type: ignore[arg-type]


@every("message", [Activation(1, 1, True, LARGE, np.zeros(1)), Gradient(1, 1, LARGE)])
def test_what_float16_cannot_hold_ends_the_run(message: Activation | Gradient) -> None:
    edge = Edge("layer0", "layer1")
    with pytest.raises(NonFiniteError, match="layer0>layer1 leaves the range of float16"):
        Widths(pipeline(edge_dtype="float16")).width(edge, message)
    assert Widths(pipeline(edge_dtype="int8")).width(edge, message) == "int8"
    assert (
        Widths(pipeline(edge_dtype="float16", placement=((0, 1), (2,)))).width(edge, message)
        == "float32"
    )
    ignoring = pipeline(edge_dtype="float16", train=TrainConfig(on_nonfinite="ignore"))
    assert Widths(ignoring).width(edge, message) == "float16"


def test_what_float16_can_hold_passes() -> None:
    widths, edge = Widths(pipeline(edge_dtype="float16")), Edge("layer0", "layer1")
    largest = np.array([[65519, -65519]], np.float32)
    for array in (largest, np.zeros((0, 3), np.float32), LARGE.astype(np.int64)):
        assert widths.width(edge, Gradient(1, 1, array)) == "float16"
    assert np.isfinite(back(largest, "float16").astype(np.float32)).all()
    assert widths.width(edge, Mark("end", 1)) == "float16"


# -- foreign bytes


def described(form: object, shape: list[int], data: object, *more: bytes) -> list[bytes]:
    return [msgpack.packb([VERSION, 2, [1, 1], [[form, shape, data]]]), *more]


@every(
    ("form", "shape", "size"),
    [
        *[(quantization.I1, [2, 3], size) for size in (0, 6, 7, 10, 13, 15, 30)],
        *[(quantization.F2, [2, 3], size) for size in (0, 6, 11, 13, 24)],
        *[(quantization.I1, [], size) for size in (0, 1, 4, 5)],
        *[(form, [1 << 62, 1 << 62], 8) for form in quantization.SIZES],
        *[(form, [1 << 40, 0], 8) for form in quantization.SIZES],
        *[(form, [-1, -3], 8) for form in quantization.SIZES],
        *[(form, [1] * 9, 8) for form in quantization.SIZES],
        *[(form, [1], 4) for form in ("<f4:", "<f4:f4", "<f4:i2", ":i1", "<f8:i1", "<F4:f2")],
    ],
)
def test_a_narrow_array_of_another_length_is_refused(
    form: str, shape: list[int], size: int
) -> None:
    for message in (described(form, shape, bytes(size)), described(form, shape, None, bytes(size))):
        with pytest.raises(WireError):
            decode(message)


@examples(300)
@given(
    st.sampled_from(list(quantization.SIZES)),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.data(),
)
def test_any_bytes_of_the_right_length_are_an_array(
    form: str, shape: list[int], data: st.DataObject
) -> None:
    number, row = quantization.SIZES[form]
    size = number * int(np.prod(shape)) + row * shape[0]
    message = decode(described(form, shape, data.draw(st.binary(min_size=size, max_size=size))))
    assert isinstance(message, Gradient)
    assert message.gradient.dtype == np.float32
    assert message.gradient.shape == tuple(shape)


@every("wire", NARROW)
def test_a_large_one_is_a_frame_and_a_small_one_lies_in_the_header(wire: str) -> None:
    assert len(frames(np.zeros((8, INLINE // 8 + 1), np.float32), wire)) == 2
    assert len(frames(np.zeros((8, INLINE // 32), np.float32), wire)) == 1


# -- the keys


def test_an_edge_has_its_own_width_or_that_of_the_pipeline() -> None:
    made = pipeline(
        edge_dtype="float16", edge_dtypes={"layer0>layer1": "int8", "layer1>layer2": "float32"}
    )
    widths = {str(edge): made.dtype_on(edge) for edge in made.edges}
    assert widths.pop("layer0>layer1") == "int8"
    assert widths.pop("layer1>layer2") == "float32"
    assert set(widths.values()) == {"float16"}
    assert from_dict(Pipeline, made.as_dict()) == made
    assert hash(made)


def test_within_a_worker_nothing_is_narrowed() -> None:
    made = pipeline(
        edge_dtype="int8", edge_dtypes={"layer0>layer1": "int8"}, placement=((0, 1), (2,))
    )
    narrowed = {str(edge) for edge in made.edges if made.dtype_on(edge) != quantization.FULL}
    assert narrowed == {"source>layer0", "layer0>source", "layer1>layer2", "layer2>layer1"}


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
def test_a_mistake_in_the_keys_is_said(tmp_path: Path, override: str, said: str) -> None:
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
