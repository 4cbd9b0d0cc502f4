"""The process of a worker: how it begins, where its messages come from, and how it ends.

Standard input brings the configuration as one line of JSON. When it closes, the coordinator is
gone, and the worker exits.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from typing import Any, cast

import numpy as np

from protocol.transport.warn import warn
from workers.channel import Config
from workers.lifeline import remove_folders
from workers.transport.transport import WorkerKeys, WorkerTransport
from workers.worker import Worker


def main() -> int:
    """Run the worker that standard input describes; returns the exit status, 0 after Leave."""
    np.seterr(all="ignore")  # the stages check for non-finite numbers themselves
    line = sys.stdin.buffer.readline()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator handles it and sends Stop
    if not line:  # the coordinator died before it wrote the configuration
        remove_folders()
        return 1
    config = Config(**json.loads(line))
    os.nice(config.nice)
    keys = WorkerKeys(*cast(Any, config.keys)) if config.keys else None
    transport = WorkerTransport(config.control, sys.stdin.fileno(), keys)
    worker = Worker(config, transport, on_built=_prepare_for_training, warn=warn)
    try:
        for _ in worker.run():
            pass
    except EOFError:
        transport.close(flush=False)
        remove_folders()
        return 1
    transport.close(flush=True)
    return int(worker.failed)


def _prepare_for_training() -> None:
    """Prepare the process for training, once everything that stays is in memory."""
    gc.freeze()  # collections need not look at it again
    _take_long_turns()


def _take_long_turns() -> None:
    """Do not let a worker that wakes up preempt another in the middle of a batch.

    If processors are short, this spares the caches, since each worker has its own weights.
    ZeroMQ's threads keep their policy: with the batch policy, messages would come late and
    together, and gradients would be dropped.
    """
    with contextlib.suppress(AttributeError, OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
