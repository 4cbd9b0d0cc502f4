"""What `dni doctor` finds: whether this machine could join, and what to mend where it could not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

from coordinator.cluster.addresses import address_towards, listening, own, reachable, why
from coordinator.cluster.agent import Agent
from protocol import RunError
from protocol.clock import clock_name
from protocol.endpoint import Endpoint
from protocol.security.token import Token

CONNECT_SECONDS: Final = 5.0


class Finding(NamedTuple):
    """One thing that was looked at, whether it is well, what was found, and what mends it."""

    check: str
    well: bool
    found: str
    mend: str = ""


def examine(token: Token, address: str | None) -> Iterator[Finding]:
    """All findings, in order; what hangs on one that is not well is left out.

    `address` is how other machines are to reach this one; None finds it out.
    """
    reached = False
    for endpoint in token.addresses:
        finding = _reach(endpoint)
        reached = reached or finding.well
        yield finding
    if not reached:
        return
    try:
        here = own(address, "--address") if address else address_towards(reachable(token.addresses))
    except RunError as error:
        yield Finding("own address", False, str(error), "name it with --address")
        return
    yield Finding("own address", True, here)
    yield _listen(here)
    yield from _ask(token, here)


def _reach(endpoint: str) -> Finding:
    """Whether anybody listens there."""
    host, port = Endpoint.parse(endpoint, "token")
    began = time.monotonic()
    try:
        with closing(socket.create_connection((host, int(port)), CONNECT_SECONDS)):
            spent = 1e3 * (time.monotonic() - began)
            return Finding("head", True, f"{endpoint} answers within {spent:.1f} ms")
    except OSError as error:
        mend = "is the head there, and does a firewall let this machine through to it?"
        return Finding("head", False, f"{endpoint}: {error.strerror or error}", mend)


def _listen(address: str) -> Finding:
    """Whether workers could listen at `address`."""
    try:
        found = f"{address}, any port such as {listening(address)}"
        return Finding("listening", True, found)
    except OSError as error:
        mend = "give an address of this machine with --address"
        return Finding("listening", False, f"{address}: {why(error)}", mend)


def _ask(token: Token, address: str) -> Iterator[Finding]:
    """Whether the head would have us: keys and versions; and whose clock it goes by."""
    try:
        welcome = Agent(token, 0, (), address, lambda _: None).enrol()
    except RunError as error:
        mend = "paste the newest line of the head, and install the version that it has"
        yield Finding("token and version", False, str(error), mend)
        return
    yield Finding("token and version", True, "the head would welcome this machine")
    same = welcome.clock == clock_name()
    found = "the head's own" if same else "another than the head's; compared when a run begins"
    yield Finding("clock", True, found)
