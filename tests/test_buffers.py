"""What workers on long ways ask the kernel for."""

from __future__ import annotations

import socket
import sys

import pytest

from workers import buffers

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much it gives")


def received(listening: socket.socket) -> int:
    """The receive buffer of a connection to `listening`, bytes."""
    with socket.create_connection(listening.getsockname()[:2], 5):
        listening.settimeout(5)
        connection, _ = listening.accept()
        with connection:
            return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


@linux
def test_what_a_listener_accepts_receives_into_as_much_as_the_kernel_gives() -> None:
    asked, _ = buffers._limits("rmem")
    with socket.socket(fileno=buffers.listener("tcp://127.0.0.1:*")) as listening:
        assert received(listening) == 2 * asked


@linux
def test_a_listener_has_the_port_that_it_was_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with socket.socket(fileno=buffers.listener(f"tcp://127.0.0.1:{port}")) as listening:
        assert listening.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize("endpoint", ["tcp://192.0.2.1:*", "tcp://127.0.0.1:x", "tcp://nobody"])
def test_an_address_that_is_not_ours_gives_no_listener(endpoint: str) -> None:
    assert buffers.listener(endpoint) == -1


def test_an_address_in_use_gives_no_listener() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert buffers.listener(f"tcp://127.0.0.1:{taken.getsockname()[1]}") == -1


def test_where_nobody_says_the_limits_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert buffers.sending() == -1
    assert buffers.listener("tcp://127.0.0.1:*") == -1


@pytest.mark.parametrize(("asked", "grown", "wanted"), [(3, 5, 3), (2, 5, -1), (0, 0, -1)])
def test_a_buffer_to_send_from_is_asked_for_where_that_is_more(
    monkeypatch: pytest.MonkeyPatch, asked: int, grown: int, wanted: int
) -> None:
    monkeypatch.setattr(buffers, "_limits", lambda _: (asked, grown))
    assert buffers.sending() == wanted
