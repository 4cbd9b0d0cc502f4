"""Paths from the user, in which ~ is a home folder."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protocol import (
    SpecError,
    read_pipeline,
)
from protocol.paths import user_path
from tests.dni import TINY

if TYPE_CHECKING:
    from tests.dni import Dni


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("~", "/home/ada"), ("~/runs/a", "/home/ada/runs/a"), ("a/~/b", "a/~/b"), ("./~x", "~x")],
)
def test_a_tilde_is_replaced_by_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, text: str, wanted: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(user_path(text, "--run-dir")) == wanted


@pytest.mark.parametrize("variable", [None, ""])
@pytest.mark.parametrize("text", ["~", "~/runs", "~nobody-of-this-name", "~nobody-of-this-name/x"])
def test_an_unknown_home_folder_is_an_error(
    monkeypatch: pytest.MonkeyPatch, text: str, variable: str | None
) -> None:
    def unknown(user: object) -> None:
        raise KeyError(user)

    if variable is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", variable)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    reason = "no user 'nobody-of-this-name'" if "nobody" in text else "HOME is not set"
    with pytest.raises(SpecError, match=f"^--run-dir: {text}: .*{reason}"):
        user_path(text, "--run-dir")


@pytest.mark.parametrize(("text", "rest"), [("~", ""), ("~/x", "/x"), ("~/a/~b", "/a/~b")])
def test_an_empty_home_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, text: str, rest: str
) -> None:
    monkeypatch.setenv("HOME", "")
    assert str(user_path(text, "--run-dir")) == pwd.getpwuid(os.getuid()).pw_dir + rest


@pytest.mark.parametrize("text", ["", "a\0b", "\0"])
def test_text_that_cannot_be_a_path_is_an_error(text: str) -> None:
    with pytest.raises(SpecError, match=r"^data\.path: .* cannot be a path"):
        user_path(text, "data.path")


def test_a_path_in_a_pipeline_may_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    file = tmp_path / "net.toml"
    file.write_text(TINY.replace('name = "digits"', 'path = "~/mine.npz"'), "utf-8")
    assert read_pipeline(file).data.path == "/home/ada/mine.npz"
    changed = read_pipeline(file, ["data.path=~/other.npz"])
    assert changed.data.path == "/home/ada/other.npz"
    with pytest.raises(SpecError, match=r"net\.toml: data\.path: ~nobody-here/x: there is no user"):
        read_pipeline(file, ["data.path=~nobody-here/x"])


def test_every_path_on_the_command_line_may_begin_with_a_tilde(dni: Dni, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "net.toml").write_text(TINY, "utf-8")
    fewer = ("--engine", "inline", "-o", "train.steps=20")

    def run(*arguments: str) -> None:
        done = dni(*arguments, environment={"HOME": str(folder)})
        assert done.returncode == 0, done.stderr

    run("run", "~/net.toml", "--run-dir", "~/runs/a", *fewer)
    run("evaluate", "~/runs/a")
    run("trace", "timeline", "~/runs/a", "--svg", "~/a.svg", "--html", "~/a.html")
    run("trace", "export", "~/runs/a", "--to", "csv", "~/a.csv")
    run("compare", "~/net.toml", "--rules", "cdni", "--seeds", "1", "--out", "~/out", *fewer)
    made = {path.name for path in folder.iterdir() if path.name[0] != "."}  # of matplotlib
    assert made == {"net.toml", "runs", "a.svg", "a.html", "a.csv", "out"}
    assert not (dni.home / "~").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "~no-such-user/net.toml"),
        ("run", "--run-dir", "~no-such-user/a"),
        ("evaluate", "~no-such-user/a"),
        ("compare", "--out", "~no-such-user/a"),
        ("trace", "export", "runs/a", "--to", "csv", "~no-such-user/a"),
    ],
    ids=str,
)
def test_the_home_folder_of_an_unknown_user_is_an_error_of_one_line(
    dni: Dni, arguments: tuple[str, ...]
) -> None:
    run = dni.home / "runs" / "a"
    run.mkdir(parents=True)
    (run / "pipeline.toml").write_text(TINY, "utf-8")
    done = dni(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "~no-such-user/" in line
    assert "there is no user 'no-such-user'" in line
