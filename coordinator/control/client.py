"""The client's side of the control socket: `dni status`, `dni stop` and `dni revoke`."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Final

from coordinator.control.address import ControlAddress
from coordinator.control.messages import (
    ControlRequest,
    RevokeRequest,
    StatusRequest,
    StopRequest,
    decode_line,
    encode_request,
)
from coordinator.run_folder.layout import SUMMARY, is_recording
from protocol import RunError, SpecError

REPLY_SECONDS: Final = 10.0
"""How long a run may take to reply; its loop polls the socket ten times a second."""
_PART: Final = 1 << 16


def status(run: Path) -> dict[str, Any]:
    """A snapshot of the run in the folder `run`, as `Snapshot.as_dict` makes it.

    Raises RunError if the run is over, or cannot be reached from here.
    """
    found = _exchange(run, StatusRequest()).get("status")
    if not isinstance(found, dict):
        raise RunError(f"{run}: the run sent no status; is it of another version of dni?")
    return found


def stop(run: Path) -> None:
    """End the run in the folder `run` as Ctrl-C does. Raises RunError as `status` does."""
    _exchange(run, StopRequest())


def revoke(run: Path, host: str) -> None:
    """Refuse the key of `host` from now on.

    Raises SpecError if the run has no such host, RunError as `status` does.
    """
    refused = _exchange(run, RevokeRequest(host)).get("refused")
    if refused is not None:
        raise SpecError(str(refused))


def _exchange(run: Path, request: StatusRequest | ControlRequest) -> dict[str, Any]:
    """The reply of the run to `request`. Raises RunError."""
    address = ControlAddress.read(run)
    if address is None or (run / SUMMARY).exists():
        raise RunError(f"{run}: {_no_address_reason(run)}")
    line = encode_request(request, address.key)
    try:
        reply = _send(address.socket, line, time.monotonic() + REPLY_SECONDS)
    except PermissionError:
        raise RunError(
            f"{run}: the run belongs to another user, and only that user can reach it"
        ) from None
    except TimeoutError:
        raise RunError(
            f"{run}: the run has not replied within {REPLY_SECONDS:.0f} s; its coordinator is "
            "busy or suspended"
        ) from None
    except OSError:
        raise RunError(f"{run}: {_unreachable_reason(run, address)}") from None
    if not reply.endswith(b"\n"):  # the run ended meanwhile, or the socket is not of this run
        raise RunError(f"{run}: {_unreachable_reason(run, address)}")
    return decode_line(reply)


def _send(path: str, line: bytes, deadline: float) -> bytes:
    """Send `line` to the socket `path`; the reply. Raises OSError."""
    parts: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        _bound(peer, deadline)
        peer.connect(path)
        peer.sendall(line)
        while True:
            _bound(peer, deadline)
            part = peer.recv(_PART)
            if not part:
                return b"".join(parts)
            parts.append(part)


def _bound(peer: socket.socket, deadline: float) -> None:
    """Let the next operation of `peer` end at the `deadline`. Raises TimeoutError after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    peer.settimeout(left)


def _no_address_reason(run: Path) -> str:
    if (run / SUMMARY).exists():
        return "the run is over"
    if is_recording(run):
        return "the run is starting or ending, and has no control socket; try again"
    return "the run is over; it ended without a summary"


def _unreachable_reason(run: Path, address: ControlAddress) -> str:
    """What is wrong with a run whose control socket does not reply."""
    if (run / SUMMARY).exists():
        return "the run is over"
    if ControlAddress.read(run) != address:
        return "the run is ending"
    if address.place:
        return f"the head of this run is {address.place}; run dni there"
    if not is_recording(run):
        return "the run is over; its head ended without a summary"
    if address.same_boot:
        return (
            f"the run goes on, but its control socket {address.socket} is gone; end it where it "
            "was started"
        )
    return (
        f"the head of this run is on another host, which is called {address.host!r} too; run dni "
        "there"
    )
