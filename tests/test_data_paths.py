"""Users without a home folder can use data sets, and `~` is expanded in every setting."""

from __future__ import annotations

import errno
import json
import os
import pwd
import stat
import tempfile
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

import cli
from protocol import DataError
from tests.data_help import refusal, write_files
from tests.data_images import in_tar, tree
from workers.data import cifar, list_datasets, load, mnist, paths


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with neither HOME nor an entry in /etc/passwd; returns the folder for what is
    temporary."""

    def nobody(_: object) -> NoReturn:
        raise KeyError("no such entry")

    for name in ("HOME", "XDG_CACHE_HOME", "DNI_CACHE", "DNI_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_the_cache_is_a_private_temporary_folder(homeless: Path) -> None:
    folder = paths.cache_folder("images")
    assert folder == homeless / f"dni-cache-{os.getuid()}" / "images"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert paths.cache_folder("mnist").parent == folder.parent


def test_without_a_home_data_sets_are_listed_loaded_and_cached(homeless: Path) -> None:
    assert {entry.name for entry in list_datasets()} == {"digits", "mnist", "cifar10", "addition"}
    shown = CliRunner().invoke(cli.main, ["data", "list", "--json"])
    assert shown.exit_code == 0, shown.output
    assert len(json.loads(shown.output)) == 4
    path = in_tar(homeless / "own.tar", tree().items())
    for _ in range(2):
        assert load(path=path).classes == 2
    assert len([*paths.cache_folder("images").iterdir()]) == 1


@pytest.mark.parametrize("taken", ["open", "file", "link"])
def test_a_folder_that_is_not_private_is_not_used_as_a_cache(homeless: Path, taken: str) -> None:
    folder = homeless / f"dni-cache-{os.getuid()}"
    if taken == "file":
        folder.write_bytes(b"")
    elif taken == "link":
        (homeless / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(homeless / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    text = refusal(lambda: paths.cache_folder("images"))
    assert text.startswith(f"{folder}: ")
    assert text.endswith("set DNI_CACHE to a folder that is yours")


def deny_cache(homeless: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Make every folder for the cache of a user without a home unusable."""

    def nowhere() -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    if how == "open":
        (homeless / f"dni-cache-{os.getuid()}").mkdir(mode=0o777)
        (homeless / f"dni-cache-{os.getuid()}").chmod(0o777)
    elif how == "file":
        (homeless / f"dni-cache-{os.getuid()}").write_bytes(b"")
    else:
        monkeypatch.setattr(tempfile, "gettempdir", nowhere)


@pytest.mark.parametrize("how", ["open", "file", "nowhere"])
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_without_a_cache_everything_but_a_download_works(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, how: str, name: str
) -> None:
    deny_cache(homeless, monkeypatch, how)
    shown = CliRunner().invoke(cli.main, ["data", "list", "--json"])
    assert shown.exit_code == 0, shown.output
    path = in_tar(homeless / "own.tar", tree().items())
    for _ in range(2):
        assert load(path=path).classes == 2
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(cifar, "MIRRORS", ())
    text = refusal(lambda: load(name))
    assert text.endswith("set DNI_CACHE to a folder that is yours")


@pytest.mark.parametrize("how", ["open", "file", "nowhere"])
def test_existing_data_sets_need_no_cache(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    deny_cache(homeless, monkeypatch, how)
    write_files(homeless / "data" / "mnist", {file.name: b"" for file in mnist.FILES.values()})
    write_files(homeless / "data" / "cifar10", {cifar.FORMATS[0].archive: b""})
    monkeypatch.setenv("DNI_DATA", str(homeless / "data"))
    for name, place in (("mnist", mnist.find()), ("cifar10", cifar.find())):
        assert place is not None
        assert place.is_relative_to(homeless / "data" / name)
        assert "unset DNI_DATA" in refusal(partial(load, name))


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_an_invalid_path_is_a_data_error(text: str) -> None:
    assert refusal(lambda: load(path=text)) == f"data.path: {text!r} cannot be a path"


@pytest.mark.parametrize("below", ["", "data", "a/b"])
def test_a_tilde_is_the_home_in_both_variables_and_in_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DNI_DATA", f"~/{below}")
    monkeypatch.setenv("DNI_CACHE", f"~/{below}")
    assert paths.user_folders("mnist") == (tmp_path / below / "mnist", tmp_path / below)
    assert paths.cache_folder("mnist") == tmp_path / below / "mnist"
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    in_tar(tmp_path / below / "own.tar", tree().items())
    assert load(path=Path("~") / below / "own.tar").classes == 2


@pytest.mark.parametrize("text", ["~nobody-of-this-name", "~nobody-of-this-name/data", "~~/x"])
@pytest.mark.parametrize("key", ["DNI_DATA", "DNI_CACHE"])
def test_the_tilde_of_an_unknown_user_is_a_data_error(
    monkeypatch: pytest.MonkeyPatch, key: str, text: str
) -> None:
    monkeypatch.setenv(key, text)
    with pytest.raises(DataError) as caught:
        list_datasets()
    assert str(caught.value).startswith(f"{key}: {text}: there is no user ")
    assert str(caught.value).endswith("give the path in full")
    shown = CliRunner().invoke(cli.main, ["data", "list"])
    assert shown.exit_code == 2
    assert isinstance(shown.exception, SystemExit)


def test_a_tilde_without_a_home_is_a_data_error(
    homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNI_DATA", "~/data")
    assert refusal(list_datasets).startswith("DNI_DATA: ~/data: HOME is not set")
    monkeypatch.delenv("DNI_DATA")
    assert refusal(lambda: load(path="~/own.npz")).startswith(
        "data.path: ~/own.npz: HOME is not set"
    )
    assert [*homeless.glob("~*")] == []
