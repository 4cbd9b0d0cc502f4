"""What workers on long ways ask the kernel for."""

from __future__ import annotations

import socket

import pytest

from workers.transport import buffers


def given(option: int) -> tuple[int, int]:
    """A buffer as it is, and as it is when asked for; bytes."""
    with socket.socket() as asking:
        usual = asking.getsockopt(socket.SOL_SOCKET, option)
        return usual, buffers._given(asking, option)


def received(listening: socket.socket) -> int:
    """The receive buffer of a connection to `listening`, bytes."""
    with socket.create_connection(listening.getsockname()[:2], 5):
        listening.settimeout(5)
        connection, _ = listening.accept()
        with connection:
            return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def opened(endpoint: str) -> socket.socket:
    """What listens at `endpoint`; skips the test where the kernel gives nothing for the asking."""
    descriptor = buffers.listener(endpoint)
    usual, asked = given(socket.SO_RCVBUF)
    if descriptor == -1 and asked <= usual:
        pytest.skip("this kernel gives no larger buffer to who asks")
    return socket.socket(fileno=descriptor)


def test_what_a_listener_accepts_receives_into_as_much_as_the_kernel_gives() -> None:
    with opened("tcp://127.0.0.1:*") as listening:
        assert received(listening) >= given(socket.SO_RCVBUF)[1]


def test_a_listener_has_the_address_that_it_was_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with opened(f"tcp://127.0.0.1:{port}") as listening:
        assert listening.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1:*", "127.0.0.1:x", "127.0.0.1:70000", "nobody", ":*", "1234", "[2001:db8::1]:*"],
)
def test_an_address_that_is_no_number_of_ours_gives_no_listener(address: str) -> None:
    assert buffers.listener(f"tcp://{address}") == -1


def test_an_address_in_use_gives_no_listener() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert buffers.listener(f"tcp://127.0.0.1:{taken.getsockname()[1]}") == -1


@pytest.mark.parametrize(("more", "wanted"), [(1, buffers.LARGEST), (0, -1)])
def test_a_buffer_to_send_from_is_asked_for_where_that_is_more(
    monkeypatch: pytest.MonkeyPatch, more: int, wanted: int
) -> None:
    monkeypatch.setattr(buffers, "_grown", lambda: given(socket.SO_SNDBUF)[1] - more)
    assert buffers.sending() == wanted
