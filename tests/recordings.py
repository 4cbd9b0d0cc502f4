"""Recordings of messages for tests: entries of every kind, a writer, and a reader to compare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from protocol import (
    Activation,
    Array,
    Credit,
    Gradient,
    Marker,
    Pipeline,
    RunError,
    State,
    read_pipeline,
    recording_format,
)
from protocol.recording_format import (
    SUFFIX,
    Operation,
    ReceivedMessage,
    RecordingEntry,
    RecordingMetadata,
    WindowChange,
    read_entries,
)
from tests.network import DATA
from workers.assembly.build import dataset_info
from workers.data import EXAMPLE

DATASET: Final = dataset_info(DATA).as_dict()
METADATA: Final = RecordingMetadata(
    "layer1", 1, ("layer0", "layer2"), 1, DATASET, 2, "numpy 2, abacus 1"
)
X: Final = np.arange(6, dtype=np.float32).reshape(2, 3)
BIG: Final = np.arange(3000, dtype=np.float32).reshape(10, 300)  # a frame of its own
STATE: Final = State("layer1", 3, {"step": 3}, ("w", "b"), (BIG, X))
ENTRIES: Final[tuple[RecordingEntry, ...]] = (
    ReceivedMessage("layer0", Activation(1, 1, True, X, np.array([1, 2]))),
    Operation.WORK,
    WindowChange("layer2", 9),
    ReceivedMessage("layer2", Gradient(1, 0, BIG)),
    Operation.WORK,
    Operation.RESEND_CREDITS,
    ReceivedMessage("layer2", Credit(1)),
    ReceivedMessage("layer0", Marker("drain", 3)),
    STATE,
)


def encode(
    entries: Iterable[RecordingEntry] = ENTRIES, metadata: RecordingMetadata = METADATA
) -> bytes:
    """A file of `entries`."""
    place = metadata.senders.index
    pieces: list[recording_format.Piece] = [recording_format.encode_header(metadata)]
    for entry in entries:
        match entry:
            case Operation():
                pieces += recording_format.encode_operation(entry)
            case ReceivedMessage():
                pieces += recording_format.encode_message(place(entry.sender), entry.message)
            case WindowChange():
                pieces += recording_format.encode_window(place(entry.neighbour), entry.window)
            case _:
                pieces += recording_format.encode_state(entry)
    return b"".join(piece if isinstance(piece, bytes) else piece.tobytes() for piece in pieces)


def comparable(value: object) -> object:
    """`value` in a form that is equal to another if every bit is."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, State):
        return [value.name, value.step, value.metadata, value.names, comparable(value.arrays)]
    return [type(value), *map(comparable, value)] if isinstance(value, tuple) else value


def readable(path: Path) -> tuple[list[object], str]:
    """The entries of the file that can be read, `comparable`, and the error after them, or ""."""
    found: list[object] = []
    try:
        for entry in read_entries(path):
            found.append(comparable(entry))  # noqa: PERF401  the entries before an error count
    except RunError as error:
        return found, str(error)
    return found, ""


def example(*overrides: str) -> Pipeline:
    """The pipeline of the embedded digits, whose layers record their messages."""
    return read_pipeline(EXAMPLE, ("trace.mode=messages", *overrides))


def recording(folder: Path, layer: int) -> Path:
    """The path of the recording of a layer in the run folder `folder`."""
    return folder / "trace" / f"layer{layer}{SUFFIX}"


def flip(path: Path, array: Array) -> None:
    """Flip one bit in the largest number of `array`, where it is stored in the file at `path`."""
    data = bytearray(path.read_bytes())
    place = 4 * int(np.abs(array).argmax())
    data[data.index(array.tobytes()) + place + 2] ^= 0x40
    path.write_bytes(data)
