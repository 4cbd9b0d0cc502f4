"""How many file descriptors a run needs: ZeroMQ ends a process that has none left, without a word.

What each number stands for was counted in /proc/PID/fd of runs with 1 to 10 layers.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from typing import Final

from protocol import Pipeline, RunError

_WORKER: Final = 20
"""Standard streams, ZeroMQ's threads, the coordinator's line, files that are open for a moment, and
three in reserve."""
_NEIGHBOUR: Final = 7
"""An inbox, its listener and its connection; an outlet and its connection; and for each of the two
directions the shared memory through which large arrays go."""
_CORE: Final = 2
"""The files of its trace and of its messages."""
_HEAD: Final = 21
"""The run's files, ZeroMQ's threads, the sockets, the control socket with its connections, and the
pipes of a process that starts."""
_CHILD: Final = 2
"""The pipe to a worker, or to the program that leads to an agent, and a connection or a file."""
_SPOKEN: Final = 1
"""A connection of a worker or an agent on another machine."""


def of_worker(inboxes: int, cores: int) -> int:
    """What a worker needs that hears so many cores of others, for so many of its own."""
    return _WORKER + _NEIGHBOUR * inboxes + _CORE * cores


def of_workers(pipeline: Pipeline) -> int:
    """What the worker of `pipeline` needs that needs most."""
    return max(
        of_worker(
            sum(e.receiver in cores and e.sender not in cores for e in pipeline.edges), len(cores)
        )
        for cores in pipeline.workers.values()
    )


def of_head(children: int, machines: int = 0) -> int:
    """What this process needs beside what it has open: for so many children, and on machines."""
    return _open() + _HEAD + _CHILD * children + _SPOKEN * machines


def ensure(needs: Iterable[int]) -> None:
    """Let this process and its children have as many as the largest of `needs`.

    Raises RunError where the system does not allow so many.
    """
    needed = max(needs)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RunError(
            f"a process of this run needs {needed} file descriptors, and {hard} are allowed; "
            f"raise the limit with `ulimit -n {needed}`, for which root may be needed"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _open() -> int:
    """How many are open here; where nobody says so, the standard streams."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return 3
