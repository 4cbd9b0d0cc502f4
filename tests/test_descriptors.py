"""File descriptors: a run raises its limit, or reports how many it needs."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.resources.descriptors import ensure, of_head, of_worker, of_workers
from protocol import DataConfig, LayerConfig, Pipeline, RunError
from tests.dni import COMMAND

if TYPE_CHECKING:
    from tests.dni import Dni

WIDE = 'layer=[{modules=["linear 512"]},{modules=["linear 512"]},{modules=["linear 10"]}]'
needs_prlimit = pytest.mark.skipif(not shutil.which("prlimit"), reason="needs prlimit")


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Simulated limits of this process, the newest last."""
    found = [(20, 100)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: found[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: found.append(limit))
    return found


@pytest.mark.parametrize("needs", [(10,), (20,), (5, 20)])
def test_a_sufficient_limit_is_kept(limits: list[tuple[int, int]], needs: tuple[int, ...]) -> None:
    ensure(needs)
    assert limits == [(20, 100)]


@pytest.mark.parametrize("needs", [(21,), (10, 100), (64, 30)])
def test_a_soft_limit_is_raised_to_the_largest_need(
    limits: list[tuple[int, int]], needs: tuple[int, ...]
) -> None:
    ensure(needs)
    assert limits[1:] == [(max(needs), 100)]


@pytest.mark.parametrize("needed", [101, 5000, 1 << 20])
def test_a_need_above_the_hard_limit_is_an_error_with_the_command_that_helps(
    limits: list[tuple[int, int]], needed: int
) -> None:
    with pytest.raises(RunError, match=rf"needs {needed} .* 100 are allowed.*ulimit -n {needed}`"):
        ensure((needed,))
    assert limits == [(20, 100)]


@pytest.mark.parametrize(
    ("rule", "layers", "placement", "neighbours"),
    [
        ("cdni", 1, (), 1),
        ("cdni", 4, (), 2),
        ("unlocked-cdni", 6, (), 6),
        ("cdni", 4, ((0, 1, 2), (3,)), 2),
    ],
)
def test_the_worker_with_most_neighbours_needs_most(
    rule: str, layers: int, placement: tuple[tuple[int, ...], ...], neighbours: int
) -> None:
    layer = (LayerConfig(("linear 10",)),) * layers
    pipeline = Pipeline(data=DataConfig(name="digits"), rule=rule, layer=layer, placement=placement)
    assert of_workers(pipeline) >= of_worker(neighbours, 1)
    assert of_workers(pipeline) <= of_worker(neighbours, layers)


def test_open_descriptors_count() -> None:
    before = of_head(4)
    with Path(__file__).open("rb"):
        assert of_head(4) == before + 1
    assert of_head(5) > before


@needs_prlimit
@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("rule=unlocked-cdni",),
        ("trace.mode=messages", WIDE, "data.batch=128"),
        ("rule=unlocked-cdni", WIDE, "trace.mode=messages"),
        ("placement=[[0, 1], [2]]", "trace.mode=messages", WIDE),
    ],
    ids=str,
)
def test_a_run_works_with_as_many_descriptors_as_it_requests(
    dni: Dni, more: tuple[str, ...]
) -> None:
    """Arrays of wide layers use shared memory, which needs more descriptors."""

    def run(limit: str, folder: str) -> subprocess.CompletedProcess[str]:
        overrides = [part for override in more for part in ("-o", override)]
        arguments = ("run", "tiny.toml", *overrides, "--run-dir", folder)
        return subprocess.run(
            ["prlimit", f"--nofile={limit}", *COMMAND, *arguments],
            cwd=dni.home,
            env=dni.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    refused = run("12", "refused")
    assert refused.returncode == 2
    needed = refused.stderr.partition(" needs ")[2].partition(" ")[0]
    assert not (dni.home / "refused").exists()
    enough = run(needed, "enough")
    assert enough.returncode == 0, enough.stderr
    raised = run(f"12:{needed}", "raised")
    assert raised.returncode == 0, raised.stderr
    dni.nothing_left()
