"""Members of an archive are read in memory with limits; nothing is written to the disk."""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from protocol.errors import DataError
from tests.data_help import refusal
from tests.data_images import in_folder, in_tar, tree
from workers.data import Dataset, archive, load

pytestmark = pytest.mark.usefixtures("own_folders")


def read(path: Path) -> dict[str, bytes | None]:
    """The members with the content of each file."""
    return {m.name: None if m.folder else m.read() for m in archive.archive_members(path)}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_members_are_read_in_the_order_of_the_archive(tmp_path: Path, suffix: str) -> None:
    members: dict[str, bytes | None] = {"a": None, "a/b": b"1" * 5000, "ü" * 200: b"", "c": b"2"}
    path = in_tar(tmp_path / f"own{suffix}", members.items())
    assert archive.is_tar(path)
    assert read(path) == members


def test_links_out_of_the_archive_and_devices_are_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "own.tar"
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    with tarfile.open(path, "w") as tar:
        for i, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"train/a/{i}.png")
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("../../etc/passwd"))
    names = []
    for member in archive.archive_members(path):
        names.append(member.name)
        if member.name == "../../etc/passwd":
            assert member.read() == b""
        else:
            with pytest.raises(archive.UnreadableError):
                member.read()
    assert sorted(names) == ["../../etc/passwd", *(f"train/a/{i}.png" for i in range(4))]
    assert sorted(tmp_path.iterdir()) == [path, secret]


Pack = Callable[[Path], Path]


def tarred(folder: Path) -> Path:
    with tarfile.open(folder.with_suffix(".tar.gz"), "w:gz") as tar:
        tar.add(folder, "own")
    return folder.with_suffix(".tar.gz")


def zipped(folder: Path) -> Path:
    """A zip with symbolic links, as `zip --symlinks` writes it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(folder.rglob("*")):
            name = str(file.relative_to(folder))
            if file.is_symlink():
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                packed.writestr(info, str(file.readlink()))
            elif file.is_file():
                packed.write(file, name)
    return path


packs = pytest.mark.parametrize("pack", [tarred, zipped])


def link(folder: Path, name: str, target: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).symlink_to(target)


LINKS = {
    "file": {"train/a/2.png": "1.png"},
    "up": {"train/a/2.png": "../b/1.png"},
    "store": {"train/a/2.png": "../../store/x.png", "test/b/2.png": "../../store/x.png"},
    "chain": {"train/a/2.png": "0.png", "train/b/2.png": "../a/2.png"},
    "class": {"train/c": "a", "test/c": "../train/b"},
    "part": {"val": "test"},
    "deep": {"train/a/more": "../b"},
    "circle": {"train/a/loop": "../../train"},
    "link in a linked folder": {"train/c": "a", "test/c": "a", "train/a/2.png": "1.png"},
}


@packs
@pytest.mark.parametrize("name", LINKS)
def test_links_within_an_archive_are_followed(tmp_path: Path, pack: Pack, name: str) -> None:
    folder = in_folder(tmp_path / "own", tree() | {"store/x.png": tree()["train/a/0.png"]})
    for place, target in LINKS[name].items():
        link(folder, place, target)
    are_equal(load(path=folder), load(path=pack(folder)))


@packs
@pytest.mark.parametrize("count", [1, 3, 20])
def test_hard_links_in_an_archive_are_files(tmp_path: Path, pack: Pack, count: int) -> None:
    folder = in_folder(tmp_path / "own", tree())
    for i in range(count):
        (folder / "train" / "ab"[i % 2] / f"9{i}.png").hardlink_to(folder / "train/a/0.png")
    data = load(path=pack(folder))
    assert len(data.x_train) == 4 + count
    are_equal(load(path=folder), data)


def are_equal(one: Dataset, other: Dataset) -> None:
    np.testing.assert_array_equal(one.x_train, other.x_train)
    np.testing.assert_array_equal(one.y_train, other.y_train)
    np.testing.assert_array_equal(one.x_test, other.x_test)
    assert one.class_names == other.class_names


@packs
@pytest.mark.parametrize("target", ["/nowhere/x.png", "../../../x.png", "gone.png", "2.png"])
def test_the_error_for_a_link_out_of_the_archive_names_the_link(
    tmp_path: Path, pack: Pack, target: str
) -> None:
    folder = in_folder(tmp_path / "own", tree())
    link(folder, "train/a/2.png", target)
    text = refusal(partial(load, path=pack(folder)))
    assert (
        "train/a/2.png': is a link to a file that is not in the archive; pack the archive" in text
    )


def test_a_member_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    bomb = tarfile.TarInfo("train/a/0.png")
    bomb.size = archive.MAX_MEMBER_BYTES + 1
    path = tmp_path / "own.tar.gz"
    path.write_bytes(gzip.compress(bomb.tobuf() + bytes(10_000)))
    assert f"{path}: 'train/a/0.png' has more than" in refusal(lambda: load(path=path))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_above_the_size_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1 << 20)
    head = tarfile.TarInfo("long")
    head.type, head.size = kind, 1 << 32
    path = tmp_path / "own.tar.xz"
    path.write_bytes(lzma.compress(head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 26), preset=0))
    assert f"{path}: a header states more than" in refusal(lambda: load(path=path))


def test_a_truncated_or_changed_archive_is_read_or_refused(
    tmp_path: Path,
) -> None:
    for suffix in (".tar", ".tar.gz", ".tar.xz"):
        path = in_tar(tmp_path / f"own{suffix}", tree().items())
        good = path.read_bytes()
        step = max(len(good) // 60, 1)
        errors = []
        for at in range(0, len(good), step):
            for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]):
                path.write_bytes(bad)
                try:
                    list(archive.archive_members(path))
                    load(path=path)
                except DataError:
                    errors.append(refusal(partial(load, path=path)))
        assert len(errors) > 20
        assert all(text.startswith(str(path)) for text in errors)


def test_a_file_that_is_not_a_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.tar"
    for content in (b"", b"text", gzip.compress(b"text"), lzma.compress(bytes(1000))):
        path.write_bytes(content)
        text = refusal(lambda: load(path=path))
        assert text.startswith(f"{path}: is {'not an .npz file' if content else 'empty'}")
    path.write_bytes(gzip.compress(bytes(200))[:-9])
    assert f"{path}: broken gzip" in refusal(lambda: load(path=path))
