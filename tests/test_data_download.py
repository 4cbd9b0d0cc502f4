"""A download is complete and verified, or leaves no file."""

from __future__ import annotations

import gzip
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import (
    Answers,
    Bar,
    arrays,
    cached,
    mirror,
    refusal,
)
from workers.data import get, list_datasets, load, mnist, paths
from workers.data.download import write_whole

pytestmark = pytest.mark.usefixtures("own_folders")


def test_the_second_mirror_is_used_if_the_first_fails(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror({}) as bad, mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (bad.url, good.url))
        assert get("mnist") == paths.cache_folder("mnist")
        assert bad.requests == good.requests == [f"/{name}" for name in small]
        np.testing.assert_array_equal(load("mnist").x_train, arrays()["x_train"])
        assert len(good.requests) == 4
    assert cached() == sorted(small)
    assert list_datasets()[1].location == paths.cache_folder("mnist")


def test_a_download_updates_the_progress_bar(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = Bar()
    with mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        get("mnist", bar)
    assert bar.calls.count("close") == 4
    assert bar.total == bar.calls[-2] == len(list(small.values())[-1])
    count = len(bar.calls)
    get("mnist", bar)
    assert len(bar.calls) == count


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-1] + b"\7"), "has MD5"),
        (lambda raw: raw[:-4] + b"\0\0\0\0", "decompression fails"),
        (lambda _: b"<html>log in</html>", "has MD5"),
        (lambda raw: raw + bytes(2_000_000), "sends more than"),
    ],
    ids=["changed", "cut", "page", "endless"],
)
def test_corrupted_content_is_refused_and_not_cached(
    small: Answers,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
    expected: str,
) -> None:
    with mirror({name: damage(raw) for name, raw in small.items()}) as bad:
        monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
        assert expected in refusal(lambda: load("mnist"))
    assert cached() == []


def test_a_truncated_download_leaves_no_file(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror(small, sent=20) as bad:
        monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
        refusal(lambda: get("mnist"))
    assert cached() == []


def test_an_interrupted_download_leaves_no_file(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Bar):
        def update(self, n: int, /) -> None:
            raise KeyboardInterrupt(n)

    with mirror(small) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        with pytest.raises(KeyboardInterrupt):
            get("mnist", Interrupted())
    assert cached() == []


def test_a_process_killed_in_a_download_leaves_no_file(small: Answers) -> None:
    program = "from workers.data import get, mnist; mnist.MIRRORS = [{!r}]; get('mnist')"
    with mirror(small, sent=20, stall=True) as slow:
        command = [sys.executable, "-c", program.format(slow.url)]
        process = subprocess.Popen(command, cwd=Path(mnist.__file__).parents[2])
        assert slow.half.wait(20)
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
    assert cached() == []


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        path = tmp_path / "cache" / "file.gz"
        text = refusal(lambda: write_whole(path, lambda part: part.write(bytes(5000))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "file.gz: cannot be written" in text
    assert "DNI_CACHE" in text
    assert list((tmp_path / "cache").iterdir()) == []


def test_concurrent_downloads_of_one_file_all_succeed(
    small: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror(small) as good, ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        loads = [pool.submit(load, "mnist") for _ in range(4)]
        assert {future.result().classes for future in loads} == {4}
    assert cached() == sorted(small)
