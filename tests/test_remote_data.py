"""A data set on another host than the head: descriptions, names of hosts, and the wait for it."""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from pathlib import Path

import pytest

import cli
from coordinator.cluster.gather import Gathering, LaunchedHosts, PastedHosts
from coordinator.cluster.launchers.manual import Manual
from coordinator.cluster.placement import place_workers
from coordinator.cluster.registry import Host, Registry
from coordinator.lifecycle.events import RunEffect, RunEvent, SendTo, SetDeadline
from coordinator.lifecycle.run import ENLIST_SECONDS, RunStateMachine
from coordinator.observers.run_end import RunEnd
from protocol import (
    VERSION,
    DataConfig,
    DatasetReady,
    Go,
    Hello,
    LayerConfig,
    Ready,
    RunError,
    SpecError,
    Start,
    read_pipeline,
    with_absolute_path,
)
from protocol.dataset_info import DatasetInfo
from protocol.messages import Enrol
from tests.cluster_help import BIND
from tests.traced import tiny

LATE = 40.0
REMOTE = replace(tiny(), data=DataConfig(path="mine.npz", batch=32, host="ada"))
NAMES = ("source", "layer0", "layer1", "layer2")
INFO: dict[str, object] = DatasetInfo((64,), "|u1", 0.5, 10, True, 100, 20).as_dict()


# -- the pipeline


def test_the_data_set_is_at_the_head_by_default() -> None:
    assert not tiny().remote_data
    assert REMOTE.remote_data
    assert tiny().data == DataConfig(name="digits", batch=32, host="head")


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_an_invalid_host_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"^data\.host: "):
        DataConfig(name="digits", host=name)


def test_a_path_on_another_host_is_not_resolved_here(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    layers = '[[layer]]\nmodules = ["linear 10"]\n'
    file.write_text(f'[data]\npath = "x/mine.npz"\n{layers}', "utf-8")
    here = str(tmp_path / "x/mine.npz")
    assert read_pipeline(file).data.path == here
    for at in ("head", platform.node()):
        assert read_pipeline(file, [f"data.host={at}"]).data.path == here
    away = read_pipeline(file, ["data.host=host2"])
    assert away.data.path == with_absolute_path(away).data.path == "x/mine.npz"
    assert read_pipeline(file, ["data.path=y.npz", "data.host=b"]).data.path == "y.npz"
    assert read_pipeline(file, ["data.path=y.npz"]).data.path == str(Path("y.npz").resolve())


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_a_run_on_one_host_refuses_data_on_another(tmp_path: Path, engine: str) -> None:
    with pytest.raises(SpecError, match=r"data\.host: 'ada' is not this host"):
        cli.run(REMOTE, engine=engine, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- the run


def effects_of(run: RunStateMachine, *events: RunEvent) -> list[RunEffect]:
    return [effect for event in events for effect in run.handle(event)]


def hellos() -> list[RunEvent]:
    return [Hello(name, 1, VERSION, {}) for name in NAMES]


def starts(effects: list[RunEffect]) -> dict[str, dict[str, object]]:
    """The data set description that each worker starts with."""
    tells = [e for e in effects if isinstance(e, SendTo) and isinstance(e.message, Start)]
    return {t.name: t.message.dataset for t in tells if isinstance(t.message, Start)}


def test_a_known_description_is_sent_to_all_workers_at_once() -> None:
    run = RunStateMachine(REMOTE, INFO)
    assert starts(effects_of(run, *hellos())) == dict.fromkeys(NAMES, INFO)
    assert effects_of(run, DatasetReady("source", INFO)) == []


def test_the_layers_start_after_the_description_of_the_source() -> None:
    run = RunStateMachine(REMOTE, None)
    first = effects_of(run, *hellos())
    assert starts(first) == {"source": {}}
    assert [e for e in first if isinstance(e, SetDeadline)] == [SetDeadline(None)]
    assert effects_of(run, DatasetReady("layer1", INFO), DatasetReady("stranger", INFO)) == []
    then = effects_of(run, DatasetReady("source", INFO))
    assert starts(then) == dict.fromkeys(NAMES[1:], INFO)
    assert SetDeadline(ENLIST_SECONDS) in then
    assert effects_of(run, DatasetReady("source", INFO)) == []
    last = effects_of(run, *(Ready(name) for name in NAMES))
    assert SendTo("source", Go()) in last


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"shape": [-8, 8]},
        {"shape": [1 << 20, 1 << 20]},
        {"dtype": "O"},
        {"scale": math.inf},
        {"classes": -3},
        {"examples": 0},
        {"labelled": "x" * (1 << 20)},
        {"more": 1},
        {"x" * (1 << 20): 1},
        {"dtype": "x" * (1 << 20)},
    ],
)
def test_an_invalid_description_ends_the_run(wrong: dict[str, object]) -> None:
    run = RunStateMachine(REMOTE, None)
    effects_of(run, *hellos())
    found = effects_of(run, DatasetReady("source", INFO | wrong if wrong else {}))
    (end,) = (e for e in found if isinstance(e, RunEnd))
    assert end.outcome == "failed"
    assert end.text.startswith("source sent invalid dataset information: ")
    assert len(end.text) < 220


def test_a_source_that_is_ready_without_a_description_ends_the_run() -> None:
    run = RunStateMachine(REMOTE, None)
    found = effects_of(run, *hellos(), Ready("source"))
    assert RunEnd("failed", "source is ready before the data set was described") in found


def test_an_invalid_module_or_augmentation_is_refused_before_hosts_join() -> None:
    for changed in (
        replace(REMOTE, layer=(LayerConfig(("lienar 10",)),)),
        replace(REMOTE, layer=(LayerConfig(("linear 10", "dropout 2")),)),
        replace(REMOTE, data=replace(REMOTE.data, augment=("flap",))),
    ):
        with pytest.raises(SpecError, match=r"(layer\[0\]\.modules\[\d\]|data\.augment\[0\]): "):
            cli.up(changed, BIND, report=print)


def test_layers_of_unknown_cost_are_placed_evenly() -> None:
    hosts = [
        Host(name, name, "10.0.0.1", name, slots, 2, (), 0.0, present=True)
        for name, slots in (("a", 6), ("b", 3))
    ]
    layers = tuple(LayerConfig(("linear 10",)) for _ in range(6))
    placed = place_workers(replace(REMOTE, layer=layers), hosts, {})
    assert sorted(host.name for host in placed.values()) == ["a"] * 3 + ["b"] * 3


# -- the host of the data set


def join(registry: Registry, number: int, host: str) -> None:
    """Let a host join."""
    key = f"{number:064x}"
    registry.enrol(Enrol(VERSION, "1", key, host, "127.0.0.1", 1, 1, ()), "e" * 64, 1e12)
    agent = registry.by_key(key)
    assert agent is not None
    agent.present = True


def names(registry: Registry) -> dict[str, str]:
    """The host that each name refers to, if there is one."""
    candidates = ("head", "ada", "eve", "host1", "host2", "host3")
    found = {name: registry.find(name) for name in candidates}
    return {name: agent.name for name, agent in found.items() if agent}


def test_a_host_is_found_by_its_hostname_or_else_its_name_in_the_run() -> None:
    registry = Registry(NAMES[1:], "e" * 64, 9, "1", "clock")
    registry.add_head(Host("head", "", "127.0.0.1", "f" * 64, 0, 1, (), 0.0, present=True))
    assert names(registry) == {"head": "head"}
    for number, host in enumerate(("head", "ada", "ada"), 1):
        join(registry, number, host)
    own = {name: name for name in ("head", "host1", "host2", "host3")}
    assert names(registry) == own | {"ada": "host2"}
    join(registry, 4, "host2.lan")
    assert names(registry) == {"head": "head", "ada": "host2"}
    join(registry, 5, "host2")  # now host3 may be a host that has not joined yet
    assert names(registry) == {"head": "head", "ada": "host2", "host2": "host5"}


def test_gathering_waits_for_the_host_with_the_data() -> None:
    registry = Registry(NAMES[1:], "e" * 64, 9, "1", "clock")
    lines: list[str] = []
    join(registry, 1, "eve")
    launched = LaunchedHosts(Manual(lines.append), None, lines.append)
    with pytest.raises(RunError, match=r"which is none of host1 \(eve\)"):
        Gathering(registry, 1, "ada", launched).workers()
    assert lines == []
    waiting = Gathering(registry, 1, "ada", PastedHosts(lines.append))
    assert waiting.workers() is None
    join(registry, 2, "ada")
    assert waiting.workers() == 1
    assert lines == [
        "1 of 1 slots joined: host1 (1); need ada (data.host), which is none of host1 (eve)"
    ]
    assert Gathering(registry, 1, "ada", launched).workers() == 1
