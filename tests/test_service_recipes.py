"""The commands that README and docs give for clusters, ssh, Slurm and Ray run as they stand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dni import COMMAND, Dni
from tests.network_hosts import NetworkHosts, network_hosts
from tests.recipes import PROJECT, Line, Reader, recipe
from tests.slurm_server import slurm_server
from tests.ssh_server import ssh_server

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture
def hosts() -> Iterator[NetworkHosts]:
    with network_hosts(3, "10.0.0") as made:
        yield made


@pytest.mark.parametrize("page", ["README.md", "docs/cluster.md"])
def test_the_hosts_of_the_recipe_have_slots_for_all_layers_and_train(
    dni: Dni, hosts: NetworkHosts, page: str
) -> None:
    reader, lines = Reader(dni), recipe(page, r"head\$ +dni up")
    assert [line.host for line in lines] == ["head", "host1", "host2"]
    assert f"tcp://{hosts.address(0)}:" in lines[0].command
    with reader.up(hosts, lines):
        assert reader.end() == [0, 0, 0], reader.started[0][1].read_text("utf-8")
    (run,) = (dni.home / "runs").iterdir()
    assert len(list((run / "weights").iterdir())) == 4
    dni.nothing_left()


def test_the_recipe_with_an_ipv6_address_trains(dni: Dni, hosts: NetworkHosts) -> None:
    reader, (line,) = Reader(dni), recipe("docs/cluster.md", "dni up")
    assert "[fd00::1]" in line.command
    with reader.up(hosts, [Line("head", line.command), Line("host1", "dni join dni1:… --slots 4")]):
        assert reader.end() == [0, 0], reader.started[0][1].read_text("utf-8")
    assert "at fd00::2, 4 slots" in reader.started[0][1].read_text("utf-8")


@pytest.mark.parametrize("number", range(3))
def test_status_stop_and_revoke_of_the_recipe_act_on_the_run(
    dni: Dni, hosts: NetworkHosts, number: int
) -> None:
    reader = Reader(dni, steps=1_000_000_000)
    commands = recipe("docs/cluster.md", r"head\$ +dni status")
    assert {line.host for line in commands} == {"head"}
    with reader.up(hosts, recipe("docs/cluster.md", r"head\$ +dni up")):
        runs = dni.home / "runs"
        dni.until(
            lambda: any("layer3" in m.read_text() for m in runs.glob("*/metrics.jsonl")),
            "all layers make updates",
        )
        (run,) = runs.iterdir()
        ran = reader.run(commands[number].command.replace("RUN", run.name))
        assert ran.returncode == 0, ran.stderr
        if "status" in commands[number].command:
            assert all(name in ran.stdout for name in ("host1", "host2", "layer3", "10.0.0.3"))
            assert reader.run(f"dni stop {run.name}").returncode == 0
        assert reader.end()[0] == (1 if "revoke" in commands[number].command else 130)


@pytest.mark.parametrize("page", ["README.md", "docs/engines.md"])
def test_the_recipe_for_ssh_trains(dni: Dni, page: str) -> None:
    reader = Reader(dni)
    text = (PROJECT / page).read_text("utf-8")
    (command,) = re.findall(r"^(dni run \S+ --engine ssh [^#\n]*)", text, re.MULTILINE)
    with ssh_server(dni.home / "sshd", dni.environment) as server:
        config = server.folder / "config"
        hosts = config.read_text("utf-8").replace("Host alpha beta", "Host alpha beta a b c")
        config.write_text(hosts, "utf-8")
        reader.install("ssh", f'exec {shutil.which("ssh")} -F {config} "$@"')
        ran = reader.run(command.replace("/opt/dni/bin/dni", str(reader.program)))
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "host2: " in ran.stdout
        dni.until(lambda: not dni.processes(), "the agents are gone")


def test_the_recipes_for_slurm_train(dni: Dni) -> None:
    reader = Reader(dni, layers=3)
    lines = recipe("docs/engines.md", "dni run pipeline.toml --engine slurm")
    assert [line.command.split()[0] for line in lines] == ["dni", "salloc"]
    with slurm_server() as settings:
        dni.environment["SLURM_CONF"] = settings
        for line in lines:
            ran = reader.run(line.command)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            assert "host3: " in ran.stdout
        dni.until(lambda: not dni.processes(), "the agents are gone")


def test_the_recipe_for_ray_trains(dni: Dni) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[ray]'")
    reader = Reader(dni)
    start, run, stop = recipe("docs/engines.md", "dni run pipeline.toml --engine ray")
    programs = Path(COMMAND[0]).parent
    dni.environment["PATH"] = f"{programs}:{dni.environment['PATH']}"
    try:
        started = reader.run(f"{start.command} --num-cpus=4 >start.out 2>&1")
        assert started.returncode == 0, (dni.home / "start.out").read_text("utf-8")
        ran = reader.run(run.command)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    finally:
        reader.run(f"{stop.command} --force >stop.out 2>&1")
