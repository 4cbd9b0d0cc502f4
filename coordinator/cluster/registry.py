"""The hosts of a run: their keys, their names, and what each offers.

The agent of a host enrols with the token's secret key. That key admits an agent for one thing, to
enrol a key of its own, and only so many times; from then on the agent is known by its own key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from protocol import VERSION
from protocol.config import HEAD
from protocol.messages import Enrol, Refused, Welcome

MAX_SLOTS: Final = 4096
_OUR_NAMES: Final = re.compile(r"host\d+(\..*)?")


@dataclass(slots=True)
class Host:
    """A host of the run. `workers` holds the stages of each worker on it.

    `name` is its name in the run, `host` its own host name, `key` the public key of its agent, and
    `last_seen` the time of the last message of its agent. A host is `present` from its agent's
    first message under its own key; before that no message reaches it.
    """

    name: str
    host: str
    address: str
    key: str
    slots: int
    cores: int
    preferred_layers: tuple[str, ...]
    last_seen: float
    present: bool = False
    workers: dict[str, frozenset[str]] = field(default_factory=dict)


class Registry:
    """The keys and hosts of a run.

    `stages` are the layers that a host may prefer, `enrolment` is the public key that belongs to
    the token's secret ("" where no host may join), `uses` how often a host may enrol, `software`
    the version that all must run, and `clock` the name of the head's clock.
    """

    def __init__(
        self, stages: Iterable[str], enrolment: str, uses: int, software: str, clock: str
    ) -> None:
        self.hosts: dict[str, Host] = {}
        self.revoked: set[str] = set()
        self._stages = tuple(stages)
        self._enrolment = enrolment
        self._uses = uses
        self._software = software
        self._clock = clock
        self._count = 0
        self._keys: dict[str, str] = {}

    def may_connect(self, key: str) -> bool:
        """Whether a peer with `key` may connect."""
        return key in self._keys or (key == self._enrolment and self._uses > 0)

    def enrol(self, message: Enrol, key: str, now: float) -> Welcome | Refused:
        """The answer to a request, made under `key`, to join the run."""
        refusal = self._refusal(message, key)
        if refusal:
            return Refused(refusal)
        if not message.slots:
            return Welcome("", self._clock)
        self._uses -= 1
        self._count += 1
        return self._admit(f"host{self._count}", message, now)

    def _refusal(self, message: Enrol, key: str) -> str:
        """Why `message` is refused; empty where it is not."""
        if key != self._enrolment or self._uses <= 0:
            return "the token is used up; set how often it can be used with `dni up --joins`"
        if message.version != VERSION or message.software != self._software:
            head = f"dni {self._software}, protocol {VERSION}"
            host = f"dni {message.software}, protocol {message.version}"
            return f"the head runs {head}, this host {host}; install the same version"
        used = message.key in self._keys or message.key in self.revoked or message.key == key
        if used or not _is_key(message.key):
            return "this key was enrolled before; join again"
        unknown = [name for name in message.preferred_layers if name not in self._stages]
        if unknown:
            return f"there is no {unknown[0]}"
        too_many = message.slots > MAX_SLOTS
        return f"{message.slots} slots are more than {MAX_SLOTS}" if too_many else ""

    def _admit(self, name: str, message: Enrol, now: float) -> Welcome:
        self.hosts[name] = Host(
            name=name,
            host=message.host,
            address=message.address,
            key=message.key,
            slots=message.slots,
            cores=max(1, message.cpus),
            preferred_layers=message.preferred_layers,
            last_seen=now,
        )
        self._keys[message.key] = name
        return Welcome(name, self._clock)

    def add_head(self, head: Host) -> None:
        """Add the head's own host, which needs no agent."""
        self.hosts[HEAD] = head
        self._keys[head.key] = HEAD

    def revoke(self, name: str) -> Host | None:
        """Take back the key of the host `name`; None for an unknown name and for the head."""
        host = self.hosts.pop(name, None) if name != HEAD else None
        if host is not None:
            del self._keys[host.key]
            self.revoked.add(host.key)
        return host

    def by_key(self, key: str) -> Host | None:
        """The host whose agent has `key`."""
        return self.hosts.get(self._keys.get(key, ""))

    def find(self, name: str) -> Host | None:
        """The present host with this host name, else with this name in the run, else None.

        If a host's own name looks like a name in the run, such as host1, only host names count.
        """
        if name == HEAD:
            return self.hosts.get(HEAD)
        present = [host for host in self.hosts.values() if host.present]
        if found := [host for host in present if host.host == name]:
            return found[0]
        ambiguous = any(_OUR_NAMES.fullmatch(host.host) for host in present)
        return None if ambiguous else next((host for host in present if host.name == name), None)

    @property
    def joined(self) -> list[Host]:
        """The hosts that are present, in the order in which they joined, without the head."""
        return [host for host in self.hosts.values() if host.name != HEAD and host.present]

    @property
    def closed(self) -> bool:
        """Whether no further host may enrol, and all that did are present."""
        return self._uses <= 0 and all(host.present for host in self.hosts.values())

    def may_send_as(self, name: str, key: str) -> bool:
        """Whether a peer with `key` may send as `name`: as its host, or as what runs on it."""
        host = self.by_key(key)
        return host is not None and name in {host.name, *self.names_on(host.name)}

    def names_on(self, name: str) -> set[str]:
        """The workers on the host `name`, and the stages in them."""
        host = self.hosts.get(name)
        workers = host.workers if host else {}
        return set(workers).union(*workers.values())


def _is_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32 and text == text.lower()
    except ValueError:
        return False
