"""The commands that README and docs give for several hosts, ssh and Ray run as they are written.

The pipeline files that they name are short ones here, and the token is the one that was printed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.conftest import COMMAND, Dni
from tests.network_hosts import NetworkHosts, network_hosts
from tests.ssh_server import ssh_server

pytestmark = pytest.mark.slow

PROJECT: Final = Path(__file__).parents[1]
PAGES: Final = ("README.md", "docs/cluster.md", "docs/engines.md")
FOUR: Final = (
    """\
[data]
name = "digits"
batch = 32
[train]
steps = {steps}
"""
    + 3 * '[[layer]]\nmodules = ["linear 16", "relu"]\n'
    + '[[layer]]\nmodules = ["linear 10"]\n'
)
LATE: Final = 60.0


class Line(NamedTuple):
    """A command, and on which host it runs; "" for the host of the reader."""

    host: str
    command: str


def recipe(page: str, word: str) -> list[Line]:
    """The block of `page` in which a line begins with the pattern `word`, without comments."""
    text = (PROJECT / page).read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if re.search(rf"^{word}\b", block, re.MULTILINE)]
    found = []
    for line in block.splitlines():
        host, _, command = line.rpartition("$ ")
        found.append(Line(host.strip(), command.partition(" # ")[0].strip()))
    return found


class House:
    """A folder with the files that recipes name, and with `dni` on the PATH."""

    def __init__(self, dni: Dni, steps: int = 40) -> None:
        self.dni = dni
        bin_folder = dni.home / "bin"
        bin_folder.mkdir()
        self.program = bin_folder / "dni"
        self.program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n', "utf-8")
        self.program.chmod(0o755)
        dni.environment["PATH"] = f"{bin_folder}:{dni.environment['PATH']}"
        (dni.home / "examples").mkdir()
        for name in ("examples/mnist-fcn4.toml", "pipeline.toml"):
            (dni.home / name).write_text(FOUR.format(steps=steps), "utf-8")
        self.started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(self, command: str, before: Sequence[str] = ()) -> Path:
        """Start a command line; the file that gets what it prints."""
        output = self.dni.home / f"{len(self.started)}.out"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*before, "sh", "-c", f"exec {command}"],
                cwd=self.dni.home,
                env=self.dni.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.started.append((process, output))
        return output

    def end(self) -> list[int]:
        """The exit codes of all that was started."""
        return [process.wait(LATE) for process, _ in self.started]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.dni.home,
            env=self.dni.environment,
            capture_output=True,
            text=True,
            timeout=LATE,
            check=False,
        )

    @contextmanager
    def up(self, hosts: NetworkHosts, lines: Sequence[Line]) -> Iterator[None]:
        """Start a head and the hosts that join it."""
        names = list(dict.fromkeys(line.host for line in lines))
        head, *joins = lines
        output = self.start(head.command, hosts.at(0))
        token = re.compile(r"^dni join (dni1:\S+)$", re.MULTILINE)
        self.dni.until(lambda: token.search(output.read_text("utf-8")), "it prints the line")
        found = token.search(output.read_text("utf-8"))
        assert found
        try:
            for line in joins:
                command = line.command.replace("dni1:…", found[1])
                assert found[1] in command
                self.start(command, hosts.at(names.index(line.host)))
            yield
        finally:
            for process, _ in self.started:
                if process.poll() is None:
                    process.kill()


@pytest.fixture
def hosts() -> Iterator[NetworkHosts]:
    with network_hosts(3, "10.0.0") as made:
        yield made


@pytest.mark.parametrize("page", ["README.md", "docs/cluster.md"])
def test_the_hosts_of_the_recipe_have_room_for_all_layers_and_train(
    dni: Dni, hosts: NetworkHosts, page: str
) -> None:
    house, lines = House(dni), recipe(page, r"head\$ +dni up")
    assert [line.host for line in lines] == ["head", "host1", "host2"]
    assert f"tcp://{hosts.address(0)}:" in lines[0].command
    with house.up(hosts, lines):
        assert house.end() == [0, 0, 0], house.started[0][1].read_text("utf-8")
    (run,) = (dni.home / "runs").iterdir()
    assert len(list((run / "weights").iterdir())) == 4
    dni.nothing_left()


def test_the_recipe_with_an_ipv6_address_trains(dni: Dni, hosts: NetworkHosts) -> None:
    house, (line,) = House(dni), recipe("docs/cluster.md", "dni up")
    assert "[fd00::1]" in line.command
    with house.up(hosts, [Line("head", line.command), Line("host1", "dni join dni1:… --slots 4")]):
        assert house.end() == [0, 0], house.started[0][1].read_text("utf-8")
    assert "at fd00::2, 4 slots" in house.started[0][1].read_text("utf-8")


@pytest.mark.parametrize("number", range(3))
def test_what_can_be_asked_of_a_run_on_several_hosts_is_answered(
    dni: Dni, hosts: NetworkHosts, number: int
) -> None:
    house = House(dni, steps=1_000_000_000)
    asked = recipe("docs/cluster.md", r"head\$ +dni status")
    assert {line.host for line in asked} == {"head"}
    with house.up(hosts, recipe("docs/cluster.md", r"head\$ +dni up")):
        metrics = dni.home / "runs"
        dni.until(
            lambda: any("layer3" in m.read_text() for m in metrics.glob("*/metrics.jsonl")),
            "all layers learn",
        )
        (run,) = metrics.iterdir()
        said = house.run(asked[number].command.replace("RUN", run.name))
        assert said.returncode == 0, said.stderr
        if "status" in asked[number].command:
            assert all(word in said.stdout for word in ("host1", "host2", "layer3", "10.0.0.3"))
            assert house.run(f"dni stop {run.name}").returncode == 0
        assert house.end()[0] == (1 if "revoke" in asked[number].command else 130)


@pytest.mark.parametrize(("page", "engine"), [("README.md", "ssh"), ("docs/engines.md", "ssh")])
def test_the_recipe_for_ssh_trains(dni: Dni, page: str, engine: str) -> None:
    house = House(dni)
    text = (PROJECT / page).read_text("utf-8")
    (command,) = re.findall(rf"^(dni run \S+ --engine {engine} [^#\n]*)", text, re.MULTILINE)
    with ssh_server(dni.home / "sshd", dni.environment) as server:
        config = server.folder / "config"
        config.write_text(
            config.read_text("utf-8").replace("Host alpha beta", "Host alpha beta a b c")
        )
        ssh = dni.home / "bin" / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n', "utf-8")
        ssh.chmod(0o755)
        ran = house.run(command.replace("/opt/dni/bin/dni", str(house.program)))
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "host2: " in ran.stdout
        dni.until(lambda: not dni.processes(), "the agents are gone")


def test_the_recipe_for_ray_trains(dni: Dni) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[ray]'")
    house = House(dni)
    start, run, stop = recipe("docs/engines.md", "dni run pipeline.toml --engine ray")
    bin_folder = Path(COMMAND[0]).parent
    dni.environment["PATH"] = f"{bin_folder}:{dni.environment['PATH']}"
    try:
        started = house.run(f"{start.command} --num-cpus=4 >start.out 2>&1 </dev/null")
        assert started.returncode == 0, (dni.home / "start.out").read_text("utf-8")
        ran = house.run(run.command)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    finally:
        house.run(f"{stop.command} --force >stop.out 2>&1")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_no_package_of_strangers(page: str) -> None:
    text = (PROJECT / page).read_text("utf-8")
    assert not re.search(r"pip install\s+['\"]?dni\b", text)
