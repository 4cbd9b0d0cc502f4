"""The process around a core: the clock, and how it begins and ends.

A worker binds its inboxes, tells the coordinator where they are, builds its core when it is told
what to be, and then receives, works and sends until it is told to leave. Standard input is the
lifeline: it brings the configuration, and when it closes the coordinator is gone and the worker
leaves by itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import numpy as np

from protocol import (
    VERSION,
    Activation,
    Core,
    Credit,
    Described,
    Edge,
    Evaluated,
    Failed,
    Go,
    Gradient,
    Hello,
    Leave,
    Mark,
    NonFiniteError,
    Pipeline,
    Pong,
    Ready,
    Send,
    Start,
    State,
    Stop,
    ToWorker,
    UserError,
    build,
)
from protocol.clock import Estimate
from protocol.dataset_info import Facts
from protocol.messages import Cause
from protocol.pipeline import SOURCE
from workers.assembly.build import build_layer, facts_of
from workers.data import Dataset, load
from workers.lifeline import remove_folders
from workers.recording.clock import FIRST, Clock
from workers.recording.instrument import Meter, metered
from workers.stages.source import Source
from workers.transport.edge_formats import Widths
from workers.transport.sockets import Keys, Links
from workers.transport.warn import complain
from workers.transport.window import Way

REPORT_SECONDS: Final = 0.5
SILENT_SECONDS: Final = 1.0
"""The longest that a worker says nothing before it trains."""
LOOK_SECONDS: Final = 0.01
"""Between looks whether the data have been read."""
LONGEST_TEXT: Final = 20_000

Told = TypeVar("Told", bound=ToWorker)


@dataclass(frozen=True, slots=True)
class Config:
    """What a worker is started with, as one line of JSON on standard input.

    `inboxes` says where to bind the inbox at the end of each edge, by the edge's name; `nice` is
    how far the process steps back behind others, `trace` the folder for what is recorded,
    `clock` the name of the coordinator's clock, and `keys` are `sockets.Keys`.
    """

    name: str
    control: str
    inboxes: dict[str, str]
    nice: int = 0
    trace: str = ""
    clock: str = ""
    keys: list[object] | None = None


class _Leave(Exception):  # noqa: N818  not an error
    """The coordinator said so."""


def main() -> int:
    """Be a worker. The exit status is 0 after an orderly end."""
    np.seterr(all="ignore")  # the layers look for non-finite numbers themselves
    line = sys.stdin.buffer.readline()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator hears it, and tells us
    if not line:  # the coordinator died before it could say anything
        remove_folders()
        return 1
    config = Config(**json.loads(line))
    os.nice(config.nice)
    keys = Keys(*cast(Any, config.keys)) if config.keys else None
    links = Links(config.control, sys.stdin.fileno(), keys)
    try:
        _Worker(config, links).live()
    except _Leave:
        links.close(flush=True)
    except EOFError:
        links.close(flush=False)
        remove_folders()
        return 1
    except SystemExit:
        links.close(flush=True)
        return 1
    return 0


def _take_long_turns() -> None:
    """Let no worker that wakes up take the processor from another in the middle of a batch.

    Where cores are short that spares the caches, for each has its own weights. ZeroMQ's threads go
    on as they did: with them messages come late and together, and gradients are dropped for it.
    """
    with contextlib.suppress(AttributeError, OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class _Worker:
    """One process: the cores that live in it, and the way between them and the others."""

    def __init__(self, config: Config, links: Links) -> None:
        self._config = config
        self._links = links
        self._meters: dict[str, Meter] = {}
        self._widths: Widths
        self._clock = Clock(config.name, config.clock)
        self._at_work = config.name  # who is to blame

    def live(self) -> None:
        """Train until told to leave. What goes wrong is told to the coordinator."""
        try:
            self._enlist()
            self._train()
        except (_Leave, EOFError):
            raise
        except NonFiniteError as error:
            self._fail("nonfinite", str(error))
        except UserError as error:
            self._fail("user", str(error))
        except Exception as error:
            complain(f"{type(error).__name__}: {error}")  # the line may be what is broken
            self._fail("error", traceback.format_exc())
        finally:
            for meter in self._meters.values():
                meter.close()

    def _fail(self, cause: Cause, text: str) -> None:
        """Say what went wrong; of a long text the end, where tracebacks say it."""
        meter = self._meters.get(self._at_work)
        step = meter.core.step if meter else 0
        short = text[-LONGEST_TEXT:].encode("utf-8", "replace").decode()
        self._links.tell(Failed(self._at_work, step, cause, short))
        raise SystemExit(1)

    def _enlist(self) -> None:
        """Say who is here, be told what to be, build it and wire it."""
        name, links = self._config.name, self._links
        inboxes = self._config.inboxes.items()
        doors = {edge: links.bind(Edge.named(edge), endpoint) for edge, endpoint in inboxes}
        links.tell(Hello(name, os.getpid(), VERSION, cast(dict[str, object], doors)))
        start = self._wait(Start)
        pipeline = build(Pipeline, start.pipeline)
        for edge, endpoint in start.doors.items():
            links.connect(Edge.named(edge), str(endpoint), pipeline.window)
        self._widths = Widths(pipeline)
        time_there = self._compare_clocks()
        for core in self._cores(name, start, pipeline):
            meter = metered(core, pipeline, start.facts, self._config.trace, time_there)
            for way in links.long_ways:
                if way.sender == core.name:
                    meter.far(way.receiver, Way(pipeline.window, pipeline.most_window))
            self._meters[core.name] = meter
        gc.freeze()  # all that is here stays: it need not be looked through again and again
        _take_long_turns()
        links.tell(Ready(name))
        if name == SOURCE:
            self._wait(Go)  # the layers do not: a batch may well be quicker than the word

    def _cores(self, name: str, start: Start, pipeline: Pipeline) -> list[Core]:
        """The cores of this worker. Raises UserError where pipeline and data do not fit."""
        if name == SOURCE:
            if start.facts:  # who gave them has read the data, so they are here and take no time
                return [Source(pipeline, load(pipeline.data.name, pipeline.data.path))]
            data = self._read(pipeline)
            self._links.tell(Described(SOURCE, facts_of(data).as_dict()))
            return [Source(pipeline, data)]
        facts = build(Facts, start.facts)
        numbers = [pipeline.cores.index(core) - 1 for core in pipeline.processes[name]]
        return [build_layer(pipeline, facts, number) for number in numbers]

    def _read(self, pipeline: Pipeline) -> Dataset:
        """The data, which may take long to fetch: meanwhile the coordinator is listened to."""
        found: Future[Dataset] = Future()

        def read() -> None:
            try:
                found.set_result(load(pipeline.data.name, pipeline.data.path))
            except BaseException as error:  # whatever it is, the thread that waits raises it
                found.set_exception(error)

        threading.Thread(target=read, daemon=True).start()
        due = 0.0
        while not found.done():
            for edge, message in self._links.poll(LOOK_SECONDS):
                if edge is None and isinstance(message, Leave | Stop):
                    raise _Leave
            if time.monotonic() >= due:
                due = time.monotonic() + SILENT_SECONDS
                self._keep_known()
        return found.result()

    def _keep_known(self) -> None:
        """Say a word: who is silent on a line between machines is not found after a break."""
        if self._config.keys:
            self._links.tell(self._clock.ask(time.monotonic_ns()))

    def _compare_clocks(self) -> Estimate:
        """What time it is at the coordinator."""
        now = time.monotonic_ns()
        if self._clock.shared:
            return Estimate(now, now, 0)
        found: list[Estimate] = []
        while len(found) < FIRST:
            self._links.tell(self._clock.ask(time.monotonic_ns()))
            answer = self._clock.answered(self._wait(Pong), time.monotonic_ns())
            found += [answer] if answer else []
        return min(found, key=lambda answer: answer.bound)

    def _note_time(self, pong: Pong) -> None:
        now = time.monotonic_ns()
        answer = self._clock.answered(pong, now)
        if answer and (best := self._clock.kept(answer, now)):
            for meter in self._meters.values():
                meter.compared(best)

    def _wait(self, word: type[Told]) -> Told:
        while True:
            for edge, message in self._links.poll(SILENT_SECONDS):
                if edge is None and isinstance(message, word):
                    return message
                if edge is None and isinstance(message, Leave | Stop):
                    raise _Leave
            if word is not Pong:
                self._keep_known()

    def _train(self) -> None:
        due = time.monotonic() + REPORT_SECONDS
        told_to_stop = False
        while not (told_to_stop or all(m.core.finished for m in self._meters.values())):
            meter = self._next()
            wait = 0.0 if meter else max(0.0, due - time.monotonic())
            told_to_stop = self._receive(wait)
            if meter := meter or self._next():
                self._at_work = meter.core.name
                self._send(meter.core.name, meter.work())
            if time.monotonic() >= due:
                due = time.monotonic() + REPORT_SECONDS
                for name, meter in self._meters.items():
                    self._links.tell(meter.report())
                    self._send(name, meter.beat())
                if not self._clock.shared:
                    self._links.tell(self._clock.ask(time.monotonic_ns()))
        for meter in self._meters.values():
            state = meter.state()
            meter.close()
            if state is not None:
                self._links.tell(state)
            self._links.tell(meter.report(finished=True))
        self._wait(Leave)
        raise _Leave

    def _next(self) -> Meter | None:
        """Whose turn it is: of those who have work who is furthest behind, else the last."""
        ready = [meter for meter in reversed(self._meters.values()) if meter.core.ready]
        if len(ready) < 2:
            return ready[0] if ready else None
        return min(ready, key=lambda meter: meter.core.step)

    def _send(self, sender: str, sends: Iterator[Send]) -> None:
        for to, message in sends:
            if isinstance(message, Evaluated | State):
                self._links.tell(message, copy=True)  # of weights that go on learning
                continue
            edge = Edge(sender, to)
            wire = self._widths.width(edge, message)
            self._meters[sender].sends(to, message, wire)
            if to in self._meters:
                self._meters[to].receive(sender, message)
            else:
                self._links.send(edge, message, wire)

    def _receive(self, seconds: float) -> bool:
        """Take in what has come; True when told to stop."""
        for edge, message in self._links.poll(seconds):
            match message:
                case Stop() if edge is None:
                    return True
                case Leave() if edge is None:
                    raise _Leave
                case Pong() if edge is None:
                    self._note_time(message)
                case Activation() | Gradient() | Credit() | Mark() if edge is not None:
                    self._meters[edge.receiver].receive(edge.sender, message)
                case _:
                    pass
        return False
