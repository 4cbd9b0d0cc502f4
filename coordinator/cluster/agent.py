"""The agent of a host, `dni join`: it enrols the host, starts workers, and sends their files."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from coordinator.cluster.addresses import address_towards, own_address, reachable
from coordinator.cluster.assembly import complete_config
from coordinator.engines.processes import Processes
from coordinator.interrupts import InterruptCounter, count_interrupts
from coordinator.resources import blas
from coordinator.resources.descriptors import ensure, of_head, of_worker
from coordinator.run_folder.layout import LOGS, TRACE
from coordinator.socket_folder import file_folder, socket_folder
from coordinator.transport import AgentTransport
from protocol import VERSION, Leave, Ping, RunError
from protocol.errors import DISTRIBUTION, LostError
from protocol.messages import Died, Enrol, Goodbye, Launch, Refused, ToAgent, Upload, Welcome
from protocol.pipeline import SOURCE
from protocol.security.token import INSECURE, Token
from protocol.transport.curve import generate_keys, keys_from_secret

ENROL_SECONDS: Final = 10.0
"""How long the head may take to answer a request to join."""
PING_SECONDS: Final = 0.5
LOST_SECONDS: Final = 10.0
"""Silence after which the head is lost."""
TICK_SECONDS: Final = 0.1
PART_BYTES: Final = 1 << 20
"""Bytes of a file in one message."""
FLUSH_SECONDS: Final = 5.0
"""How long the last messages may take to be delivered."""
STOP_SECONDS: Final = 30.0
"""How long an interrupted agent waits for its workers to send their weights."""
GOODBYE_SECONDS: Final = 2.0
"""How long an interrupted agent without workers waits for the head's permission to leave."""
LIFELINE_SECONDS: Final = 1.5
"""Silence after which the head is lost once the lifeline is closed."""
LIFELINE_CLOSED: Final = "the process that started this agent has ended"


def software() -> str:
    """The version of this program."""
    from importlib.metadata import version

    return version(DISTRIBUTION)


class Agent:
    """The agent of this host, which runs `slots` workers on `cores` processors, by default all.

    `layers` are the layers to run here if possible, `address` is how other hosts reach this one,
    by default found out. `report` takes lines for a person. `lifeline_closed` says whether the
    process that started this one has ended.
    """

    def __init__(
        self,
        token: Token,
        slots: int,
        layers: tuple[str, ...],
        address: str | None,
        report: Callable[[str], None],
        cores: int | None = None,
        lifeline_closed: Callable[[], bool] = lambda: False,
        *,
        enrol_seconds: float = ENROL_SECONDS,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        self.report = report
        self.cores = cores or blas.cores()
        self.lifeline_closed = lifeline_closed
        self.lost_seconds = lost_seconds
        self.keys = generate_keys()
        self.endpoint = reachable(token.addresses)
        self.head_key = token.head.hex()
        self._enrol_seconds = enrol_seconds
        self._token = token
        self._address = (
            own_address(address, "--address") if address else address_towards(self.endpoint)
        )
        self._slots = slots
        self._layers = layers

    def join(self) -> int:
        """Take part in the run until it is over; the exit status, 0 after an orderly end.

        Raises UserError where the head refuses or does not answer, or where the head or the
        process that started this one is gone.
        """
        if not self._token.secure:
            self.report(INSECURE)
        welcome = self.enrol()
        self.report(f"joined {self.endpoint} as {welcome.name}; waiting for work")
        line = AgentTransport(self.endpoint, self.keys, self.head_key)
        try:
            with count_interrupts() as interrupts:
                return _Membership(self, welcome.name, line, interrupts).serve()
        finally:
            line.close(FLUSH_SECONDS)

    def enrol(self) -> Welcome:
        """Ask the head to join.

        Raises RunError where it refuses or does not answer, LostError where the process that
        started this one has ended.
        """
        ensure((of_head(0),))
        line = AgentTransport(self.endpoint, keys_from_secret(self._token.secret), self.head_key)
        try:
            line.send(self._request())
            deadline = time.monotonic() + self._enrol_seconds
            while time.monotonic() < deadline:
                if self.lifeline_closed():
                    raise LostError(LIFELINE_CLOSED)
                for answer in line.receive(TICK_SECONDS):
                    match answer:
                        case Welcome():
                            return answer
                        case Refused(text=text):
                            raise RunError(f"the head refuses: {text}")
                        case _:
                            pass
            raise RunError(
                f"{self.endpoint}: no answer within {self._enrol_seconds:.0f} s; check that the "
                "head runs, and that the token is of this run and not used up"
            )
        finally:
            line.close(0)

    def _request(self) -> Enrol:
        return Enrol(
            version=VERSION,
            software=software(),
            key=self.keys.public,
            host=platform.node(),
            address=self._address,
            slots=self._slots,
            cpus=self.cores,
            preferred_layers=self._layers,
        )


class _Membership:
    """The part of an agent in one run, from its enrolment to its end."""

    def __init__(
        self, agent: Agent, name: str, line: AgentTransport, interrupts: InterruptCounter
    ) -> None:
        self._agent = agent
        self._name = name
        self._line = line
        self._interrupts = interrupts
        self._folder = Path()
        self._opened = ExitStack()
        self._processes: Processes | None = None
        self._working: set[str] = set()
        self._over = False
        self._last_answer = time.monotonic()
        self._lifeline_closed = False
        self._leave_at: float | None = None

    def serve(self) -> int:
        """Do what the head says until the run is over; the exit status.

        Raises LostError where the head, or the process that started this one, is gone.
        """
        due = time.monotonic()
        try:
            while not self._over and not self._must_leave():
                now = time.monotonic()
                if now >= due:
                    due = now + PING_SECONDS
                    self._line.send(Ping(self._name, time.monotonic_ns()))
                for message in self._line.receive(TICK_SECONDS):
                    self._last_answer = time.monotonic()
                    self._handle(message)
                self._reap()
        finally:
            self._opened.close()
        if self._lifeline_closed:
            raise LostError(LIFELINE_CLOSED)
        return 128 + self._interrupts.signal if self._interrupts.count else 0

    def _must_leave(self) -> bool:
        """Whether this process leaves at once. Raises LostError where the head is gone."""
        silent = time.monotonic() - self._last_answer
        if self._lifeline_closed and silent > LIFELINE_SECONDS:
            raise LostError(LIFELINE_CLOSED)
        if silent > self._agent.lost_seconds:
            raise LostError(f"no message from the head for {self._agent.lost_seconds:g} s")
        self._lifeline_closed = self._lifeline_closed or self._agent.lifeline_closed()
        if self._leave_at is None and (self._interrupts.count or self._lifeline_closed):
            seconds = STOP_SECONDS if self._working else GOODBYE_SECONDS
            self._leave_at = time.monotonic() + seconds
            self._send_goodbye()
        late = self._leave_at is not None and time.monotonic() > self._leave_at
        return late or self._interrupts.count > 1

    def _send_goodbye(self) -> None:
        self._line.send(Goodbye(self._name))
        if self._working:
            held = ", ".join(sorted(self._working))
            self._agent.report(
                f"interrupted: sending the weights of {held}; Ctrl-C again leaves at once"
            )

    def _handle(self, message: ToAgent) -> None:
        match message:
            case Launch(workers=workers, threads=threads) if self._processes is None:
                self._launch(cast(dict[str, dict[str, Any]], workers), threads)
            case Leave():
                self._over = True
            case Refused(text=text):
                raise LostError(f"the head refuses: {text}")
            case _:
                pass

    def _launch(self, workers: dict[str, dict[str, Any]], threads: int) -> None:
        needs = [of_worker(len(config["inboxes"]), 1) for config in workers.values()]
        ensure((of_head(len(workers)), *needs))
        sockets = self._opened.enter_context(closing(socket_folder()))
        self._folder = self._opened.enter_context(closing(file_folder())).path
        logs, trace = self._folder / LOGS, self._folder / TRACE
        logs.mkdir()
        trace.mkdir()
        layers = len(workers) - (SOURCE in workers)
        count = (
            threads or blas.environment_threads()[0] or max(1, self._agent.cores // max(1, layers))
        )
        self._processes = Processes(logs, count, sockets.path, self._folder)
        self._opened.callback(self._processes.close)
        agent = self._agent
        for name, config in workers.items():
            self._working.add(name)
            own = complete_config(config, agent.endpoint, str(trace), agent.keys, agent.head_key)
            self._processes.start(name, own)
        agent.report(f"working: {', '.join(workers)}")

    def _reap(self) -> None:
        """Report workers that ended; after the last one, send the files that they left."""
        if self._processes is None or not self._working:
            return
        for exited in self._processes.exits():
            self._working.discard(exited.name)
            status, killed = max(0, exited.status), max(0, -exited.status)
            self._line.send(Died(self._name, exited.name, status, killed, exited.log_tail))
        if not self._working:
            for path in self._artifacts():
                self._upload(path)
            self._line.send(Upload(self._name, "", 0, True, np.empty(0, np.uint8)))

    def _artifacts(self) -> Iterator[Path]:
        for folder in (TRACE, LOGS):
            for path in sorted((self._folder / folder).iterdir()):
                if path.stat().st_size:
                    yield path

    def _upload(self, path: Path) -> None:
        size = path.stat().st_size
        with suppress(OSError), path.open("rb") as file:
            for offset in range(0, size, PART_BYTES):
                data = np.frombuffer(file.read(PART_BYTES), np.uint8)
                last = offset + PART_BYTES >= size
                self._line.send(Upload(self._name, path.name, offset, last, data))
