"""The buffers that workers request from the kernel for links between hosts."""

from __future__ import annotations

import socket

import pytest

from workers.transport.socket_buffers import REQUESTED, granted, listen, send_buffer


def default_and_granted(option: int) -> tuple[int, int]:
    """The bytes of a buffer by default, and after a request."""
    with socket.socket() as requester:
        default = requester.getsockopt(socket.SOL_SOCKET, option)
        return default, granted(requester, option)


def receive_buffer(listener: socket.socket) -> int:
    """The bytes of the receive buffer of a connection to `listener`."""
    with socket.create_connection(listener.getsockname()[:2], 5):
        listener.settimeout(5)
        connection, _ = listener.accept()
        with connection:
            return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def listening(endpoint: str) -> socket.socket:
    """A socket that listens at `endpoint`; skips the test if the kernel grants no larger buffer."""
    descriptor = listen(endpoint)
    default, larger = default_and_granted(socket.SO_RCVBUF)
    if descriptor == -1 and larger <= default:
        pytest.skip("this kernel grants no larger receive buffer")
    return socket.socket(fileno=descriptor)


def test_a_connection_has_the_receive_buffer_that_the_kernel_grants() -> None:
    with listening("tcp://127.0.0.1:*") as listener:
        assert receive_buffer(listener) >= default_and_granted(socket.SO_RCVBUF)[1]


def test_a_listener_has_the_address_of_its_endpoint() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with listening(f"tcp://127.0.0.1:{port}") as listener:
        assert listener.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1:*", "127.0.0.1:x", "127.0.0.1:70000", "nobody", ":*", "1234", "[2001:db8::1]:*"],
)
def test_an_address_that_cannot_be_bound_gives_no_descriptor(address: str) -> None:
    assert listen(f"tcp://{address}") == -1


def test_an_address_in_use_gives_no_descriptor() -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        assert listen(f"tcp://127.0.0.1:{used.getsockname()[1]}") == -1


@pytest.mark.parametrize(("more", "expected"), [(1, REQUESTED), (0, -1)])
def test_a_send_buffer_is_requested_only_if_it_is_larger_than_tcps(
    more: int, expected: int
) -> None:
    limit = default_and_granted(socket.SO_SNDBUF)[1] - more
    assert send_buffer(lambda: limit) == expected
