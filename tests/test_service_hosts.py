"""A head and two hosts, each with a network and an address of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_help import Cluster, loopback_cluster
from tests.dni import COMMAND, Dni
from tests.network_hosts import NetworkHosts, network_hosts
from tests.real_data import real_data

pytestmark = [pytest.mark.service, pytest.mark.slow]

HOSTS = 3
MNIST = Path(__file__).parents[1] / "examples" / "mnist-fcn4.toml"
LATE = 240.0


@pytest.fixture
def hosts() -> Iterator[NetworkHosts]:
    with network_hosts(HOSTS, "10.78.0") as made:
        yield made


@pytest.fixture
def cluster(dni: Dni) -> Iterator[Cluster]:
    with loopback_cluster(dni) as made:
        yield made


def test_a_head_and_two_hosts_learn_mnist_as_one_host_does(
    dni: Dni, cluster: Cluster, hosts: NetworkHosts
) -> None:
    dni.environment["DNI_DATA"] = str(real_data("mnist"))
    options = ("-o", "train.steps=3000", "-o", "train.lr_drops=[1800,2550]", "--workers", "4")
    head = cluster.up(
        *options,
        pipeline=str(MNIST),
        bind=f"tcp://{hosts.address(0)}:*",
        command=(*hosts.at(0), *COMMAND),
    )
    for number in (1, 2):
        cluster.join(head, "--slots", "2", command=(*hosts.at(number), *COMMAND))
    assert head.end(LATE) == 0, head.text
    assert cluster.exit_codes() == [0, 0]
    assert head.summary()["test_error"] <= 2.0
    for number in (1, 2):
        assert f" at {hosts.address(number)}, 2 slots" in head.text
    dni.nothing_left()
