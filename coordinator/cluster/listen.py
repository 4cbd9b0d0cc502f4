"""Where a head listens: a Unix socket for a run on this host, or an address for a cluster."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import NamedTuple, Protocol

from coordinator.cluster.addresses import bind_error_text, bindable
from coordinator.cluster.agent import software
from coordinator.cluster.head import Head
from coordinator.cluster.registry import Registry
from coordinator.lifecycle.engine import Job
from coordinator.resources import blas
from protocol import RunError
from protocol.clock import clock_name
from protocol.endpoint import ANY_PORT, Endpoint, is_unspecified
from protocol.security.token import INSECURE, Token
from protocol.transport.curve import generate_keys


class Listen(Protocol):
    """Opens a head."""

    def open(self, job: Job) -> tuple[Head, str]:
        """A head that listens, and the token for agents, "" where none can join.

        Raises OSError or RunError where the address cannot be bound.
        """


class ListenLocal:
    """A Unix socket in the private folder of the run: only this user's processes connect."""

    def open(self, job: Job) -> tuple[Head, str]:
        """See `Listen`; all workers run on this host."""
        registry = Registry(job.pipeline.stages[1:], "", 0, "", clock_name())
        head = Head(f"ipc://{job.sockets}/head", registry, job.report)
        head.add_own_host(platform.node(), len(job.pipeline.workers) - 1, blas.cores())
        return head, ""


class ListenConfig(NamedTuple):
    """An address for the hosts of a cluster, which connect to `advertise` if it is not `bind`.

    `joins` hosts may join, by default twice as many as there are workers. With `insecure` nothing
    is encrypted.
    """

    bind: str
    advertise: str | None = None
    joins: int | None = None
    insecure: bool = False

    def checked(self) -> ListenConfig:
        """The same with numeric addresses, so that mistakes are found early.

        Raises RunError for an address that is not one, or is not of this host.
        """
        bind = bindable(Endpoint.parse(self.bind, "--bind"), "--bind")
        if self.advertise is None:
            return self._replace(bind=str(bind))
        known = Endpoint.parse(self.advertise, "--advertise")
        if known.port == ANY_PORT:
            raise RunError(f"--advertise: {self.advertise!r} names no port")
        if is_unspecified(known.host):
            raise RunError(f"--advertise: {known.host} stands for every address; name one")
        return self._replace(bind=str(bind), advertise=str(known))

    def open(self, job: Job) -> tuple[Head, str]:
        """See `Listen`."""
        bind, advertise, *_ = self.checked()
        keys, enrolment, worker_keys = (generate_keys() for _ in range(3))
        uses = self.joins or 2 * (len(job.pipeline.workers) - 1)
        stages = job.pipeline.stages[1:]
        registry = Registry(stages, enrolment.public, uses, software(), clock_name())
        try:
            head = Head(bind, registry, job.report, keys, worker_keys, self.insecure)
        except OSError as error:
            raise RunError(f"--bind: {self.bind}: {bind_error_text(error)}") from None
        head.add_own_host(platform.node(), 0, blas.cores())
        addresses = (advertise or head.endpoint,)
        token = Token(addresses, bytes.fromhex(head.public), bytes.fromhex(enrolment.secret))
        if not token.secure:
            job.report(INSECURE)
        return head, str(token)


class ListenForAgents:
    """Any port of the address at which agents reach this host, as `address` finds it."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address

    def open(self, job: Job) -> tuple[Head, str]:
        """See `Listen`."""
        return ListenConfig(str(Endpoint(self._address(), ANY_PORT))).open(job)
