"""Who belongs to a run that others may join: keys, names, and what each agent offers.

An agent is what starts workers on a machine. It comes with the token's secret key, which is good
for nothing but to enrol a key of its own, and so many times; from then on it is known by that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from protocol import VERSION
from protocol.messages import Enrol, Refused, Welcome
from protocol.pipeline import HEAD

MOST_SLOTS: Final = 4096
_OURS: Final = re.compile(r"host\d+(\..*)?")


@dataclass(slots=True)
class Agent:
    """A machine that joined. `seen` is when it last said anything; `workers` live there.

    It is `here` from its first word under its own key and name; before, nothing reaches it.
    """

    name: str
    host: str
    address: str
    key: str
    slots: int
    cores: int
    wishes: tuple[str, ...]
    seen: float
    here: bool = False
    workers: dict[str, frozenset[str]] = field(default_factory=dict)


class Registry:
    """The keys of a run. `cores` are those that may be wished for.

    `enrolment` is the public key that belongs to the token's secret, `uses` how often one may
    enrol, `clock` the head's clock.
    """

    def __init__(
        self, cores: Iterable[str], enrolment: str, uses: int, software: str, clock: str
    ) -> None:
        self.agents: dict[str, Agent] = {}
        self.revoked: set[str] = set()
        self._cores = tuple(cores)
        self._enrolment = enrolment
        self._uses = uses
        self._software = software
        self._clock = clock
        self._count = 0
        self._keys: dict[str, str] = {}

    def allowed(self, key: str) -> bool:
        """Whether who has `key` may connect."""
        return key in self._keys or (key == self._enrolment and self._uses > 0)

    def enrol(self, message: Enrol, key: str, now: float) -> Welcome | Refused:
        """The answer to who asks under `key` to be one of us."""
        if key != self._enrolment or self._uses <= 0:
            return Refused("the token is used up; `dni up --joins` says how often it can be")
        if message.version != VERSION or message.software != self._software:
            mine = f"dni {self._software}, protocol {VERSION}"
            yours = f"dni {message.software}, protocol {message.version}"
            return Refused(f"the head runs {mine}, this machine {yours}; install the same")
        used = message.key in self._keys or message.key in self.revoked or message.key == key
        if used or not _is_key(message.key):
            return Refused("this key was enrolled before; join anew")
        strange = [name for name in message.layers if name not in self._cores]
        if strange or message.slots > MOST_SLOTS:
            return Refused(f"there is no {strange[0]}" if strange else "so many slots cannot be")
        if not message.slots:
            return Welcome("", self._clock)
        self._uses -= 1
        self._count += 1
        name = f"host{self._count}"
        return self._admit(name, message, now)

    def _admit(self, name: str, message: Enrol, now: float) -> Welcome:
        agent = Agent(
            name=name,
            host=message.host,
            address=message.address,
            key=message.key,
            slots=message.slots,
            cores=max(1, message.cores),
            wishes=message.layers,
            seen=now,
        )
        self.agents[name] = agent
        self._keys[message.key] = name
        return Welcome(name, self._clock)

    def at_home(self, key: str, address: str, now: float) -> None:
        """The head itself starts workers too."""
        self.agents[HEAD] = Agent(HEAD, "", address, key, 0, 0, (), now, here=True)
        self._keys[key] = HEAD

    def revoke(self, name: str) -> Agent | None:
        """Take back the key of the agent `name`; None where there is no such, or it is the head."""
        agent = self.agents.pop(name, None) if name != HEAD else None
        if agent is not None:
            del self._keys[agent.key]
            self.revoked.add(agent.key)
        return agent

    def of(self, key: str) -> Agent | None:
        """The agent that has `key`."""
        return self.agents.get(self._keys.get(key, ""))

    def called(self, name: str) -> Agent | None:
        """The machine that is here and has this host name, else this name in the run, or None.

        Where machines have hosts that are called like ours, such as host1, only these names count.
        """
        if name == HEAD:
            return self.agents.get(HEAD)
        here = [agent for agent in self.agents.values() if agent.here]
        if found := [agent for agent in here if agent.host == name]:
            return found[0]
        alike = any(_OURS.fullmatch(agent.host) for agent in here)
        return None if alike else next((agent for agent in here if agent.name == name), None)

    @property
    def joined(self) -> list[Agent]:
        """The hosts that are here, in the order in which they came; the head is none of them."""
        return [agent for agent in self.agents.values() if agent.name != HEAD and agent.here]

    @property
    def closed(self) -> bool:
        """Whether no further host may enrol, and all that did are here."""
        return self._uses <= 0 and all(agent.here for agent in self.agents.values())

    def may_speak(self, name: str, key: str) -> bool:
        """Whether who has `key` may speak in the name of `name`: its own, or what lives there."""
        agent = self.of(key)
        return agent is not None and name in {agent.name, *self.living_on(agent.name)}

    def living_on(self, name: str) -> set[str]:
        """The workers on the machine `name`, and what lives in them."""
        agent = self.agents.get(name)
        workers = agent.workers if agent else {}
        return set(workers).union(*workers.values())


def _is_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32 and text == text.lower()
    except ValueError:
        return False
