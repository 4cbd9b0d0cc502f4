"""What `dni join` does: enrol a machine, start workers there when told, bring files home."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from coordinator.cluster.addresses import address_towards, own, reachable
from coordinator.engines import blas
from coordinator.engines.descriptors import ensure, of_head, of_worker
from coordinator.engines.processes import Processes
from coordinator.interrupts import InterruptCounter, count_interrupts
from coordinator.run_folder.layout import LOGS, TRACE
from coordinator.socket_folder import file_folder, socket_folder
from coordinator.transport import AgentTransport
from protocol import VERSION, Leave, Ping, RunError
from protocol.errors import DISTRIBUTION, LostError
from protocol.messages import Died, Enrol, Goodbye, Launch, Refused, ToAgent, Upload, Welcome
from protocol.pipeline import SOURCE
from protocol.security.keys import KeyPair
from protocol.security.token import INSECURE, Token
from protocol.transport.curve import generate_keys, keys_from_secret

ENROL_SECONDS: Final = 10.0
PING_SECONDS: Final = 0.5
LOST_SECONDS: Final = 10.0
TICK_SECONDS: Final = 0.1
PART: Final = 1 << 20
"""Bytes of a file that travel in one message."""
FLUSH_SECONDS: Final = 5.0
HAND_IN_SECONDS: Final = 30.0
"""How long an interrupted agent waits for its workers to hand in their weights."""
BYE_SECONDS: Final = 2.0
"""The same of one without workers."""
DESERTED_SECONDS: Final = 1.5
"""Silence after which a head is taken for dead once the line to who started the agent is closed."""
DESERTED: Final = "the line over which this was started has closed"


def software() -> str:
    """The version of this program."""
    return version(DISTRIBUTION)


def at_home(
    config: Mapping[str, object], control: str, trace: str, keys: KeyPair, head: str
) -> dict[str, object]:
    """The configuration of a worker, as the head gives it, with what only its machine knows.

    `control` is where it reaches the head, whose public key is `head`, `trace` where it leaves its
    trace, and `keys` are those of the machine.
    """
    own = {key: value for key, value in config.items() if key != "peers"}
    return {**own, "control": control, "trace": trace, "keys": [*keys, head, config["peers"]]}


class Agent:
    """One machine of a run, which gives it so many `cores`, or all that it has.

    `tell` is called with a line for people, `deserted` asked whether to leave before it is over.
    """

    def __init__(
        self,
        token: Token,
        slots: int,
        layers: tuple[str, ...],
        address: str | None,
        tell: Callable[[str], None],
        cores: int | None = None,
        deserted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._token = token
        self.tell = tell
        self.cores = cores or blas.cores()
        self.deserted = deserted
        self._keys = generate_keys()
        self._endpoint = reachable(token.addresses)
        self._address = own(address, "--address") if address else address_towards(self._endpoint)
        self._slots = slots
        self._layers = layers
        self._head = token.head.hex()

    def join(self) -> int:
        """Belong to the run until it is over. The exit status is 0 after an orderly end.

        Raises RunError where the head refuses, or does not answer.
        """
        if not self._token.secure:
            self.tell(INSECURE)
        welcome = self.enrol()
        self.tell(f"joined {self._endpoint} as {welcome.name}; waiting for work")
        line = AgentTransport(self._endpoint, self._keys, self._head)
        try:
            with count_interrupts() as seen:
                return _Member(self, welcome.name, line, seen).live()
        finally:
            line.close(FLUSH_SECONDS)

    def enrol(self) -> Welcome:
        """Ask the head to be one of the run. Raises RunError where it refuses or is silent."""
        ensure((of_head(0),))
        line = AgentTransport(self._endpoint, keys_from_secret(self._token.secret), self._head)
        try:
            line.send(self._request())
            deadline = time.monotonic() + ENROL_SECONDS
            while time.monotonic() < deadline:
                for answer in line.receive(TICK_SECONDS):
                    match answer:
                        case Welcome():
                            return answer
                        case Refused(text=text):
                            raise RunError(f"the head refuses: {text}")
                        case _:
                            pass
            raise RunError(
                f"{self._endpoint}: no answer within {ENROL_SECONDS:.0f} s; is the head there, is "
                "the token of this run, and not used up?"
            )
        finally:
            line.close(0)

    def _request(self) -> Enrol:
        return Enrol(
            version=VERSION,
            software=software(),
            key=self._keys.public,
            host=platform.node(),
            address=self._address,
            slots=self._slots,
            cores=self.cores,
            layers=self._layers,
        )

    def completed(self, config: Mapping[str, object], trace: Path) -> dict[str, object]:
        """The configuration of a worker with what only its own machine knows."""
        return at_home(config, self._endpoint, str(trace), self._keys, self._head)


class _Member:
    """An agent that belongs to the run."""

    def __init__(
        self, agent: Agent, name: str, line: AgentTransport, seen: InterruptCounter
    ) -> None:
        self._agent = agent
        self._name = name
        self._line = line
        self._interrupts = seen
        self._folder = Path()
        self._left_behind = ExitStack()
        self._processes: Processes | None = None
        self._working: set[str] = set()
        self._over = False
        self._answered = time.monotonic()
        self._deserted = False
        self._until: float | None = None

    def live(self) -> int:
        """Do what the head says until all is over; the exit status.

        Raises LostError where the head, or who started this process, is gone.
        """
        due = time.monotonic()
        try:
            while not self._over and not self._must_go():
                now = time.monotonic()
                if now >= due:
                    due = now + PING_SECONDS
                    self._line.send(Ping(self._name, time.monotonic_ns()))
                for message in self._line.receive(TICK_SECONDS):
                    self._answered = time.monotonic()
                    self._obey(message)
                self._bury()
        finally:
            self._left_behind.close()
        if self._deserted:
            raise LostError(DESERTED)
        return 128 + self._interrupts.signal if self._interrupts.count else 0

    def _must_go(self) -> bool:
        """Whether this process leaves at once. Raises LostError where the head is gone."""
        silent = time.monotonic() - self._answered
        if self._deserted and silent > DESERTED_SECONDS:
            raise LostError(DESERTED)
        if silent > LOST_SECONDS:
            raise LostError(f"nothing was heard of the head for {LOST_SECONDS:.0f} s")
        self._deserted = self._deserted or self._agent.deserted()
        if self._until is None and (self._interrupts.count or self._deserted):
            self._until = time.monotonic() + (HAND_IN_SECONDS if self._working else BYE_SECONDS)
            self._say_goodbye()
        late = self._until is not None and time.monotonic() > self._until
        return late or self._interrupts.count > 1

    def _say_goodbye(self) -> None:
        self._line.send(Goodbye(self._name))
        if self._working:
            held = ", ".join(sorted(self._working))
            self._agent.tell(f"interrupted: handing in {held}; Ctrl-C again leaves at once")

    def _obey(self, message: ToAgent) -> None:
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
        left = self._left_behind
        sockets = left.enter_context(closing(socket_folder()))
        self._folder = left.enter_context(closing(file_folder())).path
        logs, trace = self._folder / LOGS, self._folder / TRACE
        logs.mkdir()
        trace.mkdir()
        layers = len(workers) - (SOURCE in workers)
        count = threads or blas.asked()[0] or max(1, self._agent.cores // max(1, layers))
        self._processes = Processes(logs, count, sockets.path, self._folder)
        left.callback(self._processes.close)
        for name, config in workers.items():
            self._working.add(name)
            self._processes.start(name, self._agent.completed(config, trace))
        self._agent.tell(f"working: {', '.join(workers)}")

    def _bury(self) -> None:
        """Tell of workers that ended and, when the last one has, bring home what they left."""
        if self._processes is None or not self._working:
            return
        for exited in self._processes.exits():
            self._working.discard(exited.name)
            status, killed = max(0, exited.status), max(0, -exited.status)
            self._line.send(Died(self._name, exited.name, status, killed, exited.log_tail))
        if not self._working:
            for path in self._left():
                self._bring(path)
            self._line.send(Upload(self._name, "", 0, True, np.empty(0, np.uint8)))

    def _left(self) -> Iterator[Path]:
        for place in (TRACE, LOGS):
            for path in sorted((self._folder / place).iterdir()):
                if path.stat().st_size:
                    yield path

    def _bring(self, path: Path) -> None:
        size = path.stat().st_size
        with suppress(OSError), path.open("rb") as file:
            for offset in range(0, size, PART):
                data = np.frombuffer(file.read(PART), np.uint8)
                last = offset + PART >= size
                self._line.send(Upload(self._name, path.name, offset, last, data))
