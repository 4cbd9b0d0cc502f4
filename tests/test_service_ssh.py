"""`dni run --engine ssh` through a real sshd; nothing is left at either end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.dni import ENDLESS, LAYERS, PATIENCE, Dni, Training
from tests.ssh_server import Server, ssh_server

pytestmark = [pytest.mark.service, pytest.mark.slow]

WAITS = "sleep 600 & cat >/dev/null; kill $!; true"
"""A remote command that never joins, and ends when its lifeline closes."""


@pytest.fixture
def server(dni: Dni) -> Iterator[Server]:
    with ssh_server(dni.home / "sshd", dni.environment) as found:
        yield found


def of_program(dni: Dni, program: str, argument: str) -> list[psutil.Process]:
    """The processes of the run that execute `program` with `argument`."""
    found = []
    for process in dni.processes():
        try:
            path, *arguments = process.cmdline()
        except (psutil.Error, ValueError):  # it has ended
            continue
        if Path(path).name == program and argument in arguments:
            found.append(process)
    return found


def until_training(dni: Dni, training: Training) -> None:
    """Wait until every layer has made updates, on whichever host it runs."""

    def trains() -> bool:
        assert training.process.poll() is None, training.text
        return {x["layer"] for x in training.metrics() if x.get("updates")} >= set(LAYERS)

    dni.until(trains, "every layer has made updates")


def summary(dni: Dni, name: str) -> dict[str, Any]:
    """The summary of the run `name`."""
    found: dict[str, Any] = json.loads((dni.home / name / "summary.json").read_text("utf-8"))
    return found


def until_nothing_left(dni: Dni) -> None:
    """The far end of ssh may take a moment to notice that its line has closed."""
    dni.until(lambda: not dni.processes() and not list(dni.base.iterdir()), "all are gone")
    dni.nothing_left()


def test_layers_on_two_hosts_learn_what_they_learn_on_one(dni: Dni, server: Server) -> None:
    same = ("-o", "train.schedule=lockstep", "-o", "train.threads=1", "--run-dir")
    for options, name in ((server.options("alpha,beta"), "remote"), ((), "local")):
        ran = dni("run", "tiny.toml", *same, name, *options)
        assert ran.returncode == 0, ran.stderr
        assert "dni1:" not in ran.stdout + ran.stderr
    remote, local = (summary(dni, name) for name in ("remote", "local"))
    assert remote["engine"] == "ssh"
    assert remote["test_error"] == local["test_error"]
    assert remote["train_loss"] == pytest.approx(local["train_loss"], rel=1e-3)  # other kernels
    for layer in LAYERS:
        assert (dni.home / "remote" / "weights" / f"{layer}.safetensors").exists()
        assert (dni.home / "remote" / "trace" / f"{layer}.trace").stat().st_size
    until_nothing_left(dni)


def test_no_command_line_has_the_token_and_each_host_has_its_share(
    dni: Dni, server: Server
) -> None:
    training = dni.start(*ENDLESS, *server.options("alpha,alpha,beta"))
    until_training(dni, training)
    lines = [process.cmdline() for process in dni.processes()]
    agents = [line for line in lines if "join" in line and "ssh" not in line[0]]
    assert sorted(line[line.index("--slots") + 1] for line in agents) == ["1", "2"]
    assert len([line for line in lines if "ssh" in line[0]]) == 2
    assert not [line for line in lines if "dni1:" in " ".join(line)]
    training.signal(signal.SIGINT)
    assert training.end(PATIENCE) == 130
    until_nothing_left(dni)


@pytest.mark.parametrize("victim", ["head", "client"])
def test_nothing_is_left_when_one_end_is_killed(dni: Dni, server: Server, victim: str) -> None:
    training = dni.start(*ENDLESS, *server.options("alpha,beta"))
    until_training(dni, training)
    if victim == "head":
        training.signal(signal.SIGKILL)
        training.end(PATIENCE)
    else:
        [client] = of_program(dni, "ssh", "alpha")
        client.kill()
        assert training.end(PATIENCE) == 1
        assert "was interrupted" in training.text, training.text
        assert {path.stem for path in (training.folder / "weights").iterdir()} == set(LAYERS)
    until_nothing_left(dni)


@pytest.mark.parametrize(
    ("hosts", "remote", "error"),
    [
        ("alpha,closed", WAITS, "closed: ended with status 255: ssh: connect to host 127.0.0.1"),
        ("alpha", "/nowhere/dni", "alpha: ended with status 127; --remote-command sets"),
        ("alpha", "true", "alpha: ended with status 0: no output"),
    ],
)
def test_an_agent_that_ends_before_it_joins_ends_the_run(
    dni: Dni, server: Server, hosts: str, remote: str, error: str
) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", *server.options(hosts, remote))
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {error}")
    assert ran.stderr.count("\n") == 1
    assert not (dni.home / "run").exists()
    assert "Traceback" not in ran.stdout + ran.stderr
    until_nothing_left(dni)


def test_ctrl_c_ends_the_wait_for_agents(dni: Dni, server: Server) -> None:
    training = dni.start(*server.options("alpha", WAITS))
    dni.until(lambda: of_program(dni, "sleep", "600"), "the remote command runs")
    training.signal(signal.SIGINT)
    assert training.end(PATIENCE) == 130
    assert "interrupted before training began; no files were kept" in training.text
    assert not training.folder.exists()
    until_nothing_left(dni)
