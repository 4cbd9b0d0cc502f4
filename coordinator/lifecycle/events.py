"""What happens to a run, beside what its workers say, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol import Evaluated, Report, State, ToCoordinator, ToWorker

Outcome: TypeAlias = Literal["completed", "interrupted", "failed"]


# -- events


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker's process ended; `status` is its exit code, or minus the signal that killed it.

    `words` are the last lines that it wrote, `how` says more than the status where there is more.
    """

    name: str
    status: int
    words: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user wants an end."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline that was set last has passed."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The run cannot go on, though all workers are there; `text` says why."""

    text: str


Event: TypeAlias = ToCoordinator | Exited | Interrupted | Expired | Broken

# -- effects


@dataclass(frozen=True, slots=True)
class Tell:
    """Send `message` to the worker `name`."""

    name: str
    message: ToWorker


@dataclass(frozen=True, slots=True)
class Record:
    """Keep what a worker said."""

    message: Report | Evaluated | State


@dataclass(frozen=True, slots=True)
class Deadline:
    """Let `Expired` happen in so many seconds; None takes the deadline back."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class End:
    """The run is over. `text` explains a failure; `user` says that the user can mend it."""

    outcome: Outcome
    text: str = ""
    user: bool = False


Effect: TypeAlias = Tell | Record | Deadline | End
