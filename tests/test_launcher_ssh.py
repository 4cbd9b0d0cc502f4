"""The launcher `ssh` without a server: its hosts, their shares, and programs that are not ssh."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.cluster.launchers.ssh import shares
from tests.dni import Dni


@pytest.mark.parametrize("printed", ["exit 0", "echo hostname here", "echo port 22"])
def test_an_ssh_that_prints_no_hostname_and_port_is_refused(dni: Dni, printed: str) -> None:
    (dni.home / "ssh").write_text(f"#!/bin/sh\n{printed}\n", "utf-8")
    (dni.home / "ssh").chmod(0o755)
    path = {"PATH": f"{dni.home}:{dni.environment['PATH']}"}
    ran = dni("run", "tiny.toml", "--engine", "ssh", "--hosts", "a", environment=path)
    assert ran.returncode == 2
    assert ran.stderr == "Error: a: `ssh -G` prints no hostname and port; is it OpenSSH's ssh?\n"
    assert not (dni.home / "runs").exists()


@pytest.mark.parametrize("hosts", ["-oProxyCommand=touch oops", "a,,b", "", "a b", "a;b"])
def test_a_text_that_is_not_a_host_is_refused_before_anything_starts(dni: Dni, hosts: str) -> None:
    ran = dni("run", "tiny.toml", "--engine", "ssh", f"--hosts={hosts}", "--run-dir", "run")
    assert ran.returncode == 2
    assert ran.stderr.startswith("Error: --hosts: ")
    assert ran.stderr.count("\n") == 1
    assert sorted(path.name for path in Path(dni.home).iterdir()) == ["tiny.toml"]


def test_a_host_named_twice_has_two_shares_and_a_host_without_a_slot_is_left_out() -> None:
    assert shares(["a", "a", "b"], 3) == {"a": 2, "b": 1}
    assert shares(["a", "b"], 5) == {"a": 3, "b": 2}
    assert shares(["a", "b", "c"], 2) == {"a": 1, "b": 1}
