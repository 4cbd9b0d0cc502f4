"""How many file descriptors a run needs: ZeroMQ aborts a process that has none left.

The numbers were counted in /proc/PID/fd of runs with 1 to 10 layers.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from typing import Final

from protocol import Pipeline, RunError

_WORKER: Final = 20
"""Standard streams, ZeroMQ's threads, the connection to the coordinator, files that are open for a
moment, and three in reserve."""
_NEIGHBOUR: Final = 7
"""An inbox, its listener and its connection; an outlet and its connection; and for each of the two
directions the shared memory through which large arrays go."""
_STAGE: Final = 2
"""The files of its trace and of its recorded messages."""
_HEAD: Final = 21
"""The run's files, ZeroMQ's threads, the sockets, the control socket with its connections, and the
pipes of a process that starts."""
_CHILD: Final = 2
"""The pipe to a worker or to the client program of an agent, and a connection or a file."""
_REMOTE: Final = 1
"""A connection of a worker or an agent on another host."""


def of_worker(inboxes: int, stages: int) -> int:
    """The descriptors of a worker with that many inboxes and stages."""
    return _WORKER + _NEIGHBOUR * inboxes + _STAGE * stages


def of_workers(pipeline: Pipeline) -> int:
    """The descriptors of the worker of `pipeline` that needs the most."""
    return max(
        of_worker(
            sum(e.receiver in stages and e.sender not in stages for e in pipeline.edges),
            len(stages),
        )
        for stages in pipeline.workers.values()
    )


def of_head(children: int, remote: int = 0) -> int:
    """The descriptors of this process, with `children` and with connections to other hosts."""
    return _open() + _HEAD + _CHILD * children + _REMOTE * remote


def ensure(needs: Iterable[int]) -> None:
    """Raise the limit of this process and its children to the largest of `needs`.

    Raises RunError if the system does not allow that many.
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
    """The number of open descriptors; that of the standard streams if the system does not say."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return 3
