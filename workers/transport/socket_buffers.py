"""The kernel's buffers of TCP connections, which must hold everything in flight on a long link.

By default a buffer starts small and grows: each doubling takes some round trips, up to a limit of
TCP. A buffer of a requested size is there from the first byte, up to a limit of the kernel, but
does not grow.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol.endpoint import host_of, is_ipv6

REQUESTED: Final = 1 << 26
"""Bytes to request; the kernel grants less."""
_DEFAULT_LIMIT: Final = 4 << 20
_BUF_LOCK: Final = 72
"""Linux's SO_BUF_LOCK: with 0, a buffer of a requested size may grow."""


def tcp_send_limit() -> int:
    """The size to which TCP lets a send buffer grow; Linux's default if the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text("ascii").split()[-1])
    return _DEFAULT_LIMIT


def send_buffer(limit: Callable[[], int] = tcp_send_limit) -> int:
    """The send buffer to request in bytes; -1 if the kernel's own grows larger, up to `limit`."""
    with socket.socket() as probe:
        return REQUESTED if granted(probe, socket.SO_SNDBUF) > limit() else -1


def listen(endpoint: str) -> int:
    """A file descriptor that listens at `endpoint`, such as tcp://10.0.0.1:*, * for any port.

    Its connections have a large receive buffer that still grows. Returns -1 if the kernel grants no
    larger buffer, and if `endpoint` cannot be bound or has a host name: then libzmq binds it, or
    reports the error.
    """
    family = socket.AF_INET6 if is_ipv6(endpoint) else socket.AF_INET
    with (
        contextlib.suppress(OSError, ValueError, OverflowError),
        socket.socket(family) as listener,
    ):
        port = endpoint.rpartition(":")[2]
        address = _numeric_address(host_of(endpoint), 0 if port == "*" else int(port), family)
        default = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if granted(listener, socket.SO_RCVBUF) <= default:
            return -1
        listener.setsockopt(socket.SOL_SOCKET, _BUF_LOCK, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        return listener.detach()
    return -1


def _numeric_address(host: str, port: int, family: int) -> tuple[object, ...]:
    """The socket address of `host`, a numeric address. Raises OSError for a name."""
    numeric = socket.AI_NUMERICHOST
    found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, flags=numeric)
    number, _, *scope = found[0][4]
    return number, port, *scope


def granted(requester: socket.socket, option: int) -> int:
    """The size of a buffer of `requester` in bytes after a request for `REQUESTED`."""
    with contextlib.suppress(OSError):
        requester.setsockopt(socket.SOL_SOCKET, option, REQUESTED)
    return requester.getsockopt(socket.SOL_SOCKET, option)
