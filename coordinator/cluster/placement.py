"""The placement of a pipeline: which layers share a worker, and which host runs each worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from coordinator.cluster.registry import Host
from protocol import Pipeline, SpecError
from protocol.pipeline import SOURCE


def set_workers(pipeline: Pipeline, count: int | None, work: Mapping[str, float]) -> Pipeline:
    """`pipeline` divided into exactly `count` workers, as --workers says; None changes nothing.

    Raises SpecError where there are fewer layers, or the pipeline's own division is another one.
    """
    if count is None:
        return pipeline
    layers = len(pipeline.layer)
    if count > layers:
        raise SpecError(f"--workers: {count} is more than the {layers} layers")
    if pipeline.placement and count != len(pipeline.placement):
        raise SpecError(
            f"--workers: {count} contradicts the pipeline's placement, which has "
            f"{len(pipeline.placement)} workers; leave out --workers or the key placement"
        )
    return limit_workers(pipeline, count, work)


def limit_workers(pipeline: Pipeline, count: int, work: Mapping[str, float]) -> Pipeline:
    """`pipeline` in at most `count` workers of neighbouring layers, with the least largest work.

    `work` holds the multiply-adds per batch of each layer. A pipeline in no more workers is
    returned as it is.
    """
    if count >= len(pipeline.workers) - 1:
        return pipeline
    each = [_total((name,), work) or 1.0 for name in pipeline.stages[1:]]
    return replace(pipeline, placement=tuple(map(tuple, _partition(each, max(1, count)))))


def _partition(work: Sequence[float], count: int) -> list[list[int]]:
    """The indices of `work` in at most `count` runs, so that the largest sum is least."""
    sums = [0.0]
    for value in work:
        sums.append(sums[-1] + value)
    best = [sums[1:]]  # best[p][n]: the largest sum of the first n + 1 values in p + 1 runs
    cuts: list[list[int]] = [[0] * len(work)]
    for parts in range(1, count):
        row, cut = [], []
        for n in range(len(work)):
            options = [
                (max(best[-1][k - 1] if k else 0.0, sums[n + 1] - sums[k]), k)
                for k in range(min(parts, n), n + 1)
            ]
            least, at = min(options)
            row.append(least)
            cut.append(at)
        best.append(row)
        cuts.append(cut)
    return [part for part in _runs(cuts, len(work)) if part]


def _runs(cuts: Sequence[Sequence[int]], end: int) -> list[list[int]]:
    """The runs that `cuts` describe, from the last to the first."""
    found: list[list[int]] = []
    for parts in range(len(cuts) - 1, -1, -1):
        begin = cuts[parts][end - 1] if parts else 0
        found.insert(0, list(range(begin, end)))
        end = begin
    return found


class _Room(NamedTuple):
    """What is left of a host while workers are placed: free slots, and work per core so far."""

    host: Host
    free: int
    load: float

    def with_worker(self, work: float) -> _Room:
        return _Room(self.host, self.free - 1, self.load + work / self.host.cores)


def place_workers(
    pipeline: Pipeline, hosts: Iterable[Host], work: Mapping[str, float]
) -> dict[str, Host]:
    """The host of every worker but that of the source, by the workers' names.

    A worker is placed on a host that prefers all of its layers. Other workers follow, the largest
    first, each on the host with the least work per core, then with the most free slots. Raises
    SpecError where the slots are too few.
    """
    workers = {name: stages for name, stages in pipeline.workers.items() if name != SOURCE}
    rooms = {host.name: _Room(host, host.slots, 0.0) for host in hosts}
    slots = sum(room.free for room in rooms.values())
    placed: dict[str, Host] = {}

    def put_on(room: _Room, worker: str, size: float) -> None:
        placed[worker] = room.host
        rooms[room.host.name] = room.with_worker(size)

    for worker, stages in workers.items():
        for room in rooms.values():
            if room.free and set(stages) <= set(room.host.preferred_layers):
                put_on(room, worker, _total(stages, work))
                break
    sizes = {name: _total(workers[name], work) for name in workers if name not in placed}
    for worker, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        free = [room for room in rooms.values() if room.free]
        if not free:
            raise SpecError(f"{len(workers)} workers do not fit in {slots} slots")
        put_on(min(free, key=lambda r: (r.with_worker(size).load, -r.free)), worker, size)
    return placed


def _total(stages: Sequence[str], work: Mapping[str, float]) -> float:
    """The work of `stages`; that of an unknown one counts as 1."""
    return sum(work.get(stage, 1.0) for stage in stages)
