"""Engines are found by name, and asked in their own words."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from importlib.util import find_spec

import pytest

from coordinator.cluster.launchers import launcher
from coordinator.cluster.launchers.ssh import Ssh
from protocol import RunError
from tests.conftest import Dni

OWN = ("local", "inline")


def test_an_installed_engine_is_found_by_its_name() -> None:
    assert isinstance(launcher.chosen("ssh", {"hosts": "a", "bind": "tcp://x:1"}, OWN), Ssh)
    assert launcher.chosen("local", {}, OWN) is None


@pytest.mark.parametrize(
    ("engine", "options", "said"),
    [
        ("shs", {}, "unknown engine 'shs'; did you mean 'ssh'?; known: local, inline, ray, slurm"),
        ("zzzzzz", {}, "unknown engine 'zzzzzz'; known: local, inline, ray, slurm, ssh"),
        ("ssh", {}, "engine ssh: needs --hosts"),
        ("ssh", {"host": "a"}, "engine ssh: has no option --host; did you mean '--hosts'?"),
        ("inline", {"bind": "tcp://x:1"}, "engine inline: has no option --bind"),
    ],
)
def test_what_is_not_known_is_said_with_what_is(
    engine: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(RunError) as caught:
        launcher.chosen(engine, options, OWN)
    assert said in str(caught.value)


def test_an_engine_whose_library_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("other", "no_such_module:Other", launcher.GROUP)
    monkeypatch.setattr(launcher, "entry_points", lambda group: [point])  # noqa: ARG005
    with pytest.raises(RunError, match="engine other: cannot be loaded: No module named"):
        launcher.chosen("other", {}, OWN)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_an_engine_of_ours_whose_library_is_missing_says_how_to_install_it() -> None:
    with pytest.raises(RunError, match=r"run pip install '\.\[ray\]' in the checkout of dni"):
        launcher.chosen("ray", {}, OWN)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "shs"), "engine: unknown engine 'shs'; did you mean 'ssh'?"),
        (("--hosts", "a"), "engine local: has no option --hosts"),
        (("-E", "hosts"), "-E: 'hosts' is not KEY=VALUE"),
        (("--engine", "ssh", "-E", "hosts=-x"), "--hosts: '-x' is no host"),
    ],
)
def test_a_wrong_engine_is_one_line_and_status_2(
    dni: Dni, words: tuple[str, ...], said: str
) -> None:
    ran = dni("run", "tiny.toml", "--run-dir", "run", *words)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {said}")
    assert ran.stderr.count("\n") == 1
    assert not (dni.home / "run").exists()


def test_a_bind_that_is_none_is_one_line_and_status_2(dni: Dni) -> None:
    words = ("--engine", "ssh", "--hosts", "localhost", "--bind", "here")
    ran = dni("run", "tiny.toml", "--run-dir", "run", *words)
    assert ran.returncode == 2
    assert "--bind: 'here' is not tcp://ADDRESS:PORT\n" in ran.stderr
    assert not (dni.home / "run").exists()
    dni.nothing_left()


@pytest.mark.parametrize(
    ("text", "words"), [("\n\nand so\n", "and so"), (" \n", "it said nothing"), ("a\nb", "b")]
)
def test_last_words_are_the_last_line_that_says_anything(text: str, words: str) -> None:
    assert launcher.last_words(text) == words
