"""Who reaches which port, by the semantics of NetworkPolicy: what a policy selects is closed but for its rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from cluster.topologies.choices import Choices
from cluster.topologies.manifests import batch, service

Object = dict[str, Any]
CHOICES = Choices("registry.example/dear-reranker:1")
POLICIES = [
    o["spec"] for o in (*service(CHOICES), *batch(CHOICES, "s3://bucket/inputs", 2)) if o["kind"] == "NetworkPolicy"
]
HERE = {"kubernetes.io/metadata.name": "reranker"}
GCS, DASHBOARD, CLIENT, AGENT, SERVE, METRICS, REDIS = 6379, 8265, 10001, 52365, 8000, 8080, 6379
RAY = (GCS, DASHBOARD, CLIENT, AGENT, METRICS, 30_000)


class Pod(NamedTuple):
    labels: dict[str, str]
    namespace: dict[str, str] = HERE


HEAD, WORKER, JOB_HEAD, JOB_WORKER = (
    Pod({"dear-reranker/cluster": cluster, "ray.io/node-type": node})
    for cluster in ("service", "batch")
    for node in ("head", "worker")
)
STORE = Pod({"dear-reranker/part": "redis"})
NEIGHBOUR = Pod({"app": "gateway"})
STRANGER = Pod({"dear-reranker/cluster": "service"}, {"kubernetes.io/metadata.name": "other"})
CALLER = Pod({}, {"kubernetes.io/metadata.name": "shop", "dear-reranker/client": "true"})
PROMETHEUS = Pod({}, {"kubernetes.io/metadata.name": "monitoring", "dear-reranker/monitoring": "true"})
OPERATOR = Pod({"app.kubernetes.io/component": "kuberay-operator"}, {"kubernetes.io/metadata.name": "kuberay-system"})
SPOOF = Pod(OPERATOR.labels, {"kubernetes.io/metadata.name": "other"})


def selects(selector: Object, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def admits(rule: Object, source: Pod, port: int) -> bool:
    if "ports" in rule and port not in [allowed["port"] for allowed in rule["ports"]]:
        return False
    here = {"matchLabels": HERE}  # without a namespaceSelector, a peer is of the policy's own namespace
    return any(
        selects(peer.get("podSelector", {}), source.labels)
        and selects(peer.get("namespaceSelector", here), source.namespace)
        for peer in rule["from"]
    )


def reaches(source: Pod, target: Pod, port: int) -> bool:
    policies = [policy for policy in POLICIES if selects(policy["podSelector"], target.labels)]
    assert all(policy["policyTypes"] == ["Ingress"] for policy in policies)
    return not policies or any(admits(rule, source, port) for policy in policies for rule in policy["ingress"])


@pytest.mark.parametrize("port", RAY)
@pytest.mark.parametrize("target", [HEAD, WORKER])
def test_rays_ports_are_open_to_its_own_cluster_alone(target: Pod, port: int) -> None:
    assert reaches(HEAD, target, port)
    assert reaches(WORKER, target, port)
    for other in (JOB_HEAD, JOB_WORKER, NEIGHBOUR, STRANGER, CALLER, STORE, SPOOF):
        assert not reaches(other, target, port)


@pytest.mark.parametrize("port", RAY)
@pytest.mark.parametrize("target", [JOB_HEAD, JOB_WORKER])
def test_a_jobs_ports_are_open_to_its_own_cluster_alone(target: Pod, port: int) -> None:
    assert reaches(JOB_HEAD, target, port)
    assert reaches(JOB_WORKER, target, port)
    for other in (HEAD, WORKER, NEIGHBOUR, STRANGER, CALLER, STORE, SPOOF):
        assert not reaches(other, target, port)


def test_the_operator_reaches_the_dashboard_and_nothing_on_workers() -> None:
    assert [port for port in (*RAY, SERVE) if reaches(OPERATOR, HEAD, port)] == [DASHBOARD, SERVE]
    assert [port for port in (*RAY, SERVE) if reaches(OPERATOR, JOB_HEAD, port)] == [DASHBOARD, SERVE]
    assert not any(reaches(OPERATOR, WORKER, port) for port in (*RAY, SERVE))


def test_clients_reach_the_endpoint_on_workers_alone() -> None:
    for client in (NEIGHBOUR, CALLER):
        assert [port for port in (*RAY, SERVE) if reaches(client, WORKER, port)] == [SERVE]
        assert not any(reaches(client, HEAD, port) for port in (*RAY, SERVE))
    assert not reaches(STRANGER, WORKER, SERVE)


def test_metrics_are_open_to_monitoring_alone() -> None:
    for target in (HEAD, WORKER, JOB_HEAD, JOB_WORKER):
        assert [port for port in (*RAY, SERVE) if reaches(PROMETHEUS, target, port)] == [METRICS]


def test_redis_is_open_to_the_service_alone() -> None:
    assert reaches(HEAD, STORE, REDIS)
    assert reaches(WORKER, STORE, REDIS)
    for other in (JOB_HEAD, JOB_WORKER, NEIGHBOUR, STRANGER, CALLER, OPERATOR, PROMETHEUS):
        assert not reaches(other, STORE, REDIS)
