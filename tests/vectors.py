"""The test vectors in docs/vectors.json, for the tests of the codec and of docs/protocol.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple, get_type_hints

import numpy as np
import pytest

from protocol import Array, Message, WireError, decode
from protocol.codec.schema import KINDS

DOCS: Final = Path(__file__).parents[1] / "docs"
VECTORS: Final = json.loads((DOCS / "vectors.json").read_text("utf-8"))
CLASSES: Final = {kind.__name__: kind for kind in KINDS.values()}

Vector = dict[str, Any]


def each_vector(*groups: str) -> pytest.MarkDecorator:
    """A parameter `vector` for each vector of `groups`, under its name."""
    vectors = [vector for group in groups for vector in VECTORS[group]]
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


def frame(written: Any) -> bytes:
    """A frame from hex digits, a repetition of them, or a list of such parts."""
    if isinstance(written, list):
        return b"".join(map(frame, written))
    if isinstance(written, dict):
        return frame(written["repeat"]) * int(written["times"])
    return bytes.fromhex(written)


def frames(vector: Vector) -> list[bytes]:
    """The frames of a vector."""
    return [frame(written) for written in vector["frames"]]


def array(written: Vector) -> Array:
    """An array from dtype, shape and values."""
    values = np.array(written["values"], written["dtype"])
    return np.resize(values, written["shape"])


def value(hint: object, written: Any) -> object:
    """The value of a field with this type."""
    if hint == Array:
        return array(written)
    if hint == tuple[Array, ...]:
        return tuple(map(array, written))
    if isinstance(written, list):
        return tuple(value(object, item) for item in written)
    if isinstance(written, dict):
        return {key: value(object, item) for key, item in written.items()}
    return float(written) if hint is float else written


def message(vector: Vector) -> Message:
    """The message whose fields the vector lists."""
    kind = CLASSES[vector["message"]]
    hints = get_type_hints(kind)
    assert list(vector["fields"]) == list(hints)
    named: dict[str, Any] = {n: value(hints[n], v) for n, v in vector["fields"].items()}
    return kind(**named)


class OneArray(NamedTuple):
    """Shared memory in which array 0 of a vector lies at its offset."""

    offset: int
    content: list[bytes]

    def place(self, array: Array) -> int:
        """Keep the bytes of `array`."""
        self.content.append(array.tobytes())
        return self.offset

    def view(self, start: int, size: int) -> memoryview:
        """The bytes at `start`. Raises WireError if the array does not lie there."""
        (kept,) = self.content
        if (start, size) != (self.offset, len(kept)):
            raise WireError("not in the shared memory")
        return memoryview(kept)


def memory(vector: Vector) -> OneArray | None:
    """The shared memory that `vector` needs, with nothing in it yet."""
    return OneArray(vector["offset"], []) if "offset" in vector else None


def received(vector: Vector) -> Message:
    """The message to which frames and shared memory of a vector decode."""
    shared = memory(vector)
    if shared is None:
        return decode(frames(vector))
    arrays = (value for value in vector["fields"].values() if isinstance(value, dict))
    shared.place(array(next(arrays)))
    return decode(frames(vector), shared.view)
