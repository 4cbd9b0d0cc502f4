"""Where the machines of a run come to, and the token that lets them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from coordinator.cluster.addresses import bindable, why
from coordinator.cluster.agent import software
from coordinator.cluster.head import Head
from coordinator.cluster.registry import Registry
from protocol import Pipeline, RunError
from protocol.clock import clock_name
from protocol.endpoint import ANY_PORT, Endpoint, unspecified
from protocol.security.token import Token
from protocol.transport.curve import generate_keys


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
        """The same with the address by number and as it is written, so that all is known early.

        Raises RunError for what is no single address, or cannot be had.
        """
        bind = bindable(Endpoint.read(self.bind, "--bind"), "--bind")
        if self.advertise is None:
            return self._replace(bind=str(bind))
        known = Endpoint.read(self.advertise, "--advertise")
        if known.port == ANY_PORT:
            raise RunError(f"--advertise: {self.advertise!r} names no port")
        if unspecified(known.host):
            raise RunError(f"--advertise: {known.host} is every address; name one")
        return self._replace(bind=str(bind), advertise=str(known))

    def opened(self, pipeline: Pipeline, tell: Callable[[str], None]) -> tuple[Head, Token]:
        """A head that listens, and the token for those who join.

        Raises RunError for addresses that are none, or cannot be had.
        """
        bind, advertise, *_ = self.check()
        keys, enrolment, home = (generate_keys() for _ in range(3))
        uses = self.joins or 2 * (len(pipeline.workers) - 1)
        cores = pipeline.stages[1:]
        registry = Registry(cores, enrolment.public, uses, software(), clock_name())
        try:
            head = Head(bind, registry, keys, home, tell, self.insecure)
        except OSError as error:
            raise RunError(f"--bind: {self.bind}: {why(error)}") from None
        addresses = (advertise or head.endpoint,)
        return head, Token(addresses, bytes.fromhex(head.public), bytes.fromhex(enrolment.secret))
