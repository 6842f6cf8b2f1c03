"""What Ray's autoscaler, Serve and a GPU make of the manifests' resources."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from transformers import LlamaConfig

from cluster.configs import PRODUCTION
from cluster.topologies.choices import Choices
from cluster.topologies.gpus import GPUS
from cluster.topologies.manifests import batch, service
from cluster.topologies.ray_cluster import container_of, pod_of
from reranker.engine.memory import GPU_BATCH_TOKENS, MemoryPlan
from reranker.engine.shape import ModelShape
from tests.cluster.topologies.test_manifests import IMAGE, of_kind, ray_cluster_of

Object = dict[str, Any]
LLAMA_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
)
DEPLOYMENTS = {
    deployment["name"]: deployment
    for deployment in yaml.safe_load(PRODUCTION.read_text("utf-8"))["applications"][0]["deployments"]
}
GIB = 2**30


def node_types(cluster: Object) -> Object:
    """The kinds of nodes that Ray's own autoscaler reads out of a RayCluster."""
    config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "reranker", "namespace": "reranker"}, "spec": cluster}
    )
    types: Object = config["available_node_types"]
    return types


@pytest.mark.parametrize("gpu", GPUS)
def test_the_head_has_no_work_and_a_worker_fits_one_scorer(gpu: str) -> None:
    types = node_types(ray_cluster_of(service(Choices(IMAGE, gpu))))
    head, worker = types["headgroup"], types["gpu"]
    assert not head["resources"].get("CPU")
    assert not head["resources"].get("GPU")
    options = DEPLOYMENTS["Scorer"]["ray_actor_options"]
    asked = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options["resources"]}
    replicas = [worker["resources"][name] // number for name, number in asked.items()]
    assert min(replicas) == 1
    scaling = DEPLOYMENTS["Scorer"]["autoscaling_config"]
    assert (worker["min_workers"], worker["max_workers"]) == (scaling["min_replicas"], scaling["max_replicas"])


@pytest.mark.parametrize("gpu", GPUS)
def test_the_workers_cpus_fit_the_whole_graph(gpu: str) -> None:
    """With one replica of each on one worker, and with the most of each on the most workers."""
    for bound in ("min_replicas", "max_replicas"):
        wanted = sum(
            d["autoscaling_config"][bound] * d["ray_actor_options"]["num_cpus"] for d in DEPLOYMENTS.values()
        )
        assert wanted <= DEPLOYMENTS["Scorer"]["autoscaling_config"][bound] * GPUS[gpu].cpus


@pytest.mark.parametrize("gpu", GPUS)
def test_a_pod_leaves_room_for_the_system_on_its_machine(gpu: str) -> None:
    """GKE keeps the most for itself: of the first 4, 4, 8 and 112 GiB 25, 20, 10 and 6 %, of a CPU 6 %, then less."""
    of = GPUS[gpu]
    assert of.cpus <= of.machine_cpus - 1
    left = of.machine_memory_gib
    kept = 0.1
    for size, share in ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (10_000, 0.02)):
        kept += min(left, size) * share
        left = max(0, left - size)
    assert of.host_memory_gib <= of.machine_memory_gib - kept - 1  # 1 GiB for daemon sets


@pytest.mark.parametrize("gpu", GPUS)
def test_kubernetes_and_ray_agree_on_a_workers_resources(gpu: str) -> None:
    for objects, count in ((service(Choices(IMAGE, gpu)), 1), (batch(Choices(IMAGE, gpu), "s3://b/i", 4), 4)):
        (worker,) = ray_cluster_of(objects)["workerGroupSpecs"]
        resources = container_of(worker)["resources"]
        assert resources["requests"]["cpu"] == worker["rayStartParams"]["num-cpus"]
        assert resources["limits"]["nvidia.com/gpu"] == worker["rayStartParams"]["num-gpus"] == "1"
        assert resources["limits"]["memory"] == resources["requests"]["memory"] == f"{GPUS[gpu].host_memory_gib}Gi"
        assert worker["replicas"] == worker["minReplicas"] == count


@pytest.mark.parametrize("gpu", GPUS)
def test_the_8b_fits_its_gpu_with_full_batches(gpu: str) -> None:
    plan = MemoryPlan.of(ModelShape.of(LLAMA_8B), 2, max_pair_tokens=228, gpu=True)
    assert plan.weights_bytes == pytest.approx(15.0e9, rel=0.01)
    usable = 0.95 * GPUS[gpu].memory_gb * 1e9  # the rest is the driver's: an L4 shows 23,034 MiB
    assert plan.bytes_for(GPU_BATCH_TOKENS) <= usable


def test_the_object_store_fits_its_volume_and_the_pods_memory() -> None:
    cluster = ray_cluster_of(service(Choices(IMAGE)))
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (volume,) = (v["emptyDir"] for v in pod_of(group)["volumes"] if v["name"] == "shm")
        shm = int(volume["sizeLimit"].removesuffix("Gi")) * GIB
        memory = int(container_of(group)["resources"]["limits"]["memory"].removesuffix("Gi")) * GIB
        assert int(group["rayStartParams"]["object-store-memory"]) <= shm <= memory / 2


@pytest.mark.parametrize("gpu", GPUS)
def test_nodes_are_found_by_each_clouds_label(gpu: str) -> None:
    (worker,) = ray_cluster_of(service(Choices(IMAGE, gpu)))["workerGroupSpecs"]
    required = pod_of(worker)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms = [term["matchExpressions"][0] for term in required["nodeSelectorTerms"]]
    everywhere = {"nvidia.com/gpu.product", "karpenter.k8s.aws/instance-gpu-name"}
    # Google has no A10G.
    google = set() if gpu == "a10g" else {"cloud.google.com/gke-accelerator"}
    assert {term["key"] for term in terms} == everywhere | google
    assert all(gpu in value.lower() for term in terms for value in term["values"])
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod_of(worker)["tolerations"]


def test_budgets_are_whole_numbers_of_pods_that_are_always_there() -> None:
    """KubeRay's pods belong to no kind that Kubernetes can scale: it would refuse a percentage or maxUnavailable."""
    objects = service(Choices(IMAGE))
    (worker,) = ray_cluster_of(objects)["workerGroupSpecs"]
    budgets = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "PodDisruptionBudget"}
    assert budgets.keys() == {"reranker-workers", "reranker-redis"}
    assert budgets["reranker-workers"]["minAvailable"] <= worker["minReplicas"]
    assert budgets["reranker-redis"]["minAvailable"] == of_kind(objects, "StatefulSet")["spec"]["replicas"]
