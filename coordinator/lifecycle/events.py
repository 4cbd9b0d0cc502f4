"""Events that the state machine of a run handles, and the effects that it returns."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TypeAlias

from coordinator.observers.run_end import RunEnd
from protocol import Evaluated, Report, State, ToCoordinator, ToWorker

# -- events


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """A worker's process ended; `status` is its exit code, or minus the signal that killed it.

    `log_tail` is the end of its log; `reason` replaces the status in messages where it says more.
    """

    name: str
    status: int
    log_tail: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """How the worker ended, and the end of its log."""
        log_tail = f"\n{self.log_tail}" if self.log_tail else ""
        return f"{self.name} {self.reason or _exit_text(self.status)}{log_tail}"


def _exit_text(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"exited with status {status}"


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person asked for the end of the run."""


@dataclass(frozen=True, slots=True)
class DeadlineExpired:
    """The last deadline that was set has passed."""


@dataclass(frozen=True, slots=True)
class RunBroken:
    """The run cannot go on, although all workers are alive; `text` is the reason."""

    text: str


@dataclass(frozen=True, slots=True)
class RecordFailed:
    """A message could not be recorded; `text` names the file and the reason."""

    text: str


RunEvent: TypeAlias = (
    ToCoordinator | WorkerExited | StopRequested | DeadlineExpired | RunBroken | RecordFailed
)

# -- effects


@dataclass(frozen=True, slots=True)
class SendTo:
    """Send `message` to the worker `name`."""

    name: str
    message: ToWorker


@dataclass(frozen=True, slots=True)
class RecordMessage:
    """Record a message of a worker."""

    message: Report | Evaluated | State


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Let `DeadlineExpired` happen in `seconds`; None cancels the deadline."""

    seconds: float | None


RunEffect: TypeAlias = SendTo | RecordMessage | SetDeadline | RunEnd
