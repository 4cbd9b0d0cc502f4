"""`dni run --engine ssh` through a real sshd, and that nothing of it is left at either end."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coordinator.cluster.launchers.ssh import shares
from tests.conftest import ENDLESS, LAYERS, PATIENCE, Dni, Training
from tests.engines_help import SSHD, Server, ssh_server

needs_sshd = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh")), reason="there is no ssh, or no sshd, on this machine"
)
WAITS = "cat >/dev/null; true"
"""A remote command that never joins, and leaves with its lifeline."""


@pytest.fixture
def server(dni: Dni) -> Iterator[Server]:
    """An sshd with whose end nothing that `dni` started is left."""
    with ssh_server(dni.home / "sshd", dni.environment) as found:
        yield found


def of(dni: Dni, word: str) -> list[psutil.Process]:
    """The processes of the run in whose command line `word` stands."""
    found = []
    for process in dni.processes():
        try:
            found += [process] if word in process.cmdline() else []
        except psutil.Error:
            continue
    return found


def until_training(dni: Dni, training: Training) -> None:
    """Wait until every layer has learnt something, wherever it lives."""

    def learns() -> bool:
        assert training.process.poll() is None, training.text
        return {x["layer"] for x in training.metrics() if x.get("updates")} >= set(LAYERS)

    dni.until(learns, "every layer has learnt something")


def summary(dni: Dni, name: str) -> dict[str, Any]:
    """What the run `name` says of itself."""
    found: dict[str, Any] = json.loads((dni.home / name / "summary.json").read_text("utf-8"))
    return found


def until_nothing_left(dni: Dni) -> None:
    """What is at the other end of ssh may take a moment to see that the line has closed."""
    dni.until(lambda: not dni.processes() and not list(dni.base.iterdir()), "all are gone")
    dni.nothing_left()


@needs_sshd
@pytest.mark.slow
def test_layers_on_two_hosts_learn_what_they_learn_here(dni: Dni, server: Server) -> None:
    same = ("-o", "train.schedule=lockstep", "-o", "train.threads=1", "--run-dir")
    for words, name in ((server.words("alpha,beta"), "there"), ((), "here")):
        ran = dni("run", "tiny.toml", *same, name, *words)
        assert ran.returncode == 0, ran.stderr
        assert "dni1:" not in ran.stdout + ran.stderr
    there, here = (summary(dni, name) for name in ("there", "here"))
    assert there["engine"] == "ssh"
    assert there["test_error"] == here["test_error"]
    assert there["train_loss"] == pytest.approx(here["train_loss"], rel=1e-3)  # kernels may differ
    for layer in LAYERS:
        assert (dni.home / "there" / "weights" / f"{layer}.safetensors").exists()
        assert (dni.home / "there" / "trace" / f"{layer}.trace").stat().st_size
    until_nothing_left(dni)


@needs_sshd
@pytest.mark.slow
def test_the_token_is_in_no_command_line_and_the_shares_are_as_asked(
    dni: Dni, server: Server
) -> None:
    training = dni.start(*ENDLESS, *server.words("alpha,alpha,beta"))
    until_training(dni, training)
    lines = [process.cmdline() for process in dni.processes()]
    agents = [line for line in lines if "join" in line and "ssh" not in line[0]]
    assert sorted(line[line.index("--slots") + 1] for line in agents) == ["1", "2"]
    assert len([line for line in lines if "ssh" in line[0]]) == 2
    assert not [line for line in lines if "dni1:" in " ".join(line)]
    training.signal(signal.SIGINT)
    assert training.end(PATIENCE) == 130
    until_nothing_left(dni)


@needs_sshd
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the head", "a client"])
def test_nothing_is_left_when_one_end_is_killed(dni: Dni, server: Server, victim: str) -> None:
    training = dni.start(*ENDLESS, *server.words("alpha,beta"))
    until_training(dni, training)
    if victim == "the head":
        training.signal(signal.SIGKILL)
        training.end(PATIENCE)
    else:
        [client] = of(dni, "alpha")
        client.kill()
        assert training.end(PATIENCE) == 1
        assert "was interrupted and leaves with layer" in training.text, training.text
        assert {path.stem for path in (training.folder / "weights").iterdir()} == set(LAYERS)
    until_nothing_left(dni)


@needs_sshd
@pytest.mark.parametrize(
    ("hosts", "remote", "said"),
    [
        ("alpha,deaf", WAITS, "deaf: ended with status 255: ssh: connect to host 127.0.0.1"),
        (
            "alpha",
            "/nowhere/dni",
            "alpha: ended with status 127; --remote-command says",
        ),
        ("alpha", "true", "alpha: ended with status 0: it said nothing"),
    ],
)
def test_an_agent_that_ends_before_it_joins_ends_the_run(
    dni: Dni, server: Server, hosts: str, remote: str, said: str
) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", *server.words(hosts, remote))
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {said}")
    assert ran.stderr.count("\n") == 1
    assert not (dni.home / "run").exists()
    assert "Traceback" not in ran.stdout + ran.stderr
    until_nothing_left(dni)


@needs_sshd
def test_waiting_for_agents_ends_with_ctrl_c(dni: Dni, server: Server) -> None:
    training = dni.start(*server.words("alpha", WAITS))
    dni.until(lambda: of(dni, "cat"), "the remote command runs")
    training.signal(signal.SIGINT)
    assert training.end(PATIENCE) == 130
    assert "interrupted before training began: nothing is kept" in training.text
    assert not training.folder.exists()
    until_nothing_left(dni)


@pytest.mark.parametrize("answer", ["exit 0", "echo hostname here", "echo port 22"])
def test_an_ssh_that_does_not_say_where_it_goes_is_refused(dni: Dni, answer: str) -> None:
    (dni.home / "ssh").write_text(f"#!/bin/sh\n{answer}\n", "utf-8")
    (dni.home / "ssh").chmod(0o755)
    path = {"PATH": f"{dni.home}:{dni.environment['PATH']}"}
    ran = dni("run", "tiny.toml", "--engine", "ssh", "--hosts", "a", environment=path)
    assert ran.returncode == 2
    assert ran.stderr == "Error: a: `ssh -G` names no hostname and port; is ssh OpenSSH's?\n"
    assert not (dni.home / "runs").exists()


@pytest.mark.parametrize("hosts", ["-oProxyCommand=touch oops", "a,,b", "", "a b", "a;b"])
def test_what_is_no_host_is_refused_before_anything_is_started(dni: Dni, hosts: str) -> None:
    ran = dni("run", "tiny.toml", "--engine", "ssh", f"--hosts={hosts}", "--run-dir", "run")
    assert ran.returncode == 2
    assert ran.stderr.startswith("Error: --hosts: ")
    assert ran.stderr.count("\n") == 1
    assert sorted(path.name for path in Path(dni.home).iterdir()) == ["tiny.toml"]


def test_a_host_named_twice_has_two_shares_and_none_has_nothing() -> None:
    assert shares(["a", "a", "b"], 3) == {"a": 2, "b": 1}
    assert shares(["a", "b"], 5) == {"a": 3, "b": 2}
    assert shares(["a", "b", "c"], 2) == {"a": 1, "b": 1}
