"""How a run stands at one moment: its hosts, its stages, and what it waits for."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from protocol import Pipeline
from protocol.config import HEAD

RunState: TypeAlias = Literal["waiting", "starting", "training", "stopping"]


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host of a run. `workers` are those that run there, each with the names of its stages.

    `silent_seconds` is the time since the last message of the host.
    """

    name: str
    host: str
    address: str
    slots: int
    cpus: int
    workers: Mapping[str, Sequence[str]]
    silent_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The host for JSON."""
        return {
            "name": self.name,
            "host": self.host,
            "address": self.address,
            "slots": self.slots,
            "cpus": self.cpus,
            "workers": {name: list(stages) for name, stages in self.workers.items()},
            "silent_seconds": round(self.silent_seconds, 3),
        }


class RunHosts(Protocol):
    """The hosts of a run; every engine describes its own (`coordinator.lifecycle.engine`)."""

    @property
    def endpoint(self) -> str:
        """Where hosts join; empty if none can."""

    @property
    def waiting_for(self) -> str:
        """What is missing before training can begin; empty if nothing is."""

    def hosts(self) -> Sequence[HostStatus]:
        """All hosts, in the order in which they joined, the head first."""

    def revoke(self, name: str) -> None:
        """Refuse the key of the host `name` from now on."""


class LocalHost:
    """The hosts of a run on this host alone. Implements `RunHosts`."""

    endpoint = ""
    waiting_for = ""

    def __init__(self, cpus: int, pipeline: Pipeline | None = None) -> None:
        """`cpus` is the number of CPUs of this host."""
        self.pipeline = pipeline
        self._cpus = cpus

    def hosts(self) -> Sequence[HostStatus]:
        """This host, with all workers."""
        workers = self.pipeline.workers if self.pipeline else {}
        slots = max(0, len(workers) - 1)
        return (HostStatus(HEAD, platform.node(), "", slots, self._cpus, workers),)

    def revoke(self, name: str) -> None:
        """Nothing: the head cannot be revoked, and there is no other host."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands. `stages` are the newest lines of metrics.jsonl, one per stage."""

    state: RunState
    waiting_for: str = ""
    endpoint: str = ""
    step: int = 0
    steps: int = 0
    train_loss: float | None = None
    test_error: float | None = None
    hosts: Sequence[HostStatus] = ()
    stages: Sequence[Mapping[str, object]] = field(default=())

    @property
    def revocable(self) -> list[str]:
        """The names of the hosts whose keys can be revoked."""
        return [host.name for host in self.hosts if host.name != HEAD]

    def as_dict(self) -> dict[str, Any]:
        """The snapshot for JSON."""
        return {
            "state": self.state,
            "waiting_for": self.waiting_for,
            "endpoint": self.endpoint,
            "step": self.step,
            "steps": self.steps,
            "train_loss": self.train_loss,
            "test_error": self.test_error,
            "hosts": [host.as_dict() for host in self.hosts],
            "stages": list(self.stages),
        }
