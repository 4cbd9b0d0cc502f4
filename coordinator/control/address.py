"""The file in a run folder that leads to the control socket of the run.

The file holds the path of the socket and a random key. The server answers only requests that
carry the key, so a request never reaches another run. Host name, boot and process namespace
explain a socket that cannot be reached.
"""

from __future__ import annotations

import contextlib
import json
import platform
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from coordinator.run_folder.layout import CONTROL, write_atomically
from protocol.builtin import to_json
from protocol.clock import clock_name

_NAMESPACE: Final = Path("/proc/self/ns/pid")
_SOCKET: Final = "run-control"


@dataclass(frozen=True, slots=True)
class ControlAddress:
    """Where the control socket of a run is.

    `key` is known to readers of the run folder alone. `boot` names the last boot of `host`, and
    `namespace` the process namespace of the coordinator; both are empty where the system has no
    such name. `cluster` is true if workers of the run may be on other hosts.
    """

    socket: str
    key: str
    host: str
    boot: str
    namespace: str
    cluster: bool

    @classmethod
    def new(cls, sockets: Path, cluster: bool) -> ControlAddress:
        """The address of a socket of this process in the folder `sockets`."""
        key = secrets.token_hex(16)
        path = str(sockets / _SOCKET)
        return cls(path, key, platform.node(), clock_name(), _namespace(), cluster)

    @classmethod
    def read(cls, run: Path) -> ControlAddress | None:
        """The address in the folder `run`; None if there is no valid one."""
        table: object = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            table = json.loads((run / CONTROL).read_text("utf-8"))
        if not isinstance(table, dict):
            return None
        kinds = {field.name: bool if field.name == "cluster" else str for field in fields(cls)}
        if {name: type(value) for name, value in table.items()} != kinds:
            return None
        return cls(**table)

    def write(self, run: Path) -> None:
        """Write the file in the folder `run`. Raises OSError."""
        text = to_json(asdict(self)) + "\n"
        write_atomically(run / CONTROL, lambda part: part.write_text(text, "utf-8"))

    @property
    def place(self) -> str:
        """Where the coordinator runs if this process cannot see its sockets; else empty."""
        if self.host != platform.node():
            return f"on the host {self.host!r}"
        if self.same_boot and self.namespace != _namespace():
            return "in another container of this host"
        return ""

    @property
    def same_boot(self) -> bool:
        """Whether the address was made since the last boot of this host."""
        return self.boot == clock_name()


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(_NAMESPACE.readlink())
    return ""
