"""The number of cores and threads: affinity, control groups, and the variables of the user."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.observers.terminal import blas_threads
from coordinator.resources import blas
from coordinator.resources.cpu_quota import quota
from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig

PIPELINE = Pipeline(data=DataConfig(name="digits"), layer=(LayerConfig(("linear 10",)),) * 2)
V1 = "cgroup cgroup rw,cpu,cpuacct"
V2 = "cgroup2 cgroup2 rw"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, no quota, and nothing in the environment."""
    for name in (*blas.THREAD_VARIABLES, "PYTHON_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    monkeypatch.setattr(blas, "quota", lambda: None)


class Groups:
    """A folder in place of /proc/self, with mounted control groups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.proc.mkdir()
        self._mounts = ["22 1 0:1 / /proc rw - proc proc rw"]

    def mount(self, name: str, kind: str, root: str = "/") -> Path:
        """Mount the part `root` of a hierarchy at a folder called `name`."""
        folder = self.folder / name
        folder.mkdir()
        where = str(folder).replace(" ", "\\040")
        self._mounts.append(f"30 1 0:9 {root} {where} rw,relatime shared:9 - {kind}")
        (self.proc / "mountinfo").write_text("\n".join(self._mounts) + "\n", "utf-8")
        return folder

    def live(self, *lines: str) -> None:
        """Set the groups of this process."""
        (self.proc / "cgroup").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def v2(folder: Path, limit: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{limit}\n", "utf-8")


def v1(folder: Path, limit: str, period: str = "100000") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{limit}\n", "utf-8")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n", "utf-8")


# -- quotas


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        ("100000 100000", 1.0),
        ("150000 100000", 1.5),
        ("5000 50000", 0.1),
        ("max 100000", None),
        ("0 100000", None),
        ("100000 0", None),
        ("", None),
        ("no number", None),
    ],
)
def test_a_quota_of_version_2_is_read(groups: Groups, limit: str, wanted: float | None) -> None:
    v2(groups.mount("cgroup", V2) / "app", limit)
    groups.live("0::/app")
    assert quota(groups.proc) == wanted


@pytest.mark.parametrize(
    ("limit", "period", "wanted"),
    [("200000", "100000", 2.0), ("-1", "100000", None), ("25000", "50000", 0.5), ("x", "", None)],
)
def test_a_quota_of_version_1_is_read(
    groups: Groups, limit: str, period: str, wanted: float | None
) -> None:
    v1(groups.mount("cpu", V1) / "app", limit, period)
    groups.live("3:memory:/other", "2:cpuacct,cpu:/app", "1:name=systemd:/")
    assert quota(groups.proc) == wanted


@pytest.mark.parametrize("tightest", ["a", "a/b", "a/b/c"])
def test_the_tightest_of_nested_groups_counts(groups: Groups, tightest: str) -> None:
    mount = groups.mount("cgroup", V2)
    for name in ("a", "a/b", "a/b/c"):
        v2(mount / name, "50000 100000" if name == tightest else "400000 100000")
    groups.live("0::/a/b/c")
    assert quota(groups.proc) == 0.5


@pytest.mark.parametrize(
    ("root", "path", "place"),
    [
        ("/docker/1", "/docker/1", ""),  # version 1 mounts the part of the container
        ("/docker/1", "/docker/1/inner", "inner"),
        ("/", "/", ""),  # a namespace of control groups
        ("/docker/1", "/other", ""),
        ("/", "/../sibling", ""),
    ],
)
def test_the_group_of_a_container_is_found(
    groups: Groups, root: str, path: str, place: str
) -> None:
    v1(groups.mount("cpu", V1, root) / place, "300000")
    groups.live(f"4:cpu:{path}")
    assert quota(groups.proc) == 3.0


def test_both_versions_of_control_groups_count_and_a_path_may_have_a_space(groups: Groups) -> None:
    v1(groups.mount("one cpu", V1), "300000")
    v2(groups.mount("two groups", V2) / "app", "200000 100000")
    groups.live("4:cpu:/", "0::/app")
    assert quota(groups.proc) == 2.0


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3\n- - -\n", "\0\xff\n"])
def test_files_that_cannot_be_read_as_proc_give_no_quota(tmp_path: Path, text: str) -> None:
    assert quota(tmp_path / "nowhere") is None
    for name in ("cgroup", "mountinfo"):
        (tmp_path / name).write_text(text, "latin-1")
    assert quota(tmp_path) is None


@pytest.mark.parametrize(
    ("limit", "affinity", "python", "wanted"),
    [
        (None, 8, "", 8),
        (1.0, 8, "", 1),
        (1.5, 8, "", 2),
        (0.1, 8, "", 1),
        (16.0, 8, "", 8),
        (4.0, 3, "", 3),
        (None, 8, "2", 2),
        (1.0, 8, "2", 1),
        (None, 8, "20", 8),
        *((None, 8, invalid, 8) for invalid in ("0", "-1", "default", "99999999999", "2.5")),
    ],
)
def test_the_smallest_of_all_limits_counts(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, affinity: int, python: str, wanted: int
) -> None:
    monkeypatch.setattr(blas, "quota", lambda: limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setenv("PYTHON_CPU_COUNT", python)
    assert blas.cores() == wanted


# -- threads


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"OMP_NUM_THREADS": "3"}, (3, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "4,2"}, (4, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 2 "}, (2, "OMP_NUM_THREADS")),
        ({"MKL_NUM_THREADS": "5", "OMP_NUM_THREADS": "1"}, (5, "MKL_NUM_THREADS")),
        ({"OPENBLAS_NUM_THREADS": "6"}, (6, "OPENBLAS_NUM_THREADS")),
        ({"OPENBLAS_NUM_THREADS": "0", "OMP_NUM_THREADS": "2"}, (2, "OMP_NUM_THREADS")),
        *(
            ({"OMP_NUM_THREADS": invalid}, (0, ""))
            for invalid in ("", "0", "-2", "all", "9" * 30, "1.5")
        ),
        *(({"OMP_NUM_THREADS": invalid}, (0, "")) for invalid in ("1025", "99999", "1000000", "٣")),
        ({"OMP_NUM_THREADS": "1024"}, (1024, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "003"}, (3, "OMP_NUM_THREADS")),
    ],
    ids=str,
)
def test_valid_thread_variables_are_used_and_invalid_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: tuple[int, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert blas.environment_threads() == wanted
    count = wanted[0] or 4
    assert blas.threads(PIPELINE) == count
    environment = blas.environment(blas.threads(PIPELINE))
    assert {environment[name] for name in blas.THREAD_VARIABLES} == {str(count)}


@pytest.mark.parametrize(
    ("threads", "variable", "limit", "line"),
    [
        (0, "", None, "4 BLAS threads per worker"),
        (0, "2", None, "2 BLAS threads per worker (OMP_NUM_THREADS)"),
        (0, "1", 1.0, "1 BLAS thread per worker (OMP_NUM_THREADS)"),
        (0, "", 1.0, "1 BLAS thread per worker (CPU quota 1.0)"),
        (0, "", 2.5, "1 BLAS thread per worker (CPU quota 2.5)"),
        (0, "", 7.5, "4 BLAS threads per worker"),
        (3, "2", 1.0, "3 BLAS threads per worker (train.threads)"),
    ],
)
def test_the_source_of_the_number_of_threads_is_shown(
    monkeypatch: pytest.MonkeyPatch, threads: int, variable: str, limit: float | None, line: str
) -> None:
    monkeypatch.setattr(blas, "quota", lambda: limit)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    pipeline = replace(PIPELINE, train=TrainConfig(threads=threads))
    assert blas_threads(pipeline, blas.threads(pipeline)) == line


@pytest.mark.parametrize(
    ("affinity", "python", "limit", "line"),
    [
        (4, "", None, "2 BLAS threads per worker (affinity)"),
        (8, "6", None, "3 BLAS threads per worker (PYTHON_CPU_COUNT)"),
        (6, "4", 5.0, "2 BLAS threads per worker (PYTHON_CPU_COUNT)"),
        (6, "7", 3.5, "2 BLAS threads per worker (CPU quota 3.5)"),
        (2, "0", 3.5, "1 BLAS thread per worker (affinity)"),
        (8, "20", None, "4 BLAS threads per worker"),
    ],
)
def test_the_smallest_limit_is_named(
    monkeypatch: pytest.MonkeyPatch, affinity: int, python: str, limit: float | None, line: str
) -> None:
    monkeypatch.setattr(blas, "quota", lambda: limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setenv("PYTHON_CPU_COUNT", python)
    assert blas_threads(PIPELINE, blas.threads(PIPELINE)) == line


@pytest.mark.parametrize("name", [*blas.THREAD_VARIABLES, "PYTHON_CPU_COUNT"])
@pytest.mark.parametrize("value", ["abc", "-1", "2.5", "1000000", "99999", "0", "1 2", "9" * 5000])
def test_an_invalid_variable_gets_a_note(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    (note,) = blas.unused(PIPELINE)
    assert note.startswith(f"{name}={value[:40]}: is ignored;")
    assert len(note) < 160
    assert blas.unused(replace(PIPELINE, train=TrainConfig(threads=2))) == []


@pytest.mark.parametrize("value", ["", " ", "4", " 4 ", "4,2", "default"])
def test_a_valid_variable_gets_no_note(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PYTHON_CPU_COUNT", value)
    monkeypatch.setenv("OMP_NUM_THREADS", "4" if value == "default" else value)
    assert blas.unused(PIPELINE) == []


def test_backprop_has_no_more_threads_than_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "quota", lambda: 3.0)
    assert blas.threads(replace(PIPELINE, rule="backprop")) == 3
