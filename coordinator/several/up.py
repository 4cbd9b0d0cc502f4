"""A run whose head is here: wait for machines, divide the layers among them, train."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from coordinator.links import KeyPair
from coordinator.run import End
from coordinator.several.agent import software
from coordinator.several.engine import SeveralEngine
from coordinator.several.head import Head
from coordinator.several.placement import grouped
from coordinator.several.registry import Registry
from coordinator.shell import run_processes
from coordinator.train import Drive
from coordinator.watch import Watch
from protocol import Pipeline, RunError, SpecError
from protocol.clock import clock_name
from protocol.token import Token

STOP_SECONDS: Final = 10.0
"""How long weights may take to come home; on one machine it is less."""
EVERYWHERE: Final = ("*", "0.0.0.0", "[::]")
_ENDPOINT: Final = re.compile(r"tcp://(\[[0-9a-fA-F:]+\]|[^:/\s]+):(\d{1,5}|\*)")


def check_bind(bind: str) -> None:
    """Raises SpecError where `bind` is not one address that others can reach."""
    found = _ENDPOINT.fullmatch(bind)
    if not found or (found[2] != "*" and int(found[2]) >= 1 << 16):
        raise SpecError(f"--bind: {bind!r} is not tcp://ADDRESS:PORT")
    if found[1] in EVERYWHERE:
        raise SpecError(f"--bind: {found[1]} is every address; name one that others can reach")


def gathered(
    pipeline: Pipeline,
    bind: str,
    workers: int | None,
    joins: int | None,
    costs: Mapping[str, float],
    tell: Callable[[str], None],
    advertise: str | None = None,
) -> tuple[Head, Pipeline]:
    """The head, when there is room for all workers, and the pipeline in as many as it will be.

    Raises RunError where `bind` cannot be had.
    """
    pipeline = grouped(pipeline, workers or len(pipeline.layer), costs)
    wanted = len(pipeline.processes) - 1
    head, token = opened(pipeline, bind, joins, tell, advertise)
    tell(f"dni join {token}")
    tell(f"waiting for {wanted} workers; paste the line above on each machine")
    try:
        head.gather(wanted)
    except BaseException:
        head.close()
        raise
    return head, pipeline


def opened(
    pipeline: Pipeline,
    bind: str,
    joins: int | None,
    tell: Callable[[str], None],
    advertise: str | None = None,
) -> tuple[Head, Token]:
    """A head that listens, and the token for those who join; it says `advertise`, if anything.

    Raises SpecError for addresses that are none, RunError where `bind` cannot be had.
    """
    check_bind(bind)
    if advertise is not None and not _ENDPOINT.fullmatch(advertise):
        raise SpecError(f"--advertise: {advertise!r} is not tcp://ADDRESS:PORT")
    keys, enrolment, home = (KeyPair.new() for _ in range(3))
    uses = joins or 2 * (len(pipeline.processes) - 1)
    cores = pipeline.cores[1:]
    registry = Registry(cores, enrolment.public, uses, software(), clock_name())
    try:
        head = Head(bind, registry, keys, home, tell)
    except OSError as error:
        raise RunError(f"--bind: {bind}: {error.strerror}") from None
    addresses = (advertise or head.endpoint,)
    return head, Token(addresses, bytes.fromhex(keys.public), bytes.fromhex(enrolment.secret))


def several(
    head: Head,
    pipeline: Pipeline,
    facts: dict[str, object],
    folder: Path,
    costs: Mapping[str, float],
) -> Drive:
    """What trains `pipeline` on the machines that have joined `head`."""

    def drive(watch: Watch) -> End:
        engine = SeveralEngine(head, folder, pipeline.train.threads, costs)
        return run_processes(pipeline, facts, engine, watch, STOP_SECONDS)

    return drive
