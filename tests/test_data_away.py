"""Data that are on another machine than the head: the source goes to them."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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
    Described,
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
from tests.cluster_help import BIND, Cluster, assert_balanced, loopback_cluster, weights
from tests.conftest import Dni
from tests.traced import tiny
from workers.data import load

LATE = 40.0
AWAY = replace(tiny(), data=DataConfig(path="mine.npz", batch=32, host="ada"))
NAMES = ("source", "layer0", "layer1", "layer2")
FACTS: dict[str, object] = DatasetInfo((64,), "|u1", 0.5, 10, True, 100, 20).as_dict()


# -- the pipeline


def test_the_data_are_at_the_head_unless_said_otherwise() -> None:
    assert not tiny().remote_data
    assert AWAY.remote_data
    assert tiny().data == DataConfig(name="digits", batch=32, host="head")


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_what_cannot_be_the_name_of_a_machine_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"^data\.host: "):
        DataConfig(name="digits", host=name)


def test_a_path_on_another_machine_is_not_touched_here(tmp_path: Path) -> None:
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
def test_where_no_machine_joins_the_data_are_here(tmp_path: Path, engine: str) -> None:
    with pytest.raises(SpecError, match=r"data\.host: 'ada' is not this host"):
        cli.run(AWAY, engine=engine, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- the run


def told(run: RunStateMachine, *events: RunEvent) -> list[RunEffect]:
    return [effect for event in events for effect in run.handle(event)]


def hellos() -> list[RunEvent]:
    return [Hello(name, 1, VERSION, {}) for name in NAMES]


def starts(effects: list[RunEffect]) -> dict[str, dict[str, object]]:
    """The facts that each worker is to start with."""
    tells = [e for e in effects if isinstance(e, SendTo) and isinstance(e.message, Start)]
    return {t.name: t.message.facts for t in tells if isinstance(t.message, Start)}


def test_what_is_known_of_the_data_goes_to_all_at_once() -> None:
    run = RunStateMachine(AWAY, FACTS)
    assert starts(told(run, *hellos())) == dict.fromkeys(NAMES, FACTS)
    assert told(run, Described("source", FACTS)) == []


def test_the_source_says_first_what_the_layers_need_to_know_and_may_take_its_time() -> None:
    run = RunStateMachine(AWAY, None)
    first = told(run, *hellos())
    assert starts(first) == {"source": {}}
    assert [e for e in first if isinstance(e, SetDeadline)] == [SetDeadline(None)]
    assert told(run, Described("layer1", FACTS), Described("stranger", FACTS)) == []
    then = told(run, Described("source", FACTS))
    assert starts(then) == dict.fromkeys(NAMES[1:], FACTS)
    assert SetDeadline(ENLIST_SECONDS) in then
    assert told(run, Described("source", FACTS)) == []
    last = told(run, *(Ready(name) for name in NAMES))
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
def test_data_that_cannot_be_end_the_run(wrong: dict[str, object]) -> None:
    run = RunStateMachine(AWAY, None)
    told(run, *hellos())
    found = told(run, Described("source", FACTS | wrong if wrong else {}))
    (end,) = (e for e in found if isinstance(e, RunEnd))
    assert end.outcome == "failed"
    assert end.text.startswith("source sent invalid dataset information: ")
    assert len(end.text) < 220


def test_a_source_that_is_ready_without_a_word_of_its_data_ends_the_run() -> None:
    run = RunStateMachine(AWAY, None)
    found = told(run, *hellos(), Ready("source"))
    assert RunEnd("failed", "source is ready before the data set was described") in found


def test_words_that_no_data_would_fit_are_refused_before_anybody_is_waited_for() -> None:
    for changed in (
        replace(AWAY, layer=(LayerConfig(("lienar 10",)),)),
        replace(AWAY, layer=(LayerConfig(("linear 10", "dropout 2")),)),
        replace(AWAY, data=replace(AWAY.data, augment=("flap",))),
    ):
        with pytest.raises(SpecError, match=r"(layer\[0\]\.modules\[\d\]|data\.augment\[0\]): "):
            cli.up(changed, BIND, report=print)


def test_layers_are_divided_as_if_all_cost_the_same_where_nothing_is_known() -> None:
    hosts = [
        Host(name, name, "10.0.0.1", name, slots, 2, (), 0.0, present=True)
        for name, slots in (("a", 6), ("b", 3))
    ]
    layers = tuple(LayerConfig(("linear 10",)) for _ in range(6))
    placed = place_workers(replace(AWAY, layer=layers), hosts, {})
    assert sorted(host.name for host in placed.values()) == ["a"] * 3 + ["b"] * 3


# -- who has them


def there(registry: Registry, number: int, host: str) -> None:
    """A machine joins."""
    key = f"{number:064x}"
    registry.enrol(Enrol(VERSION, "1", key, host, "127.0.0.1", 1, 1, ()), "e" * 64, 1e12)
    agent = registry.by_key(key)
    assert agent is not None
    agent.present = True


def names(registry: Registry) -> dict[str, str]:
    """Which machine is meant by what, where one is."""
    asked = ("head", "ada", "eve", "host1", "host2", "host3")
    found = {name: registry.find(name) for name in asked}
    return {name: agent.name for name, agent in found.items() if agent}


def test_a_machine_is_known_by_its_host_and_else_by_its_name_in_the_run() -> None:
    registry = Registry(NAMES[1:], "e" * 64, 9, "1", "clock")
    registry.add_head(Host("head", "", "127.0.0.1", "f" * 64, 0, 1, (), 0.0, present=True))
    assert names(registry) == {"head": "head"}
    for number, host in enumerate(("head", "ada", "ada"), 1):
        there(registry, number, host)
    own = {name: name for name in ("head", "host1", "host2", "host3")}
    assert names(registry) == own | {"ada": "host2"}
    there(registry, 4, "host2.lan")
    assert names(registry) == {"head": "head", "ada": "host2"}
    there(registry, 5, "host2")  # now host3 may be a host that is still to come
    assert names(registry) == {"head": "head", "ada": "host2", "host2": "host5"}


def test_the_wait_for_the_host_with_the_data_ends_when_it_joins_or_cannot() -> None:
    registry = Registry(NAMES[1:], "e" * 64, 9, "1", "clock")
    lines: list[str] = []
    there(registry, 1, "eve")
    launched = LaunchedHosts(Manual(lines.append), None, lines.append)
    with pytest.raises(RunError, match=r"which is none of host1 \(eve\)"):
        Gathering(registry, 1, "ada", launched).workers()
    assert lines == []
    waiting = Gathering(registry, 1, "ada", PastedHosts(lines.append))
    assert waiting.workers() is None
    there(registry, 2, "ada")
    assert waiting.workers() == 1
    assert lines == [
        "1 of 1 slots joined: host1 (1); need ada (data.host), which is none of host1 (eve)"
    ]
    assert Gathering(registry, 1, "ada", launched).workers() == 1


# -- on machines


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as found:
        yield found


@pytest.fixture
def elsewhere(dni: Dni) -> Path:
    """A folder that only one machine knows, with a copy of the digits."""
    folder = dni.home / "elsewhere"
    folder.mkdir()
    digits: Any = load("digits", None)
    arrays = {name: getattr(digits, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "mine.npz", **arrays)
    return folder


WORDS = ("-o", "data.path=mine.npz", "-o", "data.host=host2")


@pytest.mark.slow
def test_the_source_lives_where_the_data_are_and_all_learn_what_they_would_here(
    dni: Dni, cluster: Cluster, elsewhere: Path
) -> None:
    words = ("-o", "train.schedule=lockstep", "-o", "train.threads=1")
    head = cluster.up(*WORDS, *words)
    first = cluster.join(head, "--slots", "2")
    dni.until(lambda: first.name == "host1", "the first is there")
    second = cluster.join(head, cwd=elsewhere)
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0]
    assert "source" in second.text.partition("working: ")[2]
    assert "source" not in first.text.partition("working: ")[2]
    here = dni(
        "run", "tiny.toml", "--run-dir", "here", "-o", "data.path=elsewhere/mine.npz", *words
    )
    assert here.returncode == 0, here.stderr
    assert weights(head.folder) == weights(dni.home / "here")
    (of_data,) = [line for line in head.text.splitlines() if line.startswith("data: ")]
    assert of_data.removeprefix("data: ") in here.stdout
    there, local = (
        json.loads((dni.home / f / "summary.json").read_text()) for f in ("run", "here")
    )
    assert there["test_error"] == local["test_error"]
    assert_balanced(head.folder)
    judged = dni("evaluate", "run")
    assert judged.returncode == 2
    assert "data.host: mine.npz is on host2" in judged.stderr
    there_now = ("-o", "data.host=head", "-o", "data.path=elsewhere/mine.npz")
    judged = dni("evaluate", "run", "--json", *there_now)
    assert json.loads(judged.stdout)["test_error"] == there["test_error"]
    assert dni("evaluate", "run", "-o", "train.steps=1").returncode == 2
    dni.nothing_left()


@pytest.mark.slow
def test_this_machine_by_its_own_name_is_the_head(dni: Dni) -> None:
    done = dni("run", "tiny.toml", "--run-dir", "here", "-o", f"data.host={platform.node()}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ctrl_c_while_the_source_reads_ends_the_run_at_once(
    dni: Dni, cluster: Cluster, elsewhere: Path
) -> None:
    os.mkfifo(elsewhere / "never.npz")
    head = cluster.up("-o", "data.path=never.npz", "-o", "data.host=host1")
    machine = cluster.join(head, "--slots", "3", cwd=elsewhere)
    dni.until(lambda: "host1 reads the data" in head.text, "it reads")
    dni.until(lambda: "source" in machine.workers(), "the source is there")
    began = time.monotonic()
    head.process.send_signal(signal.SIGINT)
    assert head.end(LATE) == 130
    assert time.monotonic() - began < 4.0
    assert "did not bring home" not in head.text
    assert cluster.exit_codes() == [0]
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "there", "why"),
    [
        (10, False, "mine.npz: no such file"),
        (4, True, "the last layer has 4 outputs, but labels go up to 9"),
    ],
)
def test_data_that_are_not_there_or_fit_no_layer_end_the_run_with_the_reason(
    dni: Dni, cluster: Cluster, elsewhere: Path, width: int, there: bool, why: str
) -> None:
    head = cluster.up(*WORDS, "-o", f'layer.2.modules=["linear {width}"]')
    for _ in range(3):
        cluster.join(head, cwd=elsewhere if there else None)
    assert head.end(LATE) == 2, head.text
    assert why in head.summary()["failure"]
    assert cluster.exit_codes() == [0, 0, 0]
    dni.nothing_left()


@pytest.mark.slow
def test_who_has_the_data_is_waited_for_and_the_death_of_its_source_is_named(
    dni: Dni, cluster: Cluster, elsewhere: Path
) -> None:
    head = cluster.up(*WORDS, "-o", "train.steps=1000000000")
    cluster.join(head, "--slots", "3")
    dni.until(lambda: "need host2 (data.host), which is none of host1" in head.text, "it is missed")
    second = cluster.join(head, cwd=elsewhere)
    dni.until(lambda: "source" in second.workers(), "the source has begun")
    dni.until(lambda: head.metrics(), "it trains")
    began = time.monotonic()
    second.workers()["source"].send_signal(signal.SIGKILL)
    dni.until(lambda: (head.folder / "summary.json").exists(), "the run is over")
    assert time.monotonic() - began < 2.0
    assert head.end(LATE) == 1
    assert head.summary()["failure"] == "source was killed by SIGKILL"
    assert cluster.exit_codes() == [0, 0]
    dni.nothing_left()
