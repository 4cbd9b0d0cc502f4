"""A run whose head is here and whose agents an engine starts, on whatever it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from coordinator.engines.launch import Launcher
from coordinator.run import End
from coordinator.several.head import Head
from coordinator.several.up import opened, several
from coordinator.train import Drive
from coordinator.watch import Watch
from protocol import Pipeline, RunError


def elsewhere(
    pipeline: Pipeline,
    launcher: Launcher,
    bind: str | None,
    facts: dict[str, object],
    folder: Path,
    costs: Mapping[str, float],
    tell: Callable[[str], None],
) -> Drive:
    """What trains `pipeline` with agents of `launcher`, which is closed at the end.

    The head listens at `bind`, else at any port of the address at which the agents find it.
    """

    def drive(watch: Watch) -> End:
        with closing(launcher):
            where = bind or f"tcp://{launcher.home()}:*"
            head, token = opened(pipeline, where, None, tell)
            if not _gathered(head, str(token), pipeline, launcher, watch):
                return End("interrupted")
            return several(head, pipeline, facts, folder, costs)(watch)

    return drive


def _gathered(head: Head, token: str, pipeline: Pipeline, launcher: Launcher, watch: Watch) -> bool:
    """Whether all agents came; the head is closed where they did not."""
    wanted = len(pipeline.processes) - 1
    here = False
    try:
        launcher.launch(token, wanted)
        here = head.gather(wanted, lambda: _in_vain(launcher, watch))
    finally:
        if not here:
            head.close()
    return here


def _in_vain(launcher: Launcher, watch: Watch) -> bool:
    """Whether the user asked for an end. Raises RunError where an agent has ended."""
    if gone := launcher.gone():
        raise RunError("; ".join(gone))
    return watch.interrupts.count > 0
