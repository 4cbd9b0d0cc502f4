"""The kernel's buffers of TCP connections, which have to hold all that is under way on a long way.

Left alone they grow from little, by some round trips for each doubling, up to a limit of TCP's.
Asked for they are there from the first byte, up to a limit of sockets', but do not grow any more.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path
from typing import Final

LARGEST: Final = 1 << 26
_BUF_LOCK: Final = 72
"""Linux's SO_BUF_LOCK: whether what was asked for stays so; 0 lets it grow."""


def sending() -> int:
    """Bytes to ask for to send from; -1 to leave it to the kernel, which then gives more."""
    asked, grown = _limits("wmem")
    return asked if 2 * asked > grown else -1  # the kernel gives twice what it is asked for


def listener(endpoint: str) -> int:
    """A file descriptor that listens at `endpoint`, such as tcp://10.0.0.1:*, * for any port.

    What it accepts receives into a large buffer that still grows. -1 where there is no such thing;
    then the address is as good or bad as ever.
    """
    asked, _ = _limits("rmem")
    if not asked:
        return -1
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with contextlib.suppress(OSError, ValueError), socket.socket(family) as listening:
        number = 0 if port == "*" else int(port)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
        listening.setsockopt(socket.SOL_SOCKET, _BUF_LOCK, 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), number))
        listening.listen()
        listening.setblocking(False)
        return listening.detach()
    return -1


def _limits(kind: str) -> tuple[int, int]:
    """What a socket may ask for, and up to what TCP lets it grow; nothing where nobody says so."""
    if sys.platform != "linux":
        return 0, 0
    try:
        asked = Path(f"/proc/sys/net/core/{kind}_max").read_text("ascii")
        grown = Path(f"/proc/sys/net/ipv4/tcp_{kind}").read_text("ascii")
        return min(int(asked), LARGEST), int(grown.split()[-1])
    except (OSError, ValueError, IndexError):
        return 0, 0
