"""Where the machines of a run come to, and the token that lets them in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from coordinator.several.agent import software
from coordinator.several.head import Head
from coordinator.several.registry import Registry
from protocol import Pipeline, RunError, SpecError
from protocol.clock import clock_name
from protocol.keys import KeyPair
from protocol.token import Token

EVERYWHERE: Final = ("*", "0.0.0.0", "[::]")
_ENDPOINT: Final = re.compile(r"tcp://(\[[0-9a-fA-F:]+\]|[^:/\s]+):(\d{1,5}|\*)")


class Door(NamedTuple):
    """Where a head listens, and for how many machines; they come to `advertise`, if it is given.

    With no `joins` there may be twice as many as workers. Behind an `insecure` one all that they
    and their workers say is in plain text.
    """

    bind: str
    advertise: str | None = None
    joins: int | None = None
    insecure: bool = False

    def check(self) -> Door:
        """Itself. Raises SpecError where it is not at one address that others can reach."""
        where = _host("--bind", self.bind)
        if where in EVERYWHERE:
            raise SpecError(f"--bind: {where} is every address; name one that others can reach")
        if self.advertise is not None:
            _host("--advertise", self.advertise)
            if self.advertise.endswith(":*"):
                raise SpecError(f"--advertise: {self.advertise!r} names no port")
        return self

    def opened(self, pipeline: Pipeline, tell: Callable[[str], None]) -> tuple[Head, Token]:
        """A head that listens, and the token for those who join.

        Raises SpecError for addresses that are none, RunError where `bind` cannot be had.
        """
        self.check()
        keys, enrolment, home = (KeyPair.new() for _ in range(3))
        uses = self.joins or 2 * (len(pipeline.processes) - 1)
        cores = pipeline.cores[1:]
        registry = Registry(cores, enrolment.public, uses, software(), clock_name())
        try:
            head = Head(self.bind, registry, keys, home, tell, self.insecure)
        except OSError as error:
            raise RunError(f"--bind: {self.bind}: {error.strerror}") from None
        addresses = (self.advertise or head.endpoint,)
        return head, Token(addresses, bytes.fromhex(head.public), bytes.fromhex(enrolment.secret))


def _host(option: str, endpoint: str) -> str:
    found = _ENDPOINT.fullmatch(endpoint)
    if not found or (found[2] != "*" and int(found[2]) >= 1 << 16):
        raise SpecError(f"{option}: {endpoint!r} is not tcp://ADDRESS:PORT")
    return found[1]
