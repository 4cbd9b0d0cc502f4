"""Foreign bytes in a socket are dropped, and the next valid message arrives as it was sent."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from protocol import VERSION, Activation, Credit, Edge, Go, Gradient, Message, WireError, encode
from protocol.transport.socket_set import Readable, SocketSet
from protocol.transport.sockets import receive, send
from tests.examples import examples
from workers.transport.transport import FULL_POLL_SECONDS, WorkerTransport

Sockets = tuple[zmq.Socket[bytes], zmq.Socket[bytes]]

LARGE: Final = np.arange(64 * 100, dtype=np.float32).reshape(64, 100)
VALID: Final = Activation(1, 1, True, LARGE, np.arange(64))
LAST: Final = Credit(1 << 40)


def frames(message: Message) -> list[bytes]:
    return [f if isinstance(f, bytes) else f.tobytes() for f in encode(message)]


HEADER, ARRAY = frames(VALID)
(CREDIT,) = frames(Credit(7))
FOREIGN: Final = {
    "nothing": [b""],
    "no header": [b"garbage"],
    "no header, and more": [b"garbage", CREDIT, ARRAY],
    "no header but an array": [ARRAY, HEADER],
    "a header without its frame": [HEADER],
    "a frame too many": [HEADER, ARRAY, CREDIT],
    "a short frame": [HEADER, ARRAY[:-1]],
    "a short frame, and more": [HEADER, ARRAY[:-1], CREDIT],
    "an empty frame": [HEADER, b"", CREDIT],
    "a bad field with its frame": [
        msgpack.packb([VERSION, 37, ["host1", "a.log", -1, True], [["<f4", [1], None]]]),
        b"1234",
    ],
    "a negative batch with its frame": [HEADER[:15] + b"\x80" + HEADER[16:], ARRAY],
}


@pytest.fixture(scope="module")
def sockets() -> Iterator[Sockets]:
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as sender,
        context.socket(zmq.PULL) as receiver,
    ):
        sender.bind("inproc://transport")
        receiver.connect("inproc://transport")
        sender.set_hwm(0)
        receiver.rcvtimeo = 5000
        yield sender, receiver


def received(sockets: Sockets) -> list[Message | None]:
    """The messages received until `LAST`, which is sent now; None for a refused one."""
    sender, receiver = sockets
    send(sender, VALID)
    send(sender, LAST)
    found: list[Message | None] = []
    while LAST not in found[-1:]:
        try:
            found.append(receive(receiver))
        except WireError:
            found.append(None)
    *before, valid, _ = found
    assert isinstance(valid, Activation)
    np.testing.assert_array_equal(valid.x, VALID.x)
    np.testing.assert_array_equal(valid.labels, VALID.labels)
    return before


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_message_is_refused_as_a_whole(sockets: Sockets, foreign: list[bytes]) -> None:
    sockets[0].send_multipart(foreign)
    assert received(sockets) == [None]


def test_extra_frames_are_read_as_messages_until_one_is_refused(sockets: Sockets) -> None:
    sockets[0].send_multipart([CREDIT, CREDIT, b"garbage", CREDIT, ARRAY])
    assert received(sockets) == [Credit(7), Credit(7), None]


@examples(300)
@given(
    st.lists(
        st.lists(st.sampled_from([HEADER, ARRAY, CREDIT]) | st.binary(max_size=9), min_size=1),
        max_size=4,
    )
)
def test_foreign_messages_do_not_disturb_later_ones(
    sockets: Sockets, foreign: list[list[bytes]]
) -> None:
    for parts in foreign:
        sockets[0].send_multipart(parts)
    assert len(received(sockets)) <= sum(map(len, foreign))


@pytest.mark.parametrize("copy", [False, True])
def test_a_large_array_arrives_as_it_was_sent(sockets: Sockets, copy: bool) -> None:
    sender, receiver = sockets
    send(sender, Gradient(1, 1, LARGE.T), copy=copy)
    message = receive(receiver)
    assert isinstance(message, Gradient)
    assert not message.gradient.flags.writeable
    np.testing.assert_array_equal(message.gradient, LARGE.T)


class CountingSockets(SocketSet):
    """Sockets that count how often all of them are polled."""

    times = 0

    def poll(self, seconds: float) -> list[Readable]:
        self.times += 1
        return super().poll(seconds)


def test_a_busy_worker_receives_from_edges_at_once_and_the_rest_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifeline, held = os.pipe()
    control = f"ipc://{tmp_path}/control"
    with zmq.Context() as context, context.socket(zmq.DEALER) as head:
        head.bind(control)
        sockets = CountingSockets()
        transport = WorkerTransport(control, lifeline, sockets=sockets)
        edge = Edge("source", "layer0")
        endpoint = transport.bind(edge, f"ipc://{tmp_path}/inbox")
        transport.connect(edge, endpoint, window=2)

        def next_message() -> tuple[Edge | None, Message]:
            until = time.monotonic() + 5
            while time.monotonic() < until:
                for found in transport.poll(0):
                    return found
            raise AssertionError("no message came")

        with monkeypatch.context() as patch:
            patch.setattr("workers.transport.transport.FULL_POLL_SECONDS", 3600)
            assert list(transport.poll(0)) == []
            for number in range(100):
                transport.send(edge, Credit(number))
                assert next_message() == (edge, Credit(number))
            assert sockets.times == 1
        assert list(transport.poll(0.001)) == []  # starts the interval anew
        send(head, Go())
        assert next_message() == (None, Go())
        before, until = sockets.times, time.monotonic() + 10 * FULL_POLL_SECONDS
        while time.monotonic() < until:
            assert list(transport.poll(0)) == []
        assert 1 <= sockets.times - before <= 11
        os.close(held)
        with pytest.raises(EOFError):
            next_message()
        transport.close(flush=False)
    os.close(lifeline)
