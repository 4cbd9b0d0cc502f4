"""The wait for hosts: what is reported meanwhile, and when training starts or the wait ends.

A policy decides. The agents of `LaunchedHosts` are started by a launcher; those of `PastedHosts` by
people, who can be asked whether to train with fewer workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from coordinator.cluster.launchers.launcher import Launcher
from coordinator.cluster.registry import Registry
from protocol import RunError

ASK_SECONDS: Final = 30.0
"""Seconds without a new host after which a person is asked, or layers share workers."""
FIRST_REPORT_SECONDS: Final = 5.0
SLOWEST_REPORT_SECONDS: Final = 60.0


class Roster(NamedTuple):
    """The hosts that have joined, and what is missing.

    `joined` holds the name in the run, the host name and the slots of each host. `data_host` is the
    host with the data if it has not joined yet, else empty. If `closed`, no other host may join.
    """

    wanted: int
    joined: tuple[tuple[str, str, int], ...] = ()
    data_host: str = ""
    closed: bool = False

    @property
    def slots(self) -> int:
        """The number of workers that the hosts can run."""
        return sum(slots for _, _, slots in self.joined)

    @property
    def complete(self) -> bool:
        """Whether training can start with the wanted number of workers."""
        return self.slots >= self.wanted and not self.data_host

    @property
    def text(self) -> str:
        """What has joined and what is missing, such as `1 of 2 slots joined: host1 (1)`."""
        listed = ", ".join(f"{name} ({slots})" for name, _, slots in self.joined)
        colon = f": {listed}" if listed else ""
        missing = max(0, self.wanted - self.slots)
        need = f"; need {missing} more" if missing else ""
        joined = f"{min(self.slots, self.wanted)} of {self.wanted} slots joined{colon}{need}"
        return f"{joined}; {self._data_text}" if self.data_host else joined

    @property
    def _data_text(self) -> str:
        """What is missing if the host with the data has not joined."""
        hosts = ", ".join(f"{name} ({host})" for name, host, _ in self.joined)
        where = f"is none of {hosts}" if hosts else "has not joined"
        return f"need {self.data_host} (data.host), which {where}"


class Policy(Protocol):
    """Decides when training starts."""

    def changed(self, roster: Roster) -> None:
        """A host joined or left."""

    def workers(self, roster: Roster) -> int | None:
        """The number of workers with which training starts now; None to wait. Raises RunError.

        Called ten times a second with a roster that is not complete.
        """


class Gathering:
    """One wait: for hosts with `wanted` slots, and for the host `data_host`, by a `policy`."""

    def __init__(self, registry: Registry, wanted: int, data_host: str, policy: Policy) -> None:
        self._registry = registry
        self._wanted = wanted
        self._data_host = data_host
        self._policy = policy
        self._roster = Roster(wanted)

    @property
    def text(self) -> str:
        """What is missing, for a person."""
        return self._roster.text

    def workers(self) -> int | None:
        """With how many workers training starts now; None to wait. Raises RunError to give up."""
        roster = self._current_roster()
        if roster != self._roster:
            self._roster = roster
            self._policy.changed(roster)
        return self._wanted if roster.complete else self._policy.workers(roster)

    def _current_roster(self) -> Roster:
        registry = self._registry
        joined = tuple((host.name, host.host, host.slots) for host in registry.joined)
        missing = "" if registry.find(self._data_host) else self._data_host
        return Roster(self._wanted, joined, missing, registry.closed)


class LaunchedHosts:
    """Hosts whose agents a launcher starts. `report` takes lines about missing agents.

    The wait ends after `seconds`, None for never.
    """

    def __init__(
        self, launcher: Launcher, seconds: float | None, report: Callable[[str], None]
    ) -> None:
        self._launcher = launcher
        self._seconds = seconds
        self._report = report
        self._began = time.monotonic()
        self._report_times = _times()
        self._due = next(self._report_times)

    def changed(self, roster: Roster) -> None:
        """Nothing: what is missing is reported at intervals."""

    def workers(self, roster: Roster) -> int | None:
        """See `Policy`; always None. Raises RunError if an agent ended, or the time is over."""
        if ended := self._launcher.ended():
            raise RunError("; ".join(ended))
        if roster.slots >= roster.wanted:
            raise RunError(roster.text)
        waited = time.monotonic() - self._began
        if self._seconds is not None and waited >= self._seconds:
            raise RunError(f"{self._text(roster, waited)} (--start-timeout {self._seconds:g})")
        if waited >= self._due:
            self._due = next(self._report_times)
            self._report(self._text(roster, waited))
        return None

    def _text(self, roster: Roster, waited: float) -> str:
        kept = "; ".join(self._launcher.pending())
        return f"waited {waited:.0f} s for agents: {roster.text}" + (f"; {kept}" * bool(kept))


def _times() -> Iterator[float]:
    """When to report, in seconds from the start: 5, 10, 20, 40, 80, then every minute."""
    due = step = FIRST_REPORT_SECONDS
    while True:
        yield due
        due, step = due + step, min(2 * step, SLOWEST_REPORT_SECONDS)


class Question(Protocol):
    """A question to a person; asking does not block."""

    def ask(self, text: str) -> None:
        """Ask the question `text` in place of an earlier one."""

    def answer(self) -> bool | None:
        """Yes or no; None while there is no answer."""


class PastedHosts:
    """Hosts that people join; `report` takes lines whenever the roster changes.

    After `seconds` in which no host came (None: `ASK_SECONDS`) the layers share the slots
    that have joined, if `share`; else a person is asked the `question` whether they may.
    Without a question the wait ends if `seconds` is given, else it goes on. With `fixed` the
    pipeline has a placement of its own, which is neither changed nor asked about.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        *,
        share: bool = False,
        fixed: bool = False,
        seconds: float | None = None,
        question: Question | None = None,
    ) -> None:
        self._report = report
        self._share = share
        self._fixed = fixed
        self._seconds = seconds
        self._question = question
        self._has_asked = self._declined = False
        self._since = time.monotonic()

    def changed(self, roster: Roster) -> None:
        """Report which slots are there, and which are missing."""
        self._since = time.monotonic()
        self._has_asked = self._declined = False
        if not roster.complete:
            self._report(self._text(roster))

    def workers(self, roster: Roster) -> int | None:
        """See `Policy`. Raises RunError if the hosts that may join are not enough."""
        limit = ASK_SECONDS if self._seconds is None else self._seconds
        waited = time.monotonic() - self._since >= limit or roster.closed
        if not waited:
            return None
        if roster.slots and not roster.data_host:
            if self._share:
                return self._shared(roster)
            if self._question is not None and not (self._fixed or self._declined):
                return self._answered(roster, self._question)
        if roster.closed:
            raise RunError(self._text(roster))
        if self._seconds is not None and not self._declined:
            raise RunError(f"{self._text(roster)}; no host came for {limit:g} s (--wait)")
        return None

    def _answered(self, roster: Roster, question: Question) -> int | None:
        if not self._has_asked:
            self._has_asked = True
            question.ask(f"train with {_workers(roster.slots)}, so that layers share?")
        answer = question.answer()
        if answer is False:
            self._declined = True
            self._report("waiting on; Ctrl-C ends the run")
        return self._shared(roster) if answer else None

    def _shared(self, roster: Roster) -> int:
        self._report(f"training with {_workers(roster.slots)}: layers share")
        return roster.slots

    def _text(self, roster: Roster) -> str:
        text = roster.text
        if 0 < roster.slots < roster.wanted and not (self._share or self._fixed):
            text += f", or --workers {roster.slots}"
        if roster.closed:
            text += "; the token is used up, see --joins"
        return text


def _workers(count: int) -> str:
    return f"{count} {'worker' if count == 1 else 'workers'}"
