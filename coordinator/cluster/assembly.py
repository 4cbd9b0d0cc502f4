"""What each worker is started with: its inboxes, the keys of its neighbours, its priority."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from coordinator.cluster.registry import Host
from protocol import Edge, Pipeline
from protocol.clock import clock_name
from protocol.endpoint import ANY_PORT, Endpoint
from protocol.security.keys import KeyPair

SLOWEST_SHARE: Final = 0.75
"""A worker with this share of the largest work is one of the slowest."""
NICE: Final = 4
"""The nice value of all other workers on a host that holds every worker."""


def worker_configs(
    pipeline: Pipeline, placed: Mapping[str, Host], work: Mapping[str, float], sockets: Path | None
) -> dict[str, dict[str, object]]:
    """The configuration of each worker, without what its own host adds (`complete_config`).

    `placed` holds the host of each worker, `work` the multiply-adds per batch of each layer. With
    `sockets` all workers are on this host, and their inboxes are Unix sockets in that folder.
    """
    worker_of = {stage: name for name, stages in pipeline.workers.items() for stage in stages}
    nice = _nice(pipeline, work) if sockets else {}
    configs: dict[str, dict[str, object]] = {}
    for worker in placed:
        inboxes, peers = {}, {}
        for edge in pipeline.edges:
            sender, receiver = worker_of[edge.sender], worker_of[edge.receiver]
            if sender == receiver or worker not in (sender, receiver):
                continue
            peers[str(edge)] = placed[sender if receiver == worker else receiver].key
            if receiver == worker:
                inboxes[str(edge)] = _inbox(edge, placed[worker], sockets)
        configs[worker] = {
            "name": worker,
            "inboxes": inboxes,
            "peers": peers,
            "clock": clock_name(),
            "nice": nice.get(worker, 0),
        }
    return configs


def complete_config(
    config: Mapping[str, object], control: str, trace: str, keys: KeyPair | None, head: str
) -> dict[str, object]:
    """`config` with what only the worker's own host knows.

    `control` is the endpoint of the head, `head` its public key, `trace` the folder for traces, and
    `keys` are those of the host; without keys nothing is encrypted or authenticated.
    """
    own = {key: value for key, value in config.items() if key != "peers"}
    signed = {"keys": [*keys, head, config["peers"]]} if keys else {}
    return {**own, "control": control, "trace": trace, **signed}


def _inbox(edge: Edge, host: Host, sockets: Path | None) -> str:
    if sockets:
        return f"ipc://{sockets}/{edge.receiver}.{edge.sender}"
    return str(Endpoint(host.address, ANY_PORT))


def _nice(pipeline: Pipeline, work: Mapping[str, float]) -> dict[str, int]:
    """The nice value of each worker: the slowest one sets the pace, so the others give way."""
    total = {
        name: sum(work.get(stage, 0.0) for stage in stages)
        for name, stages in pipeline.workers.items()
    }
    slow = SLOWEST_SHARE * max(total.values())
    return {name: 0 if value > slow else NICE for name, value in total.items()}
