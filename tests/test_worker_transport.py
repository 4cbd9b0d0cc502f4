"""Whatever comes out of a socket, the next sound message is taken as it was sent."""

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

from protocol import Activation, Credit, Edge, Go, Gradient, Message, WireError, encode
from protocol.transport.socket_set import Readable, SocketSet
from protocol.transport.sockets import receive, send
from tests.examples import examples
from workers.transport.transport import FULL_POLL_SECONDS, WorkerTransport

Sockets = tuple[zmq.Socket[bytes], zmq.Socket[bytes]]

LARGE: Final = np.arange(64 * 100, dtype=np.float32).reshape(64, 100)
SOUND: Final = Activation(1, 1, True, LARGE, np.arange(64))
LAST: Final = Credit(1 << 40)


def frames(message: Message) -> list[bytes]:
    return [f if isinstance(f, bytes) else f.tobytes() for f in encode(message)]


HEADER, ARRAY = frames(SOUND)
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
    "a bad field with its frame": [msgpack.packb([1, 2, [1, -1], [["<f4", [1], None]]]), b"1234"],
}


@pytest.fixture(scope="module")
def sockets() -> Iterator[Sockets]:
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as sender,
        context.socket(zmq.PULL) as receiver,
    ):
        sender.bind("inproc://links")
        receiver.connect("inproc://links")
        sender.set_hwm(0)
        receiver.rcvtimeo = 5000
        yield sender, receiver


def taken(sockets: Sockets) -> list[Message | None]:
    """What is taken until `LAST`, which is sent now; None for what is refused."""
    sender, receiver = sockets
    send(sender, SOUND)
    send(sender, LAST)
    found: list[Message | None] = []
    while LAST not in found[-1:]:
        try:
            found.append(receive(receiver))
        except WireError:
            found.append(None)
    *before, sound, _ = found
    assert isinstance(sound, Activation)
    np.testing.assert_array_equal(sound.x, SOUND.x)
    np.testing.assert_array_equal(sound.labels, SOUND.labels)
    return before


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_message_is_refused_as_a_whole(sockets: Sockets, foreign: list[bytes]) -> None:
    sockets[0].send_multipart(foreign)
    assert taken(sockets) == [None]


def test_frames_that_no_header_tells_of_are_messages_until_one_is_refused(sockets: Sockets) -> None:
    sockets[0].send_multipart([CREDIT, CREDIT, b"garbage", CREDIT, ARRAY])
    assert taken(sockets) == [Credit(7), Credit(7), None]


@examples(300)
@given(
    st.lists(
        st.lists(st.sampled_from([HEADER, ARRAY, CREDIT]) | st.binary(max_size=9), min_size=1),
        max_size=4,
    )
)
def test_nothing_foreign_disturbs_what_comes_behind_it(
    sockets: Sockets, foreign: list[list[bytes]]
) -> None:
    for parts in foreign:
        sockets[0].send_multipart(parts)
    assert len(taken(sockets)) <= sum(map(len, foreign))


@pytest.mark.parametrize("copy", [False, True])
def test_a_large_array_is_taken_as_it_was_sent(sockets: Sockets, copy: bool) -> None:
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


def test_who_is_busy_hears_its_edges_at_once_and_all_else_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifeline, held = os.pipe()
    control = f"ipc://{tmp_path}/control"
    with zmq.Context() as context, context.socket(zmq.DEALER) as head:
        head.bind(control)
        sockets = CountingSockets()
        links = WorkerTransport(control, lifeline, sockets=sockets)
        edge = Edge("source", "layer0")
        door = links.bind(edge, f"ipc://{tmp_path}/inbox")
        links.connect(edge, door, window=2)

        def heard() -> tuple[Edge | None, Message]:
            until = time.monotonic() + 5
            while time.monotonic() < until:
                for found in links.poll(0):
                    return found
            raise AssertionError("nothing came")

        with monkeypatch.context() as patch:
            patch.setattr("workers.transport.transport.FULL_POLL_SECONDS", 3600)
            assert list(links.poll(0)) == []
            for number in range(100):
                links.send(edge, Credit(number))
                assert heard() == (edge, Credit(number))
            assert sockets.times == 1
        assert list(links.poll(0.001)) == []  # starts the interval anew
        send(head, Go())
        assert heard() == (None, Go())
        before, until = sockets.times, time.monotonic() + 10 * FULL_POLL_SECONDS
        while time.monotonic() < until:
            assert list(links.poll(0)) == []
        assert 1 <= sockets.times - before <= 11
        os.close(held)
        with pytest.raises(EOFError):
            heard()
        links.close(flush=False)
    os.close(lifeline)
