"""What travels over a control socket: one line of JSON each way, then the connection ends.

    {"key": "…", "request": "status"}                    -> {"status": {…}}
    {"key": "…", "request": "stop"}                      -> {}
    {"key": "…", "request": "revoke", "host": "host1"}   -> {} or {"refused": "…"}

A line that is no request of this form, or has another key, gets no reply.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from protocol.builtin import to_json

MAX_REQUEST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Send a snapshot of the run."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """End the run as Ctrl-C does."""


@dataclass(frozen=True, slots=True)
class RevokeRequest:
    """Refuse the key of the host `host` from now on."""

    host: str


ControlRequest: TypeAlias = StopRequest | RevokeRequest


def encode_request(request: StatusRequest | ControlRequest, key: str) -> bytes:
    """The line for `request` to the run that has the `key`."""
    table: dict[str, object] = {"key": key}
    match request:
        case StatusRequest():
            table |= {"request": "status"}
        case StopRequest():
            table |= {"request": "stop"}
        case RevokeRequest(host=host):
            table |= {"request": "revoke", "host": host}
    return encode_line(table)


def decode_request(line: bytes, key: str) -> StatusRequest | ControlRequest | None:
    """The request in `line`; None if it is none for the run that has the `key`."""
    table = decode_line(line)
    if table.pop("key", None) != key:
        return None
    match table:
        case {"request": "status", **rest} if not rest:
            return StatusRequest()
        case {"request": "stop", **rest} if not rest:
            return StopRequest()
        case {"request": "revoke", "host": str(host), **rest} if not rest:
            return RevokeRequest(host)
    return None


def encode_line(table: dict[str, Any]) -> bytes:
    """`table` as one line of JSON in ASCII."""
    return to_json(table).encode("ascii") + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """The JSON object in `line`; empty if it is none."""
    try:
        table = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}
