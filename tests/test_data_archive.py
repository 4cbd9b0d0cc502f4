"""An archive's members are read in memory and bounded; nothing of it is believed or written."""

from __future__ import annotations

import gzip
import lzma
import tarfile
from functools import partial
from pathlib import Path

import pytest

from protocol.errors import DataError
from tests.data_help import refusal
from tests.data_pictures import in_tar, tree
from workers.data import archive, load

pytestmark = pytest.mark.usefixtures("own_folders")


def read(path: Path) -> dict[str, bytes | None]:
    """The members with the content of each file."""
    return {m.name: None if m.folder else m.read() for m in archive.members(path)}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_members_come_as_they_were_packed(tmp_path: Path, suffix: str) -> None:
    members: dict[str, bytes | None] = {"a": None, "a/b": b"1" * 5000, "ü" * 200: b"", "c": b"2"}
    path = in_tar(tmp_path / f"own{suffix}", members.items())
    assert archive.is_tar(path)
    assert read(path) == members


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "own.tar"
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"train/a/{kind!r}.png")
            member.type, member.linkname = kind, str(secret)
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("../../etc/passwd"))
    assert read(path) == {"../../etc/passwd": b""}
    assert sorted(tmp_path.iterdir()) == [path, secret]


def test_a_member_beyond_all_reason_is_refused(tmp_path: Path) -> None:
    bomb = tarfile.TarInfo("train/a/0.png")
    bomb.size = archive.LARGEST + 1
    path = tmp_path / "own.tar.gz"
    path.write_bytes(gzip.compress(bomb.tobuf() + bytes(10_000)))
    assert f"{path}: 'train/a/0.png' has more than" in refusal(lambda: load(path=path))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_beyond_all_reason_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    monkeypatch.setattr(archive, "LARGEST", 1 << 20)
    head = tarfile.TarInfo("long")
    head.type, head.size = kind, 1 << 32
    path = tmp_path / "own.tar.xz"
    path.write_bytes(lzma.compress(head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 26), preset=0))
    assert f"{path}: a header claims more than" in refusal(lambda: load(path=path))


def test_an_archive_that_is_cut_or_changed_is_refused_or_read_but_never_crashes(
    tmp_path: Path,
) -> None:
    for suffix in (".tar", ".tar.gz", ".tar.xz"):
        path = in_tar(tmp_path / f"own{suffix}", tree().items())
        good = path.read_bytes()
        step = max(len(good) // 60, 1)
        told = []
        for at in range(0, len(good), step):
            for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]):
                path.write_bytes(bad)
                try:
                    list(archive.members(path))
                    load(path=path)
                except DataError:
                    told.append(refusal(partial(load, path=path)))
        assert len(told) > 20
        assert all(text.startswith(str(path)) for text in told)


def test_what_is_no_tar_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "own.tar"
    for content in (b"", b"text", gzip.compress(b"text"), lzma.compress(bytes(1000))):
        path.write_bytes(content)
        text = refusal(lambda: load(path=path))
        assert text.startswith(f"{path}: is {'no .npz file, nor a tar' if content else 'empty'}")
    path.write_bytes(gzip.compress(bytes(200))[:-9])
    assert f"{path}: broken gzip" in refusal(lambda: load(path=path))
