"""The Ray cluster in Kubernetes: a head without work, and workers with one GPU, one scorer and the weights each."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cluster.configs import ENVIRONMENT
from cluster.topologies.choices import Choices

Object = dict[str, Any]

WEIGHTS = "/weights"  # the hub's cache in the pods
KEYS_FILE = "/etc/dear-reranker/keys/keys.json"
_NODE_CACHE = "/var/lib/dear-reranker/weights"


def ray_cluster(choices: Choices, name: str, min_workers: int, max_workers: int) -> Object:
    """The spec of a RayCluster, whose pods have the label dear-reranker/cluster=name."""
    cluster: Object = read_template("cluster.yaml")[0]["spec"]
    cluster["rayVersion"] = version("ray")  # the package here and in the image have the same one
    worker = cluster["workerGroupSpecs"][0]
    for group in (cluster["headGroupSpec"], worker):
        group["template"]["metadata"]["labels"]["dear-reranker/cluster"] = name
        container_of(group)["image"] = choices.image
        container_of(group)["env"] = _variables(_environment())
    worker |= {"replicas": min_workers, "minReplicas": min_workers, "maxReplicas": max_workers}
    gpu = choices.gpu
    worker["rayStartParams"] |= {"num-cpus": str(gpu.cpus), "num-gpus": "1", "resources": _ray_resources(choices)}
    # Without a CPU limit: it would only slow down what no other pod uses.
    limits = {"memory": f"{gpu.host_memory_gib}Gi", "nvidia.com/gpu": "1"}
    container_of(worker)["resources"] = {"requests": {"cpu": str(gpu.cpus), **limits}, "limits": limits}
    pod_of(worker)["affinity"] = gpu.affinity()
    add_weights(pod_of(worker), choices, whole=True)
    return cluster


def add_weights(pod: Object, choices: Choices, *, whole: bool) -> None:
    """A hub cache at WEIGHTS: an image, or a directory of the node that its first pod fills.

    whole: with weights; without, for a driver, it is a directory of the pod.
    """
    container = pod["containers"][0]
    container["volumeMounts"].append({"name": "weights", "mountPath": WEIGHTS, "readOnly": True})
    container["env"] += _variables({"HF_HUB_CACHE": WEIGHTS, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})
    if choices.weights_image:
        pod["volumes"].append({"name": "weights", "image": {"reference": choices.weights_image}})
        return
    of_node = {"hostPath": {"path": _NODE_CACHE, "type": "DirectoryOrCreate"}}
    pod["volumes"].append({"name": "weights", **(of_node if whole else {"emptyDir": {}})})
    command = ["python", "-m", "cluster.topologies.fetch_weights", choices.model["model"], WEIGHTS]
    for option, value in (("--revision", choices.model.get("revision")), ("--source", choices.weights_source)):
        command += [option, value] if value else []
    command += [] if whole else ["--without-weights"]
    # Kubernetes makes the directory for root alone. Root without any capability: it may write there, no more.
    user = {"runAsUser": 0, "runAsNonRoot": False} if whole else {}
    token = {"secretKeyRef": {"name": "reranker-hub", "key": "token", "optional": True}}
    pod["initContainers"] = [
        {
            "name": "fetch-weights",
            "image": choices.image,
            "command": command,
            "env": [{"name": "HF_TOKEN", "valueFrom": token}],
            "securityContext": container["securityContext"] | user,
            "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "8Gi"}},
            "volumeMounts": [scratch_of(container), {"name": "weights", "mountPath": WEIGHTS}],
        }
    ]


def add_keys(pod: Object) -> None:
    """The clients' keys, of the secret reranker-keys. As a directory, so that a changed secret arrives there."""
    of_group = {"secretName": "reranker-keys", "defaultMode": 0o440}
    pod["volumes"].append({"name": "keys", "secret": of_group})
    mount = {"name": "keys", "mountPath": str(PurePosixPath(KEYS_FILE).parent), "readOnly": True}
    pod["containers"][0]["volumeMounts"].append(mount)


def _ray_resources(choices: Choices) -> str:
    """What a scorer asks for beside CPU and GPU (gpu_24gb), once a worker, quoted as `ray start` needs it."""
    names = choices.scorer["ray_actor_options"].get("resources", {})
    return json.dumps(json.dumps(dict.fromkeys(names, 1)))


def _environment() -> dict[str, str]:
    """serve.env."""
    lines = ENVIRONMENT.read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _variables(values: dict[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]


def pod_of(group: Object) -> Object:
    pod: Object = group["template"]["spec"]
    return pod


def container_of(group: Object) -> Object:
    container: Object = pod_of(group)["containers"][0]
    return container


def scratch_of(container: Object) -> Object:
    """The mount of what is written and lost with the pod."""
    return next(dict(mount) for mount in container["volumeMounts"] if mount["name"] == "tmp")


def read_template(name: str) -> list[Object]:
    """The objects of a file in kubernetes/. Through JSON, so that no two share what is one anchor in the file."""
    text = Path(__file__).with_name("kubernetes").joinpath(name).read_text("utf-8")
    objects: list[Object] = json.loads(json.dumps(list(yaml.safe_load_all(text))))
    return objects
