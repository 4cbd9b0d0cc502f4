"""The checks of `dni doctor`: whether this host can join a run, and how to fix what prevents it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

from coordinator.cluster.addresses import (
    address_towards,
    bind_error_text,
    free_port,
    own_address,
    reachable,
)
from coordinator.cluster.agent import Agent
from protocol import RunError
from protocol.clock import clock_name
from protocol.endpoint import Endpoint
from protocol.security.token import Token

CONNECT_SECONDS: Final = 5.0


class Finding(NamedTuple):
    """The result of one check: whether it passed, what was found, and how to fix a failure."""

    check: str
    passed: bool
    found: str
    fix: str = ""


def examine(token: Token, address: str | None) -> Iterator[Finding]:
    """All findings, in order; a check that depends on a failed one is left out.

    `address` is how other hosts reach this one; None finds it out.
    """
    reached = False
    for endpoint in token.addresses:
        finding = _reach(endpoint)
        reached = reached or finding.passed
        yield finding
    if not reached:
        return
    try:
        here = (
            own_address(address, "--address")
            if address
            else address_towards(reachable(token.addresses))
        )
    except RunError as error:
        yield Finding("own address", False, str(error), "give it with --address")
        return
    yield Finding("own address", True, here)
    yield _listen(here)
    yield from _check_enrolment(token, here)


def _reach(endpoint: str) -> Finding:
    """Whether the head accepts connections at `endpoint`."""
    host, port = Endpoint.parse(endpoint, "token")
    began = time.monotonic()
    try:
        with closing(socket.create_connection((host, int(port)), CONNECT_SECONDS)):
            milliseconds = 1e3 * (time.monotonic() - began)
            return Finding("head", True, f"{endpoint} answers within {milliseconds:.1f} ms")
    except OSError as error:
        fix = "check that the head runs, and that no firewall blocks the connection"
        return Finding("head", False, f"{endpoint}: {error.strerror or error}", fix)


def _listen(address: str) -> Finding:
    """Whether workers could listen at `address`."""
    try:
        found = f"{address}, any port such as {free_port(address)}"
        return Finding("listening", True, found)
    except OSError as error:
        fix = "give an address of this host with --address"
        return Finding("listening", False, f"{address}: {bind_error_text(error)}", fix)


def _check_enrolment(token: Token, address: str) -> Iterator[Finding]:
    """Whether the head would admit this host: token, version, and which clock it has."""
    try:
        welcome = Agent(token, 0, (), address, lambda _: None).enrol()
    except RunError as error:
        fix = "paste the newest line of the head, and install the same version"
        yield Finding("token and version", False, str(error), fix)
        return
    yield Finding("token and version", True, "the head would admit this host")
    same = welcome.clock == clock_name()
    found = "shared with the head" if same else "not the head's; compared when a run begins"
    yield Finding("clock", True, found)
