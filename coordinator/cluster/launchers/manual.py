"""The launcher of `dni up`: a person starts the agents, by pasting a line on each host."""

from __future__ import annotations

from collections.abc import Callable

from protocol import RunError


class Manual:
    """Shows the line to paste, by `report`. Implements `Launcher`."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def local_address(self) -> str:
        """Raises RunError: only the user knows at which address hosts reach this one."""
        raise RunError("--bind: give the address of this host at which other hosts join")

    def launch(self, token: str, slots: int) -> None:
        """Show what to paste."""
        self._report(f"dni join {token}")
        some = "" if slots == 1 else "; --slots N runs N of them on one host"
        workers = "1 worker" if slots == 1 else f"{slots} workers"
        self._report(f"waiting for {workers}; paste the line above on each host{some}")

    def ended(self) -> list[str]:
        """Always empty: the agents are not children of this process."""
        return []

    def pending(self) -> list[str]:
        """Always empty: `PastedHosts` reports which slots are missing."""
        return []

    def close(self) -> None:
        """Nothing to end: agents leave when the head tells them to."""
