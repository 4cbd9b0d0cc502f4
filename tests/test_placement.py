"""Which worker goes to which machine."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cluster.placement import Offer, divided, grouped, place
from coordinator.commands.cluster_parsing import preferred_layers
from protocol import Data, Layer, Pipeline, SpecError
from protocol.pipeline import SOURCE


def deep(layers: int, placement: tuple[tuple[int, ...], ...] = ()) -> Pipeline:
    modules = [Layer(("linear 4",))] * layers
    return Pipeline(data=Data(name="digits"), layer=tuple(modules), placement=placement)


def dearest(pipeline: Pipeline, costs: dict[str, float]) -> float:
    return max(sum(costs.get(core, 0.0) for core in w) for w in pipeline.workers.values())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 9))
def test_layers_are_grouped_so_that_the_dearest_worker_is_as_cheap_as_can_be(
    each: list[int], count: int
) -> None:
    pipeline = deep(len(each))
    costs = {f"layer{i}": float(cost) for i, cost in enumerate(each)}
    made = grouped(pipeline, count, costs)
    hidden = [cores for name, cores in made.workers.items() if name != SOURCE]
    assert [core for cores in hidden for core in cores] == list(pipeline.stages[1:])
    assert len(hidden) <= count
    best = min(
        max(sum(each[a:b]) for a, b in zip((0, *cuts), (*cuts, len(each)), strict=True))
        for n in range(min(count, len(each)))
        for cuts in combinations(range(1, len(each)), n)
    )
    assert dearest(made, costs) == best


def test_a_pipeline_that_divides_its_layers_itself_is_not_divided_otherwise() -> None:
    pipeline = deep(3, ((0, 2), (1,)))
    assert divided(pipeline, None, {}) is pipeline
    assert divided(pipeline, 2, {}) is pipeline
    for count in (1, 3):
        with pytest.raises(SpecError, match=f"--workers: {count} contradicts the pipeline"):
            divided(pipeline, count, {})


@pytest.mark.parametrize(("layers", "count"), [(1, 2), (3, 4), (4, 4096)])
def test_more_workers_than_layers_are_refused(layers: int, count: int) -> None:
    with pytest.raises(SpecError, match=f"--workers: {count} is more than the {layers} layers"):
        divided(deep(layers), count, {})


def test_layers_of_unknown_cost_are_grouped_evenly() -> None:
    made = grouped(deep(6), 3, dict.fromkeys(("layer0", "layer1"), 0.0))
    assert [len(cores) for name, cores in made.workers.items() if name != SOURCE] == [2, 2, 2]


offers = st.lists(
    st.tuples(st.integers(1, 3), st.sets(st.integers(0, 5), max_size=3)), min_size=1, max_size=5
)


@given(st.integers(1, 6), offers)
def test_every_worker_has_a_place_and_no_machine_more_than_its_slots(
    layers: int, offered: list[tuple[int, set[int]]]
) -> None:
    made = [
        Offer(f"host{i}", slots, 1, tuple(f"layer{n}" for n in sorted(wish)))
        for i, (slots, wish) in enumerate(offered)
    ]
    pipeline = deep(layers)
    if sum(offer.slots for offer in made) < layers:
        with pytest.raises(SpecError, match=f"{layers} workers do not fit in"):
            place(pipeline, made, {})
        return
    placed = place(pipeline, made, {})
    assert set(placed) == set(pipeline.stages[1:])
    for offer in made:
        assert list(placed.values()).count(offer.name) <= offer.slots


def test_a_worker_goes_where_it_is_wished_for() -> None:
    here = [Offer("a", 2, 1, ()), Offer("b", 1, 1, ("layer1",)), Offer("c", 2, 1, ("layer0",))]
    assert place(deep(2), here, {"layer0": 9.0, "layer1": 1.0}) == {"layer0": "c", "layer1": "b"}


def test_of_two_that_wish_for_the_same_the_first_has_it_and_no_one_more_than_its_slots() -> None:
    here = [Offer("a", 1, 1, ("layer0", "layer1")), Offer("b", 2, 1, ("layer0", "layer1"))]
    assert place(deep(3), here, {}) == {"layer0": "a", "layer1": "b", "layer2": "b"}


def test_a_worker_of_several_layers_goes_only_where_all_of_them_are_wished_for() -> None:
    pipeline = deep(3, ((0, 1), (2,)))
    here = [Offer("a", 1, 1, ("layer0",)), Offer("b", 1, 1, ("layer0", "layer1"))]
    assert place(pipeline, here, {}) == {"layer0-1": "b", "layer2": "a"}


def test_the_dearest_layers_are_kept_apart_also_from_those_that_were_wished_for() -> None:
    here = [Offer("a", 3, 1, ("layer0",)), Offer("b", 2, 1, ())]
    costs = {"layer0": 9.0, "layer1": 8.0, "layer2": 1.0}
    assert place(deep(3), here, costs) == {"layer0": "a", "layer1": "b", "layer2": "b"}


@pytest.mark.parametrize("text", ["", "two", "1,,2", "-1", "1.5", "٣"])
def test_what_is_no_list_of_layers_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="--layers"):
        preferred_layers(text)


def test_layers_are_wished_for_by_their_numbers() -> None:
    assert preferred_layers(None) == ()
    assert preferred_layers("2, 3") == ("layer2", "layer3")


def test_who_has_more_cores_has_more_to_do() -> None:
    here = [Offer("small", 6, 2, ()), Offer("large", 6, 4, ())]
    placed = place(deep(6), here, {})
    assert sorted(placed.values()) == ["large"] * 4 + ["small"] * 2
    dear = place(deep(3), here, {"layer0": 6.0, "layer1": 1.0, "layer2": 1.0})
    assert dear == {"layer0": "large", "layer1": "small", "layer2": "small"}
