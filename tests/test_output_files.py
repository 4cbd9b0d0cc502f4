"""Output to a path that is a link, a pipe or a descriptor goes through it, not over it."""

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
from tests.dni import COMMAND
from tests.forked import run_with_pipes
from tests.traced import ran, tiny

ARGUMENTS = [
    ["timeline", "{run}", "--svg", "{out}"],
    ["timeline", "{run}", "--html", "{out}"],
    ["export", "{run}", "--to", "csv", "{out}"],
    ["export", "{run}", "--to", "perfetto", "{out}"],
]
ALL = [*zip(ARGUMENTS, [b"<svg", b"<!", b"edge,", b"\x0a"], strict=True)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a completed run."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    ran(tiny(), folder)
    return folder


def trace(
    arguments: list[str], run: Path, out: str, descriptors: Collection[int] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Run `dni trace` with `arguments`; it inherits the `descriptors`."""
    filled = ["trace", *(argument.format(run=run, out=out) for argument in arguments)]
    if not descriptors:
        return run_with_pipes(filled)
    return subprocess.run(
        [*COMMAND, *filled],
        capture_output=True,
        timeout=60,
        check=False,
        pass_fds=descriptors,
    )


@contextmanager
def reading(path: Path) -> Iterator[list[bytes]]:
    """Read `path` in a thread; after the block, the list holds what was written to it."""
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    yield read
    reader.join(60)


@pytest.mark.parametrize(("arguments", "start"), ALL, ids=ascii)
def test_output_to_a_named_pipe_leaves_the_pipe(
    run: Path, tmp_path: Path, arguments: list[str], start: bytes
) -> None:
    pipe = tmp_path / "pipe.any"
    os.mkfifo(pipe)
    with reading(pipe) as read:
        done = trace(arguments, run, str(pipe))
    assert done.returncode == 0
    assert read[0].startswith(start)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [*tmp_path.iterdir()] == [pipe]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=ascii)
def test_a_named_pipe_whose_reader_closes_it_is_not_an_error(
    run: Path, tmp_path: Path, arguments: list[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.open("rb").close(), daemon=True).start()
    done = trace(arguments, run, str(pipe))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=ascii)
@pytest.mark.parametrize("there", [True, False])
def test_output_through_a_link_writes_the_target_and_leaves_the_link(
    run: Path, tmp_path: Path, arguments: list[str], there: bool
) -> None:
    target, link, second = (tmp_path / name for name in ("target", "link", "second"))
    if there:
        target.write_text("old")
    link.symlink_to("target")
    second.symlink_to(link)
    assert trace(arguments, run, str(second)).returncode == 0
    assert (second.readlink(), link.readlink()) == (link, Path("target"))
    assert target.stat().st_size > len("old")
    assert {*tmp_path.iterdir()} == {target, link, second}


@pytest.mark.parametrize(("arguments", "start"), ALL, ids=ascii)
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_gets_the_file_and_nothing_else(
    run: Path, arguments: list[str], start: bytes, name: str
) -> None:
    if name != "-" and not Path(name).exists():
        pytest.skip(f"no {name} here")
    done = trace(arguments, run, name)
    assert done.returncode == 0
    assert done.stdout.startswith(start)
    assert b"image: " in done.stderr or b" entries" in done.stderr
    if start == b"<svg":
        ET.fromstring(done.stdout)
    if start == b"edge,":
        assert len({len(row) for row in csv.reader(done.stdout.decode().splitlines())}) == 1


def test_standard_output_that_is_a_file_is_complete(run: Path, tmp_path: Path) -> None:
    for name in ("-", "/dev/stdout", str(tmp_path / "out.svg")):
        with (tmp_path / "out.svg").open("wb") as file:
            arguments = [argument.format(run=run, out=name) for argument in ARGUMENTS[0]]
            subprocess.run([*COMMAND, "trace", *arguments], stdout=file, timeout=60, check=True)
        ET.parse(tmp_path / "out.svg")


def test_output_to_an_inherited_descriptor(run: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with reading(pipe) as read, pipe.open("wb") as file:
        done = trace(ARGUMENTS[2], run, f"/dev/fd/{file.fileno()}", [file.fileno()])
    assert done.returncode == 0
    assert read[0].startswith(b"edge,")


@pytest.mark.parametrize("name", ["no/such/folder", ".", "link"])
def test_the_error_for_a_path_that_cannot_be_written_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("no/such/folder")
    with pytest.raises(RunError, match=f"{tmp_path / name}: "):
        write_output(tmp_path / name, lambda file: file.write(b"x"))


def test_a_failed_write_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(RunError, match="link: No space"):
        write_output(tmp_path / "link", fail)
    assert (tmp_path / "a").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "link"}
