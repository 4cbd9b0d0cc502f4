"""Arrays arrive through shared memory; offsets outside it are refused; no room is no error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import zmq

from protocol import Activation, Gradient, WireError, decode, encode
from protocol.transport.sockets import receive, send
from workers.transport.shared_memory import RingReader, RingWriter

LARGE = np.arange(64 * 100, dtype=np.float32).reshape(64, 100)
LABELS = np.arange(64)


def frames(message: Activation | Gradient, ring: RingWriter | None) -> list[bytes]:
    return [
        f if isinstance(f, bytes) else f.tobytes()
        for f in encode(message, ring.write if ring else None)
    ]


def test_a_large_array_lies_in_the_ring_and_the_message_is_one_small_frame(tmp_path: Path) -> None:
    ring, reader = RingWriter(tmp_path / "ring", 2), RingReader(tmp_path / "ring")
    sent = [frames(Activation(batch, batch, True, LARGE * batch, LABELS), ring) for batch in (1, 2)]
    assert [len(one) for one in sent] == [1, 1]
    assert max(len(frame) for one in sent for frame in one) < 1000
    for batch, one in enumerate(sent, 1):
        message = decode(one, reader.view)
        assert isinstance(message, Activation)
        assert not message.x.flags.writeable
        np.testing.assert_array_equal(message.x, LARGE * batch)
        np.testing.assert_array_equal(message.labels, LABELS)


def test_slots_are_used_in_turn(tmp_path: Path) -> None:
    ring, reader = RingWriter(tmp_path / "ring", 3), RingReader(tmp_path / "ring")
    first = decode(frames(Gradient(1, 1, LARGE), ring), reader.view)
    assert isinstance(first, Gradient)
    for batch in (2, 3):
        frames(Gradient(batch, 1, LARGE * 0), ring)
    np.testing.assert_array_equal(first.gradient, LARGE)
    frames(Gradient(4, 1, LARGE * 7), ring)
    np.testing.assert_array_equal(first.gradient, LARGE * 7)


def test_smaller_arrays_fit_and_larger_ones_are_frames(tmp_path: Path) -> None:
    ring, reader = RingWriter(tmp_path / "ring", 2), RingReader(tmp_path / "ring")
    larger = np.concatenate((LARGE, LARGE))
    for array, count in ((LARGE, 1), (LARGE[:40], 1), (larger, 2), (LARGE.T, 1)):
        one = frames(Gradient(5, 5, array), ring)
        assert len(one) == count
        message = decode(one, reader.view)
        assert isinstance(message, Gradient)
        np.testing.assert_array_equal(message.gradient, array)


def test_without_memory_arrays_are_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    ring = RingWriter(tmp_path / "ring", 2)
    assert len(frames(Gradient(1, 1, LARGE), ring)) == 2
    assert len(frames(Gradient(2, 2, LARGE), ring)) == 2
    assert not list(tmp_path.iterdir())


def test_an_offset_outside_the_ring_is_refused(tmp_path: Path) -> None:
    ring = RingWriter(tmp_path / "ring", 1)
    (frame,) = frames(Gradient(1, 1, LARGE), ring)
    size = (tmp_path / "ring").stat().st_size
    reader = RingReader(tmp_path / "ring")
    for start in (-1, size - LARGE.nbytes + 1, size, 1 << 62):
        with pytest.raises(WireError, match="shared memory"):
            reader.view(start, LARGE.nbytes)
    with pytest.raises(WireError, match="shared memory"):
        reader.view(0, 1 << 62)
    with pytest.raises(WireError, match="shared memory"):
        decode([frame], RingReader(tmp_path / "missing").view)
    with pytest.raises(WireError):
        decode([frame])


def test_arrays_sent_with_a_copy_may_change_afterwards() -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as sender,
        context.socket(zmq.PULL) as receiver,
    ):
        sender.bind("inproc://copies")
        receiver.connect("inproc://copies")
        array, labels = LARGE.copy(), np.ones((64, 100), np.float32)
        send(sender, Activation(1, 1, True, array, labels), copy=True)
        array.fill(-1)
        labels.fill(-1)
        receiver.rcvtimeo = 5000
        message = receive(receiver)
    assert isinstance(message, Activation)
    np.testing.assert_array_equal(message.x, LARGE)
    np.testing.assert_array_equal(message.labels, np.ones((64, 100)))


def test_only_the_first_array_of_a_message_lies_in_the_ring(tmp_path: Path) -> None:
    """Labels are passed on unchanged, so they must not lie in memory that is written again."""
    ring = RingWriter(tmp_path / "ring", 2)
    small, large = np.ones((64, 2), np.float32), np.ones((64, 100), np.float32)
    assert len(encode(Activation(1, 1, True, small, large), ring.write)) == 2
    assert len(encode(Activation(2, 2, True, large, large), ring.write)) == 2
    assert len(encode(Activation(3, 3, True, large, small), ring.write)) == 1
