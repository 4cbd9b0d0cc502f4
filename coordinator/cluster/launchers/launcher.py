"""The interface of launchers: what starts the agents of a run on other hosts.

A launcher runs `dni join -` somewhere, with the token on standard input. The head stays in the
process of `dni run`, and every agent that joins is treated the same. A launcher therefore starts
agents, reports which have ended, and leaves none behind.

A launcher is a class that an entry point of the group `dni.launchers` names:

    class Mine:
        api_version = 1
        options_type = MineOptions      # a dataclass, see coordinator.engines.options
        start_timeout = 120.0

        def __init__(self, options: MineOptions) -> None: ...

and that has the methods of `Launcher`. The module is imported whenever `dni run` builds its command
line, so it imports a heavy library inside its methods. `docs/engines.md` has a complete launcher.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

API_VERSION: Final = 1
"""The version of this interface. A launcher states the version that it is written for."""
GROUP: Final = "dni.launchers"
"""The group of entry points that names launchers."""


class Launcher(Protocol):
    """Starts agents. The head calls `local_address`, then `launch`, and `close` in any case."""

    def local_address(self) -> str:
        """The address of this host at which the agents reach it. Raises RunError."""

    def launch(self, token: str, slots: int) -> None:
        """Start agents with `slots` worker slots in all, and return without waiting for them.

        Each agent reads `token` from its standard input: command lines and files are visible to
        other users. Raises RunError where the start is known at once to be impossible.
        """

    def ended(self) -> list[str]:
        """The agents that have ended, one line each: the name, how it ended, its last output.

        Called ten times a second while agents are missing, so it must not block.
        """

    def pending(self) -> list[str]:
        """The known reasons why agents have not joined yet, one line each, with what to look at.

        Called a few times a minute while agents are missing.
        """

    def close(self) -> None:
        """End every agent that is left. Called once, also after a `launch` that failed.

        Raises RunError that names what is left where an agent or a job cannot be ended.
        """


class LauncherClass(Protocol):
    """The class that an entry point names; calling it with parsed options makes a `Launcher`."""

    api_version: int
    options_type: type
    start_timeout: float | None
    """Seconds that agents have to join where the user sets no limit; None for no limit."""

    def __call__(self, options: Any) -> Launcher:
        """A launcher with these options. Raises RunError for options that are not usable."""


def last_line(text: str) -> str:
    """The last line of `text` that is not blank; "no output" where there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
