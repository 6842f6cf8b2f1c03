"""Kubernetes manifests from serve_config.yaml and the plain YAML in kubernetes/.

Knows nothing of a running cluster: choices in, a list of objects out. KubeRay 1.7 runs them.
"""

from __future__ import annotations

import copy
import shlex
from typing import Any

import yaml

from cluster.topologies.choices import Choices
from cluster.topologies.ray_cluster import (
    KEYS_FILE,
    Object,
    add_keys,
    add_weights,
    container_of,
    pod_of,
    ray_cluster,
    read_template,
    scratch_of,
)
from reranker.errors import InvalidField
from reranker.ir.locations import redacted

_OUTPUT, _WORK = "/output", "/work"
# Settings of the served model that a batch job takes over, so that it gives the same scores.
_MODEL_FIELDS = ("model", "revision", "template", "max_pair_tokens", "dtype", "device")
_INPUTS = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "run": "run.trec"}


def service(choices: Choices) -> list[Object]:
    """The RayService and what it needs: Redis, policies, budgets."""
    objects = read_template("service.yaml")
    scaling = choices.scorer["autoscaling_config"]
    cluster = ray_cluster(choices, "service", max(1, scaling["min_replicas"]), scaling["max_replicas"])
    cluster |= {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": _autoscaler(cluster),
        "gcsFaultToleranceOptions": {
            "redisAddress": "reranker-redis:6379",
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "reranker-redis", "key": "password"}}},
        },
    }
    # KubeRay's autoscaler, beside the head, asks Kubernetes for workers.
    pod_of(cluster["headGroupSpec"])["automountServiceAccountToken"] = True
    container_of(cluster["workerGroupSpecs"][0]).update(_probes())
    add_keys(pod_of(cluster["workerGroupSpecs"][0]))
    spec = objects[0]["spec"]
    if choices.gateway_class:
        spec["upgradeStrategy"]["clusterUpgradeOptions"]["gatewayClassName"] = choices.gateway_class
    else:
        spec["upgradeStrategy"] = {"type": "NewCluster"}
    spec["rayClusterConfig"] = cluster
    spec["serveConfigV2"] = yaml.safe_dump(serve_config(choices.config), sort_keys=False)
    return [*objects, *_policies("service")]


def batch(
    choices: Choices, inputs: str, gpus: int, schedule: str | None = None, output: str | None = None
) -> list[Object]:
    """A RayJob, or with a schedule a RayCronJob, and what it needs: a volume for its output, policies.

    inputs: URL of a directory with queries.jsonl, corpus.jsonl and run.trec. schedule: five fields of cron. output:
    s3://bucket/prefix, and the volume then lasts no longer than the head, for the passages that it scores.
    """
    if "://" not in inputs:
        raise InvalidField("batch", f"{inputs!r} is not a URL, and a pod reads nothing else: use s3:// or gs://")
    job, claim, *others = read_template("batch.yaml")
    cluster = ray_cluster(choices, "batch", gpus, gpus)
    head = pod_of(cluster["headGroupSpec"])
    more = ""
    if output is None:
        volume = {"name": "output", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        mount, output = _OUTPUT, _OUTPUT if schedule else f"{_OUTPUT}/reranked"
        others.insert(0, claim)
    else:
        volume = {"name": "work", "ephemeral": {"volumeClaimTemplate": {"spec": claim["spec"]}}}
        mount, output, more = _WORK, shlex.quote(_place(output)), f" --work-dir {_WORK}"
    head["volumes"].append(volume)
    head["containers"][0]["volumeMounts"].append({"name": volume["name"], "mountPath": mount})
    add_weights(head, choices, whole=False)  # the driver reads config and tokenizer
    job["spec"]["rayClusterSpec"] = cluster
    dated = f"{output}/$(date -u +%F)" if schedule else output
    job["spec"]["entrypoint"] = _command(choices.model, inputs.rstrip("/"), dated) + more
    if schedule is not None:
        if len(schedule.split()) != 5:
            raise InvalidField("schedule", f"{schedule!r} does not have cron's five fields, as '0 1 * * *' has")
        job |= {"kind": "RayCronJob", "metadata": {"name": "reranker-nightly"}}
        job["spec"] = {"schedule": schedule, "jobTemplate": job["spec"]}
    return [job, *others, *_policies("batch")]


def _place(output: str) -> str:
    """The URL of an output, which a manifest shows to everybody. Raises InvalidField."""
    if not output.startswith("s3://") or "?" in output or "@" in output:
        raise InvalidField(
            "batch-output",
            f"{redacted(output)!r} is not of the form s3://bucket/prefix; keys, region and endpoint are the pod's",
        )
    return output.rstrip("/")


def serve_config(config: Object) -> Object:
    """The config as it runs in pods: clients and probes reach a pod by its network address, and clients have keys.

    A config that says itself who may call is left as it is.
    """
    changed = copy.deepcopy(config)
    options = changed.setdefault("http_options", {})
    options["host"] = "0.0.0.0"  # noqa: S104  # the NetworkPolicy reranker-clients says who reaches it
    for application in changed["applications"]:
        application.setdefault("args", {}).setdefault("auth", {"keys_file": KEYS_FILE})
    return changed


def to_yaml(objects: list[Object]) -> str:
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120)


def _probes() -> Object:
    """Of a service's workers; KubeRay's own liveness probe asks Ray whether the node is alive.

    A worker has started once Serve runs a proxy there and a gateway answers: the weights are fetched, loaded and
    checked before. It gets requests while the whole graph scores a pair for it. A busy graph counts as ready.
    """
    startup = {"httpGet": {"path": "/health", "port": "serve"}, "periodSeconds": 10, "failureThreshold": 180}
    readiness = {"httpGet": {"path": "/ready", "port": "serve"}, "periodSeconds": 10, "failureThreshold": 2}
    return {"startupProbe": startup | {"timeoutSeconds": 5}, "readinessProbe": readiness | {"timeoutSeconds": 6}}


def _autoscaler(cluster: Object) -> Object:
    head = container_of(cluster["headGroupSpec"])
    return {
        "version": "v2",
        "idleTimeoutSeconds": 300,
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "securityContext": head["securityContext"],
        "volumeMounts": [scratch_of(head)],
    }


def _policies(cluster: str) -> list[Object]:
    label = {"dear-reranker/cluster": cluster}
    policies = read_template("network.yaml")
    for policy in policies:
        if policy["metadata"]["name"] == "ray":
            policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"] |= label
        policy["metadata"]["name"] = f"reranker-{cluster}-{policy['metadata']['name']}"
        policy["spec"]["podSelector"]["matchLabels"] |= label
    return policies


def _command(model: Object, inputs: str, output: str) -> str:
    """Of a shell, on the head. output: unquoted, because it may name the day."""
    options = {name.replace("_", "-"): str(model[name]) for name in _MODEL_FIELDS if name in model}
    options |= {name: f"{inputs}/{file}" for name, file in _INPUTS.items()}
    given = " ".join(f"--{name} {shlex.quote(value)}" for name, value in options.items())
    return f"reranker batch {given} --output {output} --resume --address auto"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
