"""A file that is named for output is written where it leads to; what is there is not replaced."""

from __future__ import annotations

import csv
import os
import stat
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from coordinator.traces.output import write_output
from protocol import RunError
from tests.conftest import COMMAND
from tests.traced import ran, tiny

WORDS = [
    ["timeline", "{run}", "--svg", "{out}"],
    ["timeline", "{run}", "--html", "{out}"],
    ["export", "{run}", "--to", "csv", "{out}"],
    ["export", "{run}", "--to", "perfetto", "{out}"],
]
ALL = [*zip(WORDS, [b"<svg", b"<!", b"edge,", b"\x0a"], strict=True)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    ran(tiny(), folder)
    return folder


def trace(
    words: list[str], run: Path, out: str, descriptors: Collection[int] = ()
) -> subprocess.CompletedProcess[bytes]:
    """`dni trace` with `words`, which inherits the `descriptors`."""
    filled = [word.format(run=run, out=out) for word in words]
    return subprocess.run(
        [*COMMAND, "trace", *filled],
        capture_output=True,
        timeout=60,
        check=False,
        pass_fds=descriptors,
    )


@contextmanager
def reading(path: Path) -> Iterator[list[bytes]]:
    """Reads `path` while something writes to it; then the list holds what was there."""
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    yield read
    reader.join(60)


@pytest.mark.parametrize(("words", "start"), ALL, ids=ascii)
def test_a_pipe_with_a_name_is_written_to_and_stays(
    run: Path, tmp_path: Path, words: list[str], start: bytes
) -> None:
    pipe = tmp_path / "pipe.any"
    os.mkfifo(pipe)
    with reading(pipe) as read:
        done = trace(words, run, str(pipe))
    assert done.returncode == 0
    assert read[0].startswith(start)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [*tmp_path.iterdir()] == [pipe]


@pytest.mark.parametrize("words", WORDS, ids=ascii)
def test_a_pipe_whose_reader_goes_away_is_no_error(
    run: Path, tmp_path: Path, words: list[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.open("rb").close(), daemon=True).start()
    done = trace(words, run, str(pipe))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", WORDS, ids=ascii)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(
    run: Path, tmp_path: Path, words: list[str], there: bool
) -> None:
    target, link, second = (tmp_path / name for name in ("target", "link", "second"))
    if there:
        target.write_text("old")
    link.symlink_to("target")
    second.symlink_to(link)
    assert trace(words, run, str(second)).returncode == 0
    assert (second.readlink(), link.readlink()) == (link, Path("target"))
    assert target.stat().st_size > len("old")
    assert {*tmp_path.iterdir()} == {target, link, second}


@pytest.mark.parametrize(("words", "start"), ALL, ids=ascii)
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_gets_the_file_and_nothing_else(
    run: Path, words: list[str], start: bytes, name: str
) -> None:
    if name != "-" and not Path(name).exists():
        pytest.skip(f"no {name} here")
    done = trace(words, run, name)
    assert done.returncode == 0
    assert done.stdout.startswith(start)
    assert b"image: " in done.stderr or b" entries" in done.stderr
    if start == b"<svg":
        ET.fromstring(done.stdout)
    if start == b"edge,":
        assert len({len(row) for row in csv.reader(done.stdout.decode().splitlines())}) == 1


def test_standard_output_that_is_a_file_is_whole(run: Path, tmp_path: Path) -> None:
    for name in ("-", "/dev/stdout", str(tmp_path / "out.svg")):
        with (tmp_path / "out.svg").open("wb") as file:
            words = [word.format(run=run, out=name) for word in WORDS[0]]
            subprocess.run([*COMMAND, "trace", *words], stdout=file, timeout=60, check=True)
        ET.parse(tmp_path / "out.svg")


def test_another_descriptor_is_written_to(run: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with reading(pipe) as read, pipe.open("wb") as file:
        done = trace(WORDS[2], run, f"/dev/fd/{file.fileno()}", [file.fileno()])
    assert done.returncode == 0
    assert read[0].startswith(b"edge,")


@pytest.mark.parametrize("name", ["no/such/folder", ".", "link"])
def test_a_file_that_cannot_be_is_a_line_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("no/such/folder")
    with pytest.raises(RunError, match=f"{tmp_path / name}: "):
        write_output(tmp_path / name, lambda file: file.write(b"x"))


def test_a_failure_leaves_what_was_there_and_no_part(tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(RunError, match="link: No space"):
        write_output(tmp_path / "link", fail)
    assert (tmp_path / "a").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "link"}
