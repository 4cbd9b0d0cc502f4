"""What happens to a run, beside what its workers say, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol import Evaluated, Report, State, ToCoordinator, ToWorker

Outcome: TypeAlias = Literal["completed", "interrupted", "failed"]


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


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The user wants an end."""


@dataclass(frozen=True, slots=True)
class DeadlineExpired:
    """The deadline that was set last has passed."""


@dataclass(frozen=True, slots=True)
class RunBroken:
    """The run cannot go on, though all workers are there; `text` says why."""

    text: str


RunEvent: TypeAlias = ToCoordinator | WorkerExited | StopRequested | DeadlineExpired | RunBroken

# -- effects


@dataclass(frozen=True, slots=True)
class SendTo:
    """Send `message` to the worker `name`."""

    name: str
    message: ToWorker


@dataclass(frozen=True, slots=True)
class RecordMessage:
    """Keep what a worker said."""

    message: Report | Evaluated | State


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Let `DeadlineExpired` happen in so many seconds; None takes the deadline back."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The run is over. `text` explains a failure; `user` says that the user can mend it."""

    outcome: Outcome
    text: str = ""
    user: bool = False


RunEffect: TypeAlias = SendTo | RecordMessage | SetDeadline | RunEnd
