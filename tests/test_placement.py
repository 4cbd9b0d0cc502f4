"""The placement of layers in workers and of workers on hosts."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cluster.placement import limit_workers, place_workers, set_workers
from coordinator.cluster.registry import Host
from coordinator.commands.cluster_parsing import preferred_layers
from protocol import DataConfig, LayerConfig, Pipeline, SpecError
from protocol.pipeline import SOURCE


def deep(layers: int, placement: tuple[tuple[int, ...], ...] = ()) -> Pipeline:
    modules = [LayerConfig(("linear 4",))] * layers
    return Pipeline(data=DataConfig(name="digits"), layer=tuple(modules), placement=placement)


def host(name: str, slots: int, cpus: int, preferred: tuple[str, ...] = ()) -> Host:
    return Host(name, name, "10.0.0.1", name, slots, cpus, preferred, 0.0, present=True)


def placed(pipeline: Pipeline, hosts: list[Host], work: dict[str, float]) -> dict[str, str]:
    """The names of the hosts, by worker."""
    return {worker: at.name for worker, at in place_workers(pipeline, hosts, work).items()}


def largest_work(pipeline: Pipeline, work: dict[str, float]) -> float:
    return max(sum(work.get(stage, 0.0) for stage in w) for w in pipeline.workers.values())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 9))
def test_layers_are_divided_so_that_the_largest_work_of_a_worker_is_least(
    each: list[int], count: int
) -> None:
    pipeline = deep(len(each))
    work = {f"layer{i}": float(value) for i, value in enumerate(each)}
    made = limit_workers(pipeline, count, work)
    hidden = [stages for name, stages in made.workers.items() if name != SOURCE]
    assert [stage for stages in hidden for stage in stages] == list(pipeline.stages[1:])
    assert len(hidden) <= count
    best = min(
        max(sum(each[a:b]) for a, b in zip((0, *cuts), (*cuts, len(each)), strict=True))
        for n in range(min(count, len(each)))
        for cuts in combinations(range(1, len(each)), n)
    )
    assert largest_work(made, work) == best


def test_the_division_in_the_pipeline_file_is_kept() -> None:
    pipeline = deep(3, ((0, 2), (1,)))
    assert set_workers(pipeline, None, {}) is pipeline
    assert set_workers(pipeline, 2, {}) is pipeline
    for count in (1, 3):
        with pytest.raises(SpecError, match=f"--workers: {count} contradicts the pipeline"):
            set_workers(pipeline, count, {})


@pytest.mark.parametrize(("layers", "count"), [(1, 2), (3, 4), (4, 4096)])
def test_more_workers_than_layers_are_refused(layers: int, count: int) -> None:
    with pytest.raises(SpecError, match=f"--workers: {count} is more than the {layers} layers"):
        set_workers(deep(layers), count, {})


def test_layers_of_unknown_work_are_divided_evenly() -> None:
    made = limit_workers(deep(6), 3, dict.fromkeys(("layer0", "layer1"), 0.0))
    assert [len(stages) for name, stages in made.workers.items() if name != SOURCE] == [2, 2, 2]


offered_hosts = st.lists(
    st.tuples(st.integers(1, 3), st.sets(st.integers(0, 5), max_size=3)), min_size=1, max_size=5
)


@given(st.integers(1, 6), offered_hosts)
def test_every_worker_is_placed_and_no_host_has_more_than_its_slots(
    layers: int, offered: list[tuple[int, set[int]]]
) -> None:
    made = [
        host(f"host{i}", slots, 1, tuple(f"layer{n}" for n in sorted(layers_here)))
        for i, (slots, layers_here) in enumerate(offered)
    ]
    pipeline = deep(layers)
    if sum(one.slots for one in made) < layers:
        with pytest.raises(SpecError, match=f"{layers} workers do not fit in"):
            placed(pipeline, made, {})
        return
    found = placed(pipeline, made, {})
    assert set(found) == set(pipeline.stages[1:])
    for one in made:
        assert list(found.values()).count(one.name) <= one.slots


def test_a_worker_is_placed_on_a_host_that_prefers_it() -> None:
    hosts = [host("a", 2, 1), host("b", 1, 1, ("layer1",)), host("c", 2, 1, ("layer0",))]
    assert placed(deep(2), hosts, {"layer0": 9.0, "layer1": 1.0}) == {"layer0": "c", "layer1": "b"}


def test_of_two_hosts_with_the_same_preference_the_first_gets_the_worker() -> None:
    hosts = [host("a", 1, 1, ("layer0", "layer1")), host("b", 2, 1, ("layer0", "layer1"))]
    assert placed(deep(3), hosts, {}) == {"layer0": "a", "layer1": "b", "layer2": "b"}


def test_a_worker_with_two_layers_is_placed_where_both_are_preferred() -> None:
    pipeline = deep(3, ((0, 1), (2,)))
    hosts = [host("a", 1, 1, ("layer0",)), host("b", 1, 1, ("layer0", "layer1"))]
    assert placed(pipeline, hosts, {}) == {"layer0-1": "b", "layer2": "a"}


def test_the_largest_layers_are_placed_apart_also_from_preferred_ones() -> None:
    hosts = [host("a", 3, 1, ("layer0",)), host("b", 2, 1)]
    work = {"layer0": 9.0, "layer1": 8.0, "layer2": 1.0}
    assert placed(deep(3), hosts, work) == {"layer0": "a", "layer1": "b", "layer2": "b"}


@pytest.mark.parametrize("text", ["", "two", "1,,2", "-1", "1.5", "٣"])
def test_an_invalid_list_of_layers_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="--layers"):
        preferred_layers(text)


def test_preferred_layers_are_given_by_number() -> None:
    assert preferred_layers(None) == ()
    assert preferred_layers("2, 3") == ("layer2", "layer3")


def test_a_host_with_more_cpus_gets_more_work() -> None:
    hosts = [host("small", 6, 2), host("large", 6, 4)]
    found = placed(deep(6), hosts, {})
    assert sorted(found.values()) == ["large"] * 4 + ["small"] * 2
    uneven = placed(deep(3), hosts, {"layer0": 6.0, "layer1": 1.0, "layer2": 1.0})
    assert uneven == {"layer0": "large", "layer1": "small", "layer2": "small"}
