"""Which process a run belongs to, so that no other one is taken for it.

A process id alone says little: the process may be dead and its id another's, it may be on another
host that sees the same folder, in another container, or from before a reboot.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from protocol import RunError
from protocol.clock import clock_name

_PROC: Final = Path("/proc")
_START_FIELD: Final = 19
"""Where `starttime` is in /proc/<pid>/stat, counted behind the process's name (see proc(5))."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: its id, and what makes the id mean something.

    `boot` names the time since the host's last boot, `namespace` the process ids that are counted
    together, `started` when the process began, in ticks of that boot. Empty or 0 where the
    system does not say.
    """

    pid: int
    host: str
    boot: str
    namespace: str
    started: int

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(pid, platform.node(), clock_name(), _namespace(), _started(pid))

    @classmethod
    def read(cls, table: object) -> Owner | None:
        """The owner that `as_dict` wrote; None where `table` is no such."""
        kinds = {"pid": int, "host": str, "boot": str, "namespace": str, "started": int}
        if not isinstance(table, dict) or table.keys() != kinds.keys():
            return None
        if any(type(table[key]) is not kind for key, kind in kinds.items()) or table["pid"] <= 0:
            return None
        return cls(**table)

    def as_dict(self) -> dict[str, object]:
        """What `read` makes the same of."""
        return asdict(self)

    @property
    def elsewhere(self) -> str:
        """Where the process is, if it cannot be seen from here; else empty."""
        if self.host != platform.node():
            return f"on the host {self.host!r}"
        if self.boot == clock_name() and self.namespace != _namespace():
            return "in another container of this host"
        return ""

    @property
    def alive(self) -> bool:
        """Whether the process still runs; False where it is `elsewhere`."""
        if self.elsewhere or self.boot != clock_name():
            return False
        return _exists(self.pid) and self.started == _started(self.pid)

    def interrupt(self) -> bool:
        """Ask the process, and no other, to end as Ctrl-C does; False where it is not alive.

        Raises RunError where it belongs to another user, or ignores all such signals.
        """
        number = _signal(self.pid)
        try:
            with _held(self.pid) as handle:
                if not self.alive:  # asked while the handle holds the id, so that it is this one's
                    return False
                if handle is None:
                    os.kill(self.pid, number)
                else:
                    signal.pidfd_send_signal(handle, number)
                return True
        except ProcessLookupError:
            return False
        except PermissionError:
            raise RunError(f"process {self.pid} belongs to another user, who can stop it") from None


@contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A descriptor that holds `pid`, so that no other process gets it; None where none can be had.

    Raises ProcessLookupError where there is no such process.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # other systems, old kernels, sandboxes
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _signal(pid: int) -> signal.Signals:
    """SIGINT; SIGTERM for a process that ignores SIGINT, as `nohup` and a shell's `&` leave it.

    Raises RunError where it ignores both.
    """
    ignored = 0
    with suppress(OSError, ValueError, IndexError):
        text = (_PROC / str(pid) / "status").read_text("ascii", "replace")
        masks = [line.split()[1] for line in text.splitlines() if line.startswith("SigIgn:")]
        ignored = int(masks[0], 16)
    for number in (signal.SIGINT, signal.SIGTERM):
        if not ignored >> (number - 1) & 1:
            return number
    raise RunError(f"process {pid} ignores SIGINT and SIGTERM; end it with kill -KILL {pid}")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _namespace() -> str:
    with suppress(OSError):
        return str((_PROC / "self/ns/pid").readlink())
    return ""


def _started(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
        return int(text.rpartition(")")[2].split()[_START_FIELD])
    return 0
