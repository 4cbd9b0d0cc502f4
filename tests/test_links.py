"""Whatever comes out of a socket, the next sound message is taken as it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import Activation, Credit, Gradient, Message, WireError, encode
from workers.links import put, take

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
    put(sender, SOUND)
    put(sender, LAST)
    found: list[Message | None] = []
    while LAST not in found[-1:]:
        try:
            found.append(take(receiver))
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


@settings(max_examples=300, deadline=None)
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
    put(sender, Gradient(1, 1, LARGE.T), copy=copy)
    message = take(receiver)
    assert isinstance(message, Gradient)
    assert not message.gradient.flags.writeable
    np.testing.assert_array_equal(message.gradient, LARGE.T)
