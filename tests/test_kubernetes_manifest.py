"""`dni manifest k8s` prints YAML in which everything the manifest names exists."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from tests.dni import Dni

MANIFEST = ("manifest", "k8s", "tiny.toml", "--image", 'me/dni: "1"')


def parts(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(p["kind"], p["metadata"]["name"]): p for p in yaml.safe_load_all(text)}


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def test_the_head_and_the_agents_fit_together(dni: Dni) -> None:
    ran = dni(*MANIFEST, "--head", "tcp://boss:7171")
    assert ran.returncode == 0, ran.stderr
    assert "dni1:" not in ran.stdout
    found = parts(ran.stdout)
    names = {("ConfigMap", "boss-pipeline"), ("Service", "boss")}
    assert set(found) == names | {("Job", "boss"), ("Job", "boss-agents")}
    service, head, agents = (
        found[key] for key in (("Service", "boss"), ("Job", "boss"), ("Job", "boss-agents"))
    )
    assert service["spec"]["selector"] == {"job-name": "boss"}
    assert service["spec"]["ports"] == [{"port": 7171}]
    assert agents["spec"]["completionMode"] == "Indexed"
    assert agents["spec"]["completions"] == agents["spec"]["parallelism"] == 3
    for job in (head, agents):
        [container] = pod(job)["containers"]
        assert container["image"] == 'me/dni: "1"'
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod(job)["volumes"]}
    assert pod(agents)["volumes"][0]["secret"]["defaultMode"] == 0o400
    assert "create secret generic boss-token" in ran.stdout


def test_the_pipeline_in_the_manifest_is_that_of_the_file(dni: Dni) -> None:
    found = parts(dni(*MANIFEST, "-o", "train.steps=7").stdout)
    text = found["ConfigMap", "dni-head-pipeline"]["data"]["pipeline.toml"]
    made = tomllib.loads(text)
    assert made["train"]["steps"] == 7
    assert len(made["layer"]) == 3


@pytest.mark.parametrize("head", ["here", "tcp://10.0.0.1:7070", "tcp://Boss:1", "tcp://a_b:1"])
def test_a_head_that_is_not_a_service_is_one_line_and_status_2(dni: Dni, head: str) -> None:
    ran = dni(*MANIFEST, "--head", head)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: --head: {head!r} is not tcp://NAME:PORT")
    assert ran.stderr.count("\n") == 1
