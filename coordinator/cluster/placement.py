"""Which worker goes to which machine: wishes first, then an even share of the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from protocol import Pipeline, SpecError
from protocol.pipeline import SOURCE


class Offer(NamedTuple):
    """A machine that runs so many workers on so many cores, and the layers that it wishes for."""

    name: str
    slots: int
    cores: int
    wishes: tuple[str, ...]


def grouped(pipeline: Pipeline, count: int, costs: Mapping[str, float]) -> Pipeline:
    """`pipeline` in at most `count` workers, neighbours together, the dearest as cheap as can be.

    One that is in no more workers already stays as it is.
    """
    layers = pipeline.stages[1:]
    if count >= len(pipeline.workers) - 1:
        return pipeline
    each = [_cost((name,), costs) or 1.0 for name in layers]
    return replace(pipeline, placement=tuple(map(tuple, _parts(each, max(1, count)))))


def divided(pipeline: Pipeline, count: int | None, costs: Mapping[str, float]) -> Pipeline:
    """`pipeline` in exactly `count` workers, as --workers asks for; None leaves it as it is.

    Raises SpecError where there are fewer layers, or the pipeline says itself which layers share.
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
    return grouped(pipeline, count, costs)


def _parts(costs: Sequence[float], count: int) -> list[list[int]]:
    """The numbers of `costs` in `count` runs, the dearest of which is as cheap as can be."""
    sums = [0.0]
    for cost in costs:
        sums.append(sums[-1] + cost)
    best = [sums[1:]]  # of so many parts, what the dearest of the first n costs
    cuts: list[list[int]] = [[0] * len(costs)]
    for parts in range(1, count):
        row, cut = [], []
        for n in range(len(costs)):
            options = [
                (max(best[-1][k - 1] if k else 0.0, sums[n + 1] - sums[k]), k)
                for k in range(min(parts, n), n + 1)
            ]
            cheapest, at = min(options)
            row.append(cheapest)
            cut.append(at)
        best.append(row)
        cuts.append(cut)
    found: list[list[int]] = []
    end = len(costs)
    for parts in range(count - 1, -1, -1):
        begin = cuts[parts][end - 1] if parts else 0
        found.insert(0, list(range(begin, end)))
        end = begin
    return [part for part in found if part]


def place(
    pipeline: Pipeline, offers: Sequence[Offer], costs: Mapping[str, float]
) -> dict[str, str]:
    """The machine of every worker but the source, by the workers' names.

    A worker goes where all of its layers are wished for, else, the dearest first, to the machine
    whose cores have then the least to do each, then with the most room. Raises SpecError where
    there is not room for all.
    """
    left = {offer.name: offer.slots for offer in offers}
    cores = {offer.name: offer.cores for offer in offers}
    placed: dict[str, str] = {}
    loads = dict.fromkeys(left, 0.0)
    workers = {name: held for name, held in pipeline.workers.items() if name != SOURCE}
    for worker, held in workers.items():
        for offer in offers:
            if left[offer.name] and set(held) <= set(offer.wishes):
                placed[worker] = offer.name
                left[offer.name] -= 1
                loads[offer.name] += _cost(held, costs)
                break
    rest = [worker for worker in workers if worker not in placed]
    for worker in sorted(rest, key=lambda w: -_cost(workers[w], costs)):
        free = [name for name, slots in left.items() if slots]
        cost = _cost(workers[worker], costs)
        if not free:
            raise SpecError(
                f"{len(workers)} workers do not fit in {sum(o.slots for o in offers)} slots"
            )
        shares = {name: (loads[name] + cost) / cores[name] for name in free}
        chosen = min(free, key=lambda name: (shares[name], -left[name]))
        placed[worker] = chosen
        left[chosen] -= 1
        loads[chosen] += cost
    return placed


def _cost(cores: Sequence[str], costs: Mapping[str, float]) -> float:
    """What the `cores` cost together; where nothing is known, as much as there are."""
    return sum(costs.get(core, 1.0) for core in cores)
