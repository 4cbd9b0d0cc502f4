"""Quantized arrays arrive within the documented error; no number that is not finite gets finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

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
    Gradient,
    WireError,
    decode,
    encode,
)
from protocol.codec import quantization
from protocol.codec.binary_header import FORMATS, IN_FRAME, INSIDE, MAGIC
from protocol.codec.float16 import BLOCK, from_float16, to_float16
from protocol.codec.limits import INLINE
from protocol.trace_format import array_bytes
from tests.examples import examples
from workers.nn import Floats
from workers.transport.shared_memory import RingReader, RingWriter

QUANTIZED: Final = ("float16", "int8")
SHAPES: Final = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)
MEMORY_ORDERS: Final[list[Callable[[Floats], Floats]]] = [
    lambda a: a,
    lambda a: a.T,
    lambda a: a[::-1],
    lambda a: a[..., ::2],
    lambda a: a.astype(">f4"),
]
every = pytest.mark.parametrize


def numbers(most: float) -> st.SearchStrategy[Floats]:
    """Arrays of float32 of up to four axes in any memory order, with large and small numbers."""
    each = st.floats(-most, most, width=32) | st.floats(-1, 1, width=32)
    whole = hnp.arrays(np.float32, SHAPES, elements=each)
    return st.builds(lambda array, layout: layout(array), whole, st.sampled_from(MEMORY_ORDERS))


def frames(array: Array, edge_dtype: str) -> list[bytes]:
    made = encode(Gradient(1, 1, array), None, edge_dtype)
    return [f if isinstance(f, bytes) else f.tobytes() for f in made]


def back(array: Array, edge_dtype: str) -> Floats:
    """`array` as it arrives on an edge with this format."""
    message = decode(frames(array, edge_dtype))
    assert isinstance(message, Gradient)
    assert message.gradient.dtype == np.float32
    return cast(Floats, message.gradient)


def by_row(array: Floats) -> NDArray[np.float64]:
    return array.astype(np.float64).reshape(len(array), int(np.prod(array.shape[1:])))


# -- there and back


@examples(300)
@given(numbers(2.0**127))
def test_int8_is_off_by_at_most_half_the_scale_of_the_row(array: Floats) -> None:
    arrived = back(array, "int8")
    assert arrived.shape == array.shape
    sent = by_row(array)
    largest = np.abs(sent).max(axis=1, initial=0, keepdims=True)
    scale = largest / 127
    bound = np.where(scale < 2.0**-126, largest * (1 + 1e-6), scale / 2 + largest * 2.0**-22)
    assert (np.abs(by_row(arrived) - sent) <= bound).all()


@examples(300)
@given(numbers(65504))
def test_float16_is_off_by_at_most_half_its_last_bit(array: Floats) -> None:
    arrived = back(array, "float16")
    assert arrived.shape == array.shape
    sent = by_row(array)
    assert (np.abs(by_row(arrived) - sent) <= np.maximum(np.abs(sent) * 2.0**-11, 2.0**-25)).all()


def test_float16_has_the_same_bits_as_numpys() -> None:
    """All float16, the numbers half way between two, their neighbours, and random bits."""
    all_bits = np.arange(1 << 16, dtype=np.uint16)
    exact = all_bits.view(np.float16).astype(np.float32)
    assert from_float16(all_bits).tobytes() == exact.tobytes()
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
            found = to_float16(sample).view(np.float16)
        assert found.tobytes() == expected.tobytes()


@every("edge_dtype", QUANTIZED)
@every("shape", [(0,), (0, 5), (3, 0), (4, 7), (2, 3, 3, 2), (700, 300)])
def test_zeros_and_empty_arrays_are_exact(edge_dtype: str, shape: tuple[int, ...]) -> None:
    arrived = back(np.zeros(shape, np.float32), edge_dtype)
    np.testing.assert_array_equal(arrived, np.zeros(shape))
    assert arrived.shape == shape
    assert not arrived.flags.writeable


def test_each_example_has_its_own_scale() -> None:
    """Large numbers in one example do not cost the others their precision."""
    array = np.random.default_rng(0).standard_normal((3, 40, 40, 64)).astype(np.float32)
    array[1] *= 1e6
    assert array.size > 2 * BLOCK
    off = by_row(back(array, "int8")) - by_row(array)
    scale = np.abs(by_row(array)).max(axis=1) / 127
    assert (np.abs(off).max(axis=1) <= scale * 0.50001).all()


def test_int8_steps_are_rounded_half_to_even() -> None:
    array = np.array([[127, 0.4, 0.5, 1.5, -0.6, -127]], np.float32)
    np.testing.assert_array_equal(back(array, "int8"), [[127, 0, 0, 2, -1, -127]])


@every("edge_dtype", QUANTIZED)
@every("dtype", ["|u1", "<i8", "<f8", "<f2"])
def test_only_float32_arrays_with_dimensions_are_quantized(edge_dtype: str, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    assert frames(array, edge_dtype) == frames(array, quantization.FLOAT32)
    number = np.array(0.1, np.float32)
    assert frames(number, edge_dtype) == frames(number, quantization.FLOAT32)


@every("edge_dtype", QUANTIZED)
def test_labels_are_not_quantized(edge_dtype: str) -> None:
    targets = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    message = Activation(1, 1, True, targets, targets)
    arrived = decode([bytes(f) for f in encode(message, None, edge_dtype)])
    assert isinstance(arrived, Activation)
    np.testing.assert_array_equal(arrived.labels, targets)
    assert (arrived.x != targets).any()


@every("edge_dtype", quantization.EDGE_DTYPES)
@every("shape", [(4, 3), (64, 200), (0, 3)])
def test_counted_bytes_are_those_that_travel(edge_dtype: str, shape: tuple[int, ...]) -> None:
    message = Gradient(1, 1, np.ones(shape, np.float32))
    made = sum(map(len, frames(message.gradient, edge_dtype)))
    assert 0 <= made - array_bytes(message, edge_dtype) <= 48
    labels = np.zeros(shape[0], np.int64)
    batch = Activation(1, 1, True, message.gradient, labels)
    assert array_bytes(batch, edge_dtype) == array_bytes(message, edge_dtype) + labels.nbytes


@every("edge_dtype", QUANTIZED)
def test_quantized_arrays_go_through_shared_memory(tmp_path: Path, edge_dtype: str) -> None:
    array = np.random.default_rng(0).standard_normal((64, 1000)).astype(np.float32)
    ring, reader = RingWriter(tmp_path / "ring", 2), RingReader(tmp_path / "ring")
    (frame,) = encode(Gradient(1, 1, array), ring.write, edge_dtype)
    assert len(frame) == 48
    message = decode([bytes(frame)], reader.view)
    assert isinstance(message, Gradient)
    np.testing.assert_array_equal(message.gradient, back(array, edge_dtype))
    assert (tmp_path / "ring").stat().st_size < array.nbytes * 1.1 / (
        2 if edge_dtype == "int8" else 1
    )


# -- what is not finite


@every("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_arrives_as_nan_in_int8(bad: float) -> None:
    array = np.ones((3, 4), np.float32)
    array[1, 2] = bad
    arrived = back(array, "int8")
    assert np.isnan(arrived[1]).all()
    np.testing.assert_allclose(arrived[[0, 2]], 1, rtol=1e-6)


@every("bad", [np.nan, np.inf, -np.inf, 65520.0, -1e30])
def test_float16_keeps_numbers_that_are_not_finite(bad: float) -> None:
    array = np.array([[1, bad]], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(back(array, "float16"), array.astype(np.float16))


# -- foreign bytes


def header(edge_dtype: str, location: int, shape: list[int], inside: bytes = b"") -> bytes:
    """The header of a Gradient whose array is in the format `edge_dtype`."""
    codes = bytes([FORMATS[edge_dtype] | location, len(shape), 0, 0])
    dimensions = b"".join(n.to_bytes(4, "little") for n in shape)
    numbers = (1).to_bytes(8, "little") * 2 + bytes(8)
    padding = bytes(-len(dimensions) % 16)
    return bytes([MAGIC, VERSION, 2, 0]) + codes + numbers + dimensions + padding + inside


def both_ways(edge_dtype: str, shape: list[int], data: bytes) -> list[list[bytes]]:
    """The frames of a message with `data` inside its header, and with `data` in a frame."""
    inside = header(edge_dtype, INSIDE, shape, data)
    return [[inside], [header(edge_dtype, IN_FRAME, shape), data]]


@every(
    ("edge_dtype", "shape", "size"),
    [
        *[("int8", [2, 3], size) for size in (0, 6, 7, 10, 13, 15, 30)],
        *[("float16", [2, 3], size) for size in (0, 6, 11, 13, 24)],
        *[("int8", [], size) for size in (0, 1, 4, 5)],
        *[(edge_dtype, [1 << 31, 1 << 31], 8) for edge_dtype in QUANTIZED],
        *[(edge_dtype, [1 << 31, 0], 8) for edge_dtype in QUANTIZED],
        *[(edge_dtype, [1] * 9, 8) for edge_dtype in QUANTIZED],
    ],
)
def test_a_quantized_array_of_another_length_is_refused(
    edge_dtype: str, shape: list[int], size: int
) -> None:
    for frames in both_ways(edge_dtype, shape, bytes(size)):
        with pytest.raises(WireError):
            decode(frames)


def test_a_single_number_in_float16_is_an_array_without_dimensions() -> None:
    for frames in both_ways("float16", [], np.float16(0.5).tobytes()):
        message = decode(frames)
        assert isinstance(message, Gradient)
        assert message.gradient.shape == ()
        assert message.gradient == 0.5
        assert not message.gradient.flags.writeable


@examples(300)
@given(
    st.sampled_from(QUANTIZED),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.data(),
)
def test_any_bytes_of_the_right_length_are_an_array(
    edge_dtype: str, shape: list[int], data: st.DataObject
) -> None:
    size = quantization.encoded_size(shape, np.dtype(np.float32), edge_dtype)
    content = data.draw(st.binary(min_size=size, max_size=size))
    for frames in both_ways(edge_dtype, shape, content):
        message = decode(frames)
        assert isinstance(message, Gradient)
        assert message.gradient.dtype == np.float32
        assert message.gradient.shape == tuple(shape)


@every("edge_dtype", QUANTIZED)
def test_a_large_quantized_array_is_a_frame_and_a_small_one_lies_inside(edge_dtype: str) -> None:
    assert len(frames(np.zeros((8, INLINE // 8 + 1), np.float32), edge_dtype)) == 2
    assert len(frames(np.zeros((8, INLINE // 32), np.float32), edge_dtype)) == 1
