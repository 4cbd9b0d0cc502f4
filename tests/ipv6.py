"""Whether this host has IPv6."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest


def _has_v6() -> bool:
    with ExitStack() as stack:
        try:
            stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        except OSError:
            return False
    return True


needs_v6 = pytest.mark.skipif(not _has_v6(), reason="this host has no IPv6")
