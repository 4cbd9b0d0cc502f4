"""Training on several machines leaves what training on one does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from coordinator.traces.message_accounting import books
from coordinator.traces.run import Traces
from protocol.transport.curve import generate_keys
from tests.several_help import BIND, Several, enrolled, learning, machines, standing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Dni

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
LATE = 40.0


@pytest.fixture
def several(dni: Dni) -> Iterator[Several]:
    with machines(dni) as found:
        yield found


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}.{key}": array.tobytes()
        for name in LAYERS
        for key, array in load_file(folder / "weights" / f"{name}.safetensors").items()
    }


def balanced(folder: Path) -> None:
    """Of every message it is known, on both sides, what became of it."""
    traces = Traces(folder)
    assert set(traces.files) == {"source", *LAYERS}
    accounts = books(traces)
    assert {str(account.edge) for account in accounts} == {str(edge) for edge in traces.edges}
    for account in accounts:
        assert account.balanced, account
        assert not (account.kind == "activation" and account.lost), account


def test_three_machines_leave_what_a_local_run_leaves(dni: Dni, several: Several) -> None:
    head = several.up()
    for _ in LAYERS:
        several.join(head)
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0, 0, 0]
    assert dni("run", "tiny.toml", "--run-dir", "local").returncode == 0
    local = dni.home / "local"
    assert files(head.folder) == files(local)
    summary, there = head.summary(), json.loads((local / "summary.json").read_text("utf-8"))
    assert summary.keys() == there.keys()
    assert (summary["outcome"], summary["steps"]) == ("completed", 40)
    assert weights(head.folder).keys() == weights(local).keys()
    judged = dni("evaluate", "run", "--json")
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["test_error"] == pytest.approx(summary["test_error"])
    balanced(head.folder)
    dni.nothing_left()


@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni"])
def test_in_lockstep_several_machines_learn_what_one_process_does_bit_for_bit(
    dni: Dni, several: Several, rule: str
) -> None:
    words = ("-o", "train.schedule=lockstep", "-o", f"rule={rule}", "-o", "train.threads=1")
    head = several.up(*words)
    several.join(head, "--slots", "2", "--layers", "0,2")
    several.join(head)
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0, 0]
    inline = dni("run", "tiny.toml", "--run-dir", "inline", "--engine", "inline", *words)
    assert inline.returncode == 0, inline.stderr
    assert weights(head.folder) == weights(dni.home / "inline")
    assert all(
        np.isfinite(a).all() for a in load_file(head.folder / "weights/layer1.safetensors").values()
    )


def test_in_plain_text_it_is_the_same_and_everybody_is_told(dni: Dni, several: Several) -> None:
    words = ("-o", "train.schedule=lockstep", "-o", "train.threads=1")
    head = several.up("--insecure", *words)
    machine = several.join(head, "--slots", "3")
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0]
    for text in (head.text, machine.text):
        assert "INSECURE: nothing of this run is encrypted" in text
    inline = dni("run", "tiny.toml", "--run-dir", "inline", "--engine", "inline", *words)
    assert inline.returncode == 0, inline.stderr
    assert weights(head.folder) == weights(dni.home / "inline")
    dni.nothing_left()


def test_machines_get_the_layers_that_they_wish_for(several: Several) -> None:
    head = several.up("-o", "train.steps=1000000000")
    two = several.join(head, "--slots", "2", "--layers", "0,2")
    one = several.join(head, "--layers", "1")
    learning(several, head)
    assert set(two.workers()) == {"layer0", "layer2"}
    assert set(one.workers()) == {"layer1"}
    assert several.dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert several.ends() == [0, 0]


def test_fewer_workers_than_layers_share_them(dni: Dni, several: Several) -> None:
    head = several.up("--workers", "2")
    assert "waiting for 2 workers" in head.text
    for _ in range(2):
        several.join(head)
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0, 0]
    working = {line for m in several.machines for line in m.text.splitlines() if "working" in line}
    assert len(working) == 2
    assert len(weights(head.folder)) > 3
    balanced(head.folder)
    dni.nothing_left()


@pytest.mark.parametrize("words", [("--wait", "2"), ("--joins", "1"), ("--wait", "1.5")])
def test_layers_are_spread_over_the_slots_that_joined(
    dni: Dni, several: Several, words: tuple[str, ...]
) -> None:
    head = several.up("--workers", "auto", *words)
    machine = several.join(head, "--slots", "2")
    dni.until(lambda: "waiting" in dni("status", "run").stdout or head.metrics(), "it is shown")
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0]
    assert "2 of 3 slots joined: host1 (2); need 1 more" in head.text
    assert "training with 2 workers: layers share" in head.text
    assert [line for line in machine.text.splitlines() if "working" in line] == [
        "working: layer0, layer1-2"
    ]
    judged = dni("evaluate", "run", "--json")
    assert json.loads(judged.stdout)["test_error"] == pytest.approx(head.summary()["test_error"])
    balanced(head.folder)
    dni.nothing_left()


def test_a_head_that_waits_says_so_and_can_be_stopped(dni: Dni, several: Several) -> None:
    head = several.up()
    several.join(head, "--slots", "2")
    dni.until(
        lambda: "2 of 3 slots joined: host1 (2); need 1 more, or --workers 2" in head.text,
        "it says who has joined",
    )
    shown = dni("status", "run").stdout
    assert "waiting: 2 of 3 slots joined" in shown
    assert "in reserve" not in shown
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert several.ends() == [0]


@pytest.mark.parametrize("workers", ["4", "0", "many", "-1"])
def test_a_number_of_workers_that_cannot_be_is_refused(dni: Dni, workers: str) -> None:
    said = dni("up", "tiny.toml", "--bind", BIND, "--workers", workers)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    assert "--workers" in said.stderr


def test_who_comes_late_is_in_reserve_and_can_be_seen(dni: Dni, several: Several) -> None:
    head, at = several.train()
    late = several.reserve(head)
    shown = dni("status", "run", "--json")
    assert shown.returncode == 0, shown.stderr
    agents = {host["name"]: host for host in json.loads(shown.stdout)["hosts"]}
    assert agents[late.name]["workers"] == {}
    assert agents["head"]["workers"] == {"source": ["source"]}
    for layer, machine in at.items():
        assert agents[machine.name]["workers"] == {layer: [layer]}
        assert agents[machine.name]["silent_seconds"] < 5
        assert agents[machine.name]["address"] == "127.0.0.1"
    assert "in reserve" in head.text
    ways = {told["layer"]: told["links"] for told in json.loads(shown.stdout)["stages"]}
    assert {core: set(to) for core, to in ways.items()} == {
        "source": {"layer0"},
        "layer0": {"source", "layer1"},
        "layer1": {"layer0", "layer2"},
        "layer2": {"layer1"},
    }
    up = ways["layer0"]["layer1"]
    assert up["window"] >= 4
    assert 0 < up["round_trip_ms"] < 10_000
    assert up["mb_per_second"] > 0
    table = dni("status", "run").stdout
    assert "in reserve" in table
    assert all(name in table for name in ("host1", "host2", "host3", "host4", "layer2"))
    assert dni("stop", "run").returncode == 0
    assert head.end(LATE) == 130
    assert several.ends() == [0, 0, 0, 0]
    assert head.summary()["outcome"] == "interrupted"
    assert set(load_file(head.folder / "weights" / "layer1.safetensors"))
    dni.nothing_left()


def test_machines_that_are_the_same_have_one_clock(several: Several) -> None:
    head = several.up()
    for _ in LAYERS:
        several.join(head)
    assert head.end(LATE) == 0, head.text
    traces = Traces(head.folder)
    for core in ("source", *LAYERS):
        assert (traces.files[core].metadata.bound_ns, traces.files[core].metadata.offset_ns) == (
            0,
            0,
        )
    assert all(traces.bound(edge) == 0 for edge in traces.edges)


@pytest.mark.parametrize("word", ["status", "stop", "revoke"])
def test_a_run_that_is_over_is_neither_shown_nor_stopped(
    dni: Dni, several: Several, word: str
) -> None:
    name = ("host1",) if word == "revoke" else ()
    assert dni("run", "tiny.toml", "--run-dir", "local").returncode == 0
    said = dni(word, "local", *name)
    assert said.returncode == 2
    assert "the run is over" in said.stderr
    head = several.up("--workers", "1")
    several.join(head)
    assert head.end(LATE) == 0, head.text
    said = dni(word, "run", *name)
    assert said.returncode == 2
    assert "the run is over" in said.stderr
    said = dni(word, "nowhere", *name)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        ("127.0.0.1:5701", "not tcp://ADDRESS:PORT"),
        ("ipc:///tmp/x", "not tcp://ADDRESS:PORT"),
        ("tcp://0.0.0.0:*", "every address"),
        ("tcp://*:5701", "every address"),
        ("tcp://203.0.113.7:*", "203.0.113.7"),
        ("tcp://127.0.0.1:99999", "port must be a number up to 65535"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_in_a_line(dni: Dni, bind: str, why: str) -> None:
    said = dni("up", "tiny.toml", "--bind", bind)
    assert said.returncode == 2
    assert why in said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    dni.nothing_left()


def test_the_control_file_of_an_earlier_run_is_replaced_and_none_is_left(
    dni: Dni, several: Several
) -> None:
    (dni.home / "run").mkdir()
    for name in ("pipeline.toml", "control.json"):
        (dni.home / "run" / name).write_text("", "utf-8")
    head = several.up("--force", "--workers", "1")
    dni.until(lambda: set(standing(head)) == {"head"}, "the new run answers")
    several.join(head)
    assert head.end(LATE) == 0, head.text
    assert not (head.folder / "control.json").exists()


def test_nobody_but_the_head_prints_a_token_and_it_only_once(dni: Dni, several: Several) -> None:
    head = several.up("--workers", "1")
    several.join(head)
    assert head.end(LATE) == 0
    assert several.ends() == [0]
    assert head.text.count("dni1:") == 1
    assert "dni1:" not in several.machines[0].text
    assert BIND.rpartition(":")[0] in several.machines[0].text
    for path in head.folder.rglob("*"):
        assert path.is_dir() or b"dni1:" not in path.read_bytes()
    dni.nothing_left()


def test_no_layer_is_given_to_a_machine_that_enrolled_and_never_came_back(
    several: Several,
) -> None:
    head = several.up("--joins", "4")
    assert enrolled(several, head, generate_keys()) == "host1"
    for _ in LAYERS:
        several.join(head)
    assert head.end(LATE) == 0, head.text
    assert several.ends() == [0, 0, 0]
    assert "host1: " not in head.text
