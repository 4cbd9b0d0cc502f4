"""The process around a core: the clock, and how it begins and ends.

A worker binds its inboxes, tells the coordinator where they are, builds its core when it is told
what to be, and then receives, works and sends until it is told to leave. Standard input is the
lifeline: it brings the configuration, and when it closes the coordinator is gone and the worker
leaves by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np

from protocol import (
    VERSION,
    Activation,
    Core,
    Credit,
    Failed,
    Go,
    Gradient,
    Hello,
    Leave,
    Mark,
    NonFiniteError,
    Peer,
    Pipeline,
    Ready,
    Start,
    Stop,
    ToWorker,
    UserError,
    build,
)
from workers.build import Facts, build_layer
from workers.data import load
from workers.links import Links
from workers.meter import Meter
from workers.source import Source

REPORT_SECONDS: Final = 0.5
LONGEST_TEXT: Final = 20_000
_ORPHAN_SECONDS: Final = 0.5

Told = TypeVar("Told", bound=ToWorker)


@dataclass(frozen=True, slots=True)
class Config:
    """What a worker is started with, as one line of JSON on standard input.

    `below` and `above` are where to bind the inboxes for messages from there, "" for none;
    `folder` holds the sockets and is removed when the coordinator is gone, "" for none; `nice` is
    how far the process steps back behind others.
    """

    name: str
    control: str
    below: str
    above: str
    folder: str
    nice: int = 0


class _Leave(Exception):  # noqa: N818  not an error
    """The coordinator said so."""


def main() -> int:
    """Be a worker. The exit status is 0 after an orderly end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator hears it, and tells us
    np.seterr(all="ignore")  # the layers look for non-finite numbers themselves
    config = Config(**json.loads(sys.stdin.buffer.readline()))
    os.nice(config.nice)
    threading.Thread(target=_outlive, args=(config.folder,), daemon=True).start()
    links = Links(config.name, config.control, sys.stdin.fileno())
    try:
        _Worker(config, links).live()
    except _Leave:
        links.close(flush=True)
    except EOFError:
        links.close(flush=False)
        shutil.rmtree(config.folder, ignore_errors=True)
        return 1
    except SystemExit:
        links.close(flush=True)
        return 1
    return 0


def _outlive(folder: str) -> None:
    """Wait for the lifeline to close, then see to it that this process ends.

    The main thread sees the same and leaves in an orderly way; this one ends a computation that
    takes too long for that.
    """
    while os.read(sys.stdin.fileno(), 4096):
        pass
    time.sleep(_ORPHAN_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


class _Worker:
    def __init__(self, config: Config, links: Links) -> None:
        self._config = config
        self._links = links
        self._core: Core | None = None

    def live(self) -> None:
        """Train until told to leave. What goes wrong is told to the coordinator."""
        try:
            self._core = self._enlist()
            self._train(self._core, Meter(self._core))
        except (_Leave, EOFError):
            raise
        except NonFiniteError as error:
            self._fail(Failed(self._config.name, self._step, "nonfinite", str(error)))
        except UserError as error:
            self._fail(Failed(self._config.name, self._step, "user", str(error)))
        except Exception:
            self._fail(Failed(self._config.name, self._step, "error", traceback.format_exc()))

    @property
    def _step(self) -> int:
        return self._core.step if self._core else 0

    def _fail(self, message: Failed) -> None:
        """Say what went wrong; of a long text the end, where tracebacks say it."""
        text = message.text[-LONGEST_TEXT:].encode("utf-8", "replace").decode()
        short = replace(message, text=text)
        self._links.send(Peer.COORDINATOR, short)
        raise SystemExit(1)

    def _enlist(self) -> Core:
        """Say who is here, be told what to be, build it and wire it."""
        config, links = self._config, self._links
        below = links.bind(Peer.BELOW, config.below)
        above = links.bind(Peer.ABOVE, config.above)
        links.send(Peer.COORDINATOR, Hello(config.name, os.getpid(), VERSION, below, above))
        start = self._wait(Start)
        pipeline = build(Pipeline, start.pipeline)
        links.connect(Peer.BELOW, start.below, pipeline.window)
        links.connect(Peer.ABOVE, start.above, pipeline.window)
        core = _core(start, pipeline)
        links.send(Peer.COORDINATOR, Ready(config.name))
        if start.position == 0:
            self._wait(Go)  # the layers do not: a batch may well be quicker than the word
        return core

    def _wait(self, word: type[Told]) -> Told:
        while True:
            for peer, message in self._links.poll(1.0):
                if peer is Peer.COORDINATOR and isinstance(message, word):
                    return message
                if peer is Peer.COORDINATOR and isinstance(message, Leave | Stop):
                    raise _Leave

    def _train(self, core: Core, meter: Meter) -> None:
        due = time.monotonic() + REPORT_SECONDS
        told_to_stop = False
        while not (core.finished or told_to_stop):
            wait = 0.0 if core.ready else max(0.0, due - time.monotonic())
            told_to_stop = self._receive(core, wait)
            if core.ready:
                for peer, message in meter.work():
                    self._links.send(peer, message)
            if time.monotonic() >= due:
                due = time.monotonic() + REPORT_SECONDS
                self._links.send(Peer.COORDINATOR, meter.report())
                for peer, message in core.beat():
                    self._links.send(peer, message)
        state = core.state()
        if state is not None:
            self._links.send(Peer.COORDINATOR, state)
        self._links.send(Peer.COORDINATOR, meter.report(finished=True))
        self._wait(Leave)
        raise _Leave

    def _receive(self, core: Core, seconds: float) -> bool:
        """Take in what has come; True when told to stop."""
        for peer, message in self._links.poll(seconds):
            match peer, message:
                case Peer.COORDINATOR, Stop():
                    return True
                case Peer.COORDINATOR, Leave():
                    raise _Leave
                case Peer.BELOW, Activation() | Mark():
                    core.receive(message)
                case Peer.ABOVE, Gradient() | Credit() | Mark():
                    core.receive(message)
                case _:
                    pass
        return False


def _core(start: Start, pipeline: Pipeline) -> Core:
    """The core at `start.position`. Raises UserError where pipeline, data and layer do not fit."""
    if start.position == 0:
        return Source(pipeline, load(pipeline.data.name, pipeline.data.path))
    return build_layer(pipeline, build(Facts, start.facts), start.position - 1)
