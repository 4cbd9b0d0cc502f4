"""A run whose head is here: wait for machines, divide the layers among them, train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final

from coordinator.cluster.engine import SeveralEngine
from coordinator.cluster.gather import Policy, gather
from coordinator.cluster.launchers.launcher import Launcher
from coordinator.cluster.listen import Door
from coordinator.cluster.placement import grouped
from coordinator.control.run_control import RunControl
from coordinator.engines.descriptors import ensure, of_head, of_workers
from coordinator.lifecycle.events import RunEnd
from coordinator.lifecycle.loop import run_processes
from coordinator.lifecycle.train import Drive
from coordinator.observers.observer import Observers
from protocol import Pipeline, RunError
from protocol.endpoint import ANY_PORT, Endpoint
from protocol.security.token import INSECURE

STOP_SECONDS: Final = 10.0
"""How long weights may take to come home; on one machine it is less."""


class Pasted:
    """Machines on which people paste a line. See `coordinator.cluster.launchers.launcher.Launcher`.

    `tell` is called with that line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def local_address(self) -> str:
        """Raises RunError: only the user knows at which address hosts reach this one."""
        raise RunError("--bind: is wanted where machines join by themselves")

    def launch(self, token: str, slots: int) -> None:
        """Tell a person what to paste, and where."""
        self._tell(f"dni join {token}")
        some = "" if slots == 1 else "; --slots N behind it gives N of them a place there"
        self._tell(f"waiting for {slots} workers; paste the line above on each host{some}")

    def ended(self) -> list[str]:
        """Nobody: agents that people start are not this process's children."""
        return []

    def pending(self) -> list[str]:
        """Nothing: the policy says which slots are missing."""
        return []

    def close(self) -> None:
        """They leave when the head says so."""


@contextmanager
def _closed(launcher: Launcher) -> Iterator[None]:
    """Closes `launcher` at the end; what it cannot clear away is said with what went wrong."""
    try:
        yield
    except RunError as error:
        try:
            launcher.close()
        except RunError as left:
            raise RunError(f"{error}; {left}") from None
        raise
    except BaseException:
        launcher.close()
        raise
    launcher.close()


def elsewhere(
    pipeline: Pipeline,
    launcher: Launcher,
    door: Door | None,
    info: dict[str, object] | None,
    costs: Mapping[str, float],
    tell: Callable[[str], None],
    policy: Callable[[], Policy],
) -> Drive:
    """What trains `pipeline` with agents of `launcher`, which is closed at the end.

    The head is behind `door`, else at any port of the address at which the agents find it. `tell`
    is called with what there is to say of them. The wait for them is by the `policy` that is made
    when it begins. Raises RunError where the system does not let processes open what they need.
    """
    count = len(pipeline.workers)
    ensure((of_head(count, 2 * count), of_workers(pipeline)))

    def drive(observers: Observers, control: RunControl) -> RunEnd:
        with _closed(launcher):
            where = door or Door(str(Endpoint(launcher.local_address(), ANY_PORT)))
            head, token = where.opened(pipeline, tell)
            if not token.secure:
                tell(INSECURE)
            with closing(head):
                wanted = len(pipeline.workers) - 1
                head.begin(observers.folder, control.poll)
                control.hosts = head
                launcher.launch(str(token), wanted)
                at = pipeline.data.host
                interrupts = observers.interrupts
                workers = gather(head, wanted, at, interrupts, policy(), control.poll)
                if workers is None:
                    return RunEnd("interrupted")
                divided = grouped(pipeline, workers, costs)
                if pipeline.data_away:
                    tell(f"{at} reads the data")
                observers.place(divided)
                threads = pipeline.train.threads
                run, sockets = observers.folder, control.sockets
                engine = SeveralEngine(head, run, sockets, threads, costs)
                return run_processes(divided, info, engine, observers, control, STOP_SECONDS)

    return drive
