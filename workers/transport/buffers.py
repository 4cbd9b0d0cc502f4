"""The kernel's buffers of TCP connections, which have to hold all that is under way on a long way.

Left alone they grow from little, by some round trips for each doubling, up to a limit of TCP's.
Asked for they are there from the first byte, up to a limit of sockets', but do not grow any more.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Final

from protocol.endpoint import host_of, is_ipv6

LARGEST: Final = 1 << 26
"""Bytes to ask for; the kernel gives what it will."""
_GROWN: Final = 4 << 20
_BUF_LOCK: Final = 72
"""Linux's SO_BUF_LOCK: whether what was asked for stays so; 0 lets it grow."""


def sending() -> int:
    """Bytes to ask for to send from; -1 to leave it to the kernel, which then gives more."""
    with socket.socket() as probe:
        return LARGEST if _given(probe, socket.SO_SNDBUF) > _grown() else -1


def listener(endpoint: str) -> int:
    """A file descriptor that listens at `endpoint`, such as tcp://10.0.0.1:*, * for any port.

    What it accepts receives into a large buffer that still grows. -1 where there is no such thing,
    for names too; then the endpoint is as good or bad as ever.
    """
    family = socket.AF_INET6 if is_ipv6(endpoint) else socket.AF_INET
    with (
        contextlib.suppress(OSError, ValueError, OverflowError),
        socket.socket(family) as listening,
    ):
        port = endpoint.rpartition(":")[2]
        address = _number(host_of(endpoint), 0 if port == "*" else int(port), family)
        usual = listening.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if _given(listening, socket.SO_RCVBUF) <= usual:
            return -1
        listening.setsockopt(socket.SOL_SOCKET, _BUF_LOCK, 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)
        return listening.detach()
    return -1


def _number(host: str, port: int, family: int) -> tuple[object, ...]:
    """The address of a socket at `host`, which is a number. Raises OSError where it is a name."""
    numeric = socket.AI_NUMERICHOST
    found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, flags=numeric)
    number, _, *scope = found[0][4]
    return number, port, *scope


def _given(asking: socket.socket, option: int) -> int:
    """Of which size a buffer is for which `LARGEST` was asked."""
    with contextlib.suppress(OSError):
        asking.setsockopt(socket.SOL_SOCKET, option, LARGEST)
    return asking.getsockopt(socket.SOL_SOCKET, option)


def _grown() -> int:
    """Up to what TCP lets a buffer grow that it sends from: Linux's usual, where nobody says so."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text("ascii").split()[-1])
    return _GROWN
