"""The manifests are what KubeRay and Kubernetes accept, and the graph in them is the one of serve_config.yaml."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cluster.batch.settings import BatchSettings
from cluster.configs import ENVIRONMENT, PRODUCTION
from cluster.topologies.choices import Choices
from cluster.topologies.gpus import GPUS
from cluster.topologies.manifests import batch, service, to_yaml
from cluster.topologies.ray_cluster import WEIGHTS, container_of, pod_of
from deployments.http.pages import PAGES
from reranker.errors import InvalidField
from tests.cluster.topologies.schema import problems

Object = dict[str, Any]

IMAGE = "registry.example/dear-reranker:1.2.3"
NODE, BUCKET, VOLUME = (
    Choices(IMAGE),
    Choices(IMAGE, gateway_class="", weights_source="s3://models/dear-8b"),
    Choices(IMAGE, weights_image="registry.example/dear-8b@sha256:" + "0" * 64),
)
CLUSTERS = {
    **{f"service-{name}": service(Choices(IMAGE, name)) for name in GPUS},
    "service-bucket": service(BUCKET),
    "service-volume": service(VOLUME),
    "batch": batch(NODE, "s3://bucket/inputs/", 4),
    "nightly": batch(VOLUME, "gs://bucket/inputs", 1, "0 1 * * *"),
    "batch-s3": batch(NODE, "s3://bucket/inputs", 4, output="s3://results/a b/"),
    "nightly-s3": batch(VOLUME, "s3://bucket/inputs", 1, "0 1 * * *", "s3://results/nightly"),
}
SERVICES = {name: objects for name, objects in CLUSTERS.items() if name.startswith("service")}


def of_kind(objects: list[Object], *kinds: str) -> Object:
    (found,) = (o for o in objects if o["kind"] in kinds)
    return found


def ray_cluster_of(objects: list[Object]) -> Object:
    """The spec of the RayCluster that a RayService, RayJob or RayCronJob makes."""
    spec = of_kind(objects, "RayService", "RayJob", "RayCronJob")["spec"]
    cluster: Object = spec.get("rayClusterConfig") or spec.get("jobTemplate", spec)["rayClusterSpec"]
    return cluster


def parts(part: Any, path: str = "") -> Iterator[tuple[str, Object]]:
    """(path, object) of every object in it, however deep."""
    if isinstance(part, dict):
        yield path, part
        for key, inner in part.items():
            yield from parts(inner, f"{path}.{key}")
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from parts(inner, f"{path}[{index}]")


@pytest.fixture(params=list(CLUSTERS.values()), ids=list(CLUSTERS))
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """As `kubectl apply` reads them."""
    return list(yaml.safe_load_all(to_yaml(request.param)))


def test_manifests_survive_yaml(objects: list[Object]) -> None:
    assert objects in CLUSTERS.values()


def test_kuberay_accepts_its_own_kinds(objects: list[Object]) -> None:
    assert problems(of_kind(objects, "RayService", "RayJob", "RayCronJob")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.upgradeStrategy.clusterUpgradeOptions.stepSize", 10),  # no such field
        ("spec.rayClusterConfig.authOptions.mode", "secret"),  # no such value
        ("spec.rayClusterConfig.headGroupSpec.template.spec.containers", {}),  # not of this type
    ],
)
def test_what_kuberay_would_refuse_is_found(path: str, value: object) -> None:
    manifest = copy.deepcopy(of_kind(CLUSTERS["service-l4"], "RayService"))
    *parents, name = path.split(".")
    inner = manifest
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    assert len(problems(manifest)) == 1


def test_kubernetes_accepts_its_own_kinds(objects: list[Object]) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in objects:
        if not manifest["apiVersion"].startswith("ray.io/"):
            kubernetes.validate(manifest, "1.37", strict=True)


def test_names_are_unique_and_short_enough_for_kuberay(objects: list[Object]) -> None:
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", name) for _, name in names)


@pytest.mark.parametrize("objects", SERVICES.values(), ids=SERVICES)
def test_the_graph_is_that_of_serve_config(objects: list[Object]) -> None:
    deployed = yaml.safe_load(of_kind(objects, "RayService")["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(deployed)
    production = yaml.safe_load(PRODUCTION.read_text("utf-8"))
    # A pod is reached by its network address, and by nothing that is not in the NetworkPolicies.
    assert production["http_options"].pop("host") == "127.0.0.1"
    assert deployed["http_options"].pop("host") == "0.0.0.0"  # noqa: S104
    # And only with a key, of a secret that its pod mounts.
    keys_file = PurePosixPath(deployed["applications"][0]["args"].pop("auth")["keys_file"])
    assert deployed == production
    worker = ray_cluster_of(objects)["workerGroupSpecs"][0]
    [mount] = [mount for mount in container_of(worker)["volumeMounts"] if mount["name"] == "keys"]
    assert PurePosixPath(mount["mountPath"]) == keys_file.parent
    [volume] = [volume for volume in worker["template"]["spec"]["volumes"] if volume["name"] == "keys"]
    assert volume["secret"] == {"secretName": "reranker-keys", "defaultMode": 0o440}


def test_ray_reads_serve_env_in_every_pod(objects: list[Object]) -> None:
    lines = [line for line in ENVIRONMENT.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    cluster = ray_cluster_of(objects)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        given = {f"{variable['name']}={variable['value']}" for variable in container_of(group)["env"]}
        assert given >= set(lines)


def test_a_job_runs_the_served_model(objects: list[Object]) -> None:
    entry = of_kind(objects, "RayService", "RayJob", "RayCronJob")["spec"]
    entrypoint = entry.get("jobTemplate", entry).get("entrypoint")
    if entrypoint is None:
        return
    program, command, *words = shlex.split(entrypoint.replace("$(date -u +%F)", "2026-01-31"))
    assert (program, command) == ("reranker", "batch")
    words.remove("--resume")
    given = {name.removeprefix("--").replace("-", "_"): value for name, value in zip(*[iter(words)] * 2, strict=True)}
    args = yaml.safe_load(PRODUCTION.read_text("utf-8"))["applications"][0]["args"]
    model = {name: given.pop(name) for name in args.keys() & given.keys()}
    assert model.keys() == {"model", "template", "max_pair_tokens", "dtype", "device"}
    settings = BatchSettings.model_validate(given | {"checkpoint": model, "resume": True})
    assert settings.checkpoint.model_dump().items() >= {name: args[name] for name in model}.items()
    scheme = str(settings.queries).partition("://")[0]
    assert settings.queries == f"{scheme}://bucket/inputs/queries.jsonl"
    place = str(settings.output if settings.work_dir is None else settings.work_dir)
    head = pod_of(ray_cluster_of(objects)["headGroupSpec"])
    mounts = {mount["mountPath"]: mount["name"] for mount in head["containers"][0]["volumeMounts"]}
    (volume,) = (volume for volume in head["volumes"] if volume["name"] == mounts["/" + place.split("/")[1]])
    claims = [o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"]
    if settings.work_dir is None:
        assert claims == [volume["persistentVolumeClaim"]["claimName"]]
    else:
        assert (claims, "ephemeral" in volume) == ([], True)
        day = "/2026-01-31" if entry is not entry.get("jobTemplate", entry) else ""
        assert settings.output == ("s3://results/nightly" if day else "s3://results/a b") + day


def test_images_are_pinned(objects: list[Object]) -> None:
    images = [part.get("image", part.get("reference")) for _, part in parts(objects)]
    names = [image for image in images if isinstance(image, str)]  # a volume is an object of that name
    assert IMAGE in names
    assert [name for name in names if not re.search(r":\d[\w.-]*$|@sha256:[0-9a-f]{64}$", name)] == []


def test_secrets_are_references(objects: list[Object]) -> None:
    assert not [o for o in objects if o["kind"] == "Secret"]
    secret = re.compile(r"password|token|secret|key$", re.IGNORECASE)
    for path, part in parts(objects):
        if secret.search(str(part.get("name", ""))) and path.rpartition(".")[2].startswith("env["):
            assert part.keys() == {"name", "valueFrom"}, path
        for name in part:
            if secret.search(name) and name != "automountServiceAccountToken":
                refers = name in ("secretKeyRef", "key", "secretName") or part[name].keys() == {"valueFrom"}
                assert refers or "secretName" in part[name], f"{path}.{name}"


def test_containers_run_without_rights_on_a_read_only_disk(objects: list[Object]) -> None:
    cluster = ray_cluster_of(objects)
    pods = [pod_of(group) for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    pods += [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "StatefulSet"]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"]
            assert not rights["allowPrivilegeEscalation"]
            assert rights["capabilities"] == {"drop": ["ALL"]}
            # Only what fills a directory of the node, which belongs to root, is root.
            assert rights.get("runAsNonRoot", True) or container["name"] == "fetch-weights"
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in pod.get("volumes", [])} | {"data"}


@pytest.mark.parametrize("objects", SERVICES.values(), ids=SERVICES)
def test_probes_ask_routes_of_the_app_on_the_port_of_the_app(objects: list[Object]) -> None:
    cluster = ray_cluster_of(objects)
    worker = container_of(cluster["workerGroupSpecs"][0])
    asked = {kind: worker[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe")}
    assert {probe["path"] for probe in asked.values()} == {"/health", "/ready"} <= set(PAGES)
    ports = {port["name"]: port["containerPort"] for port in worker["ports"]}
    deployed = yaml.safe_load(of_kind(objects, "RayService")["spec"]["serveConfigV2"])
    assert {ports[probe["port"]] for probe in asked.values()} == {deployed["http_options"]["port"]}
    # /ready waits 5 s for its score. KubeRay deploys once the head is ready: it must not wait for the app.
    assert worker["readinessProbe"]["timeoutSeconds"] > 5
    assert not [name for name in container_of(cluster["headGroupSpec"]) if name.endswith("Probe")]


@pytest.mark.parametrize("objects", SERVICES.values(), ids=SERVICES)
def test_upgrades_leave_requests_time_to_finish(objects: list[Object]) -> None:
    spec = of_kind(objects, "RayService")["spec"]
    deployed = yaml.safe_load(spec["serveConfigV2"])
    assert spec["rayClusterDeletionDelaySeconds"] >= deployed["http_options"]["request_timeout_s"]
    scorer = next(d for d in deployed["applications"][0]["deployments"] if d["name"] == "Scorer")
    pod = pod_of(spec["rayClusterConfig"]["workerGroupSpecs"][0])
    assert pod["terminationGracePeriodSeconds"] > scorer["graceful_shutdown_timeout_s"]
    if (strategy := spec["upgradeStrategy"])["type"] == "NewClusterWithIncrementalUpgrade":
        options = strategy["clusterUpgradeOptions"]
        assert options["gatewayClassName"] == "istio"
        assert options["stepSizePercent"] <= options["maxSurgePercent"]
        assert options["intervalSeconds"] > scorer["autoscaling_config"]["policy"]["policy_kwargs"]["startup_s"]
    else:
        assert strategy == {"type": "NewCluster"}


@pytest.mark.parametrize("objects", SERVICES.values(), ids=SERVICES)
def test_a_service_outlives_its_head(objects: list[Object]) -> None:
    spec = of_kind(objects, "RayService")["spec"]
    storage = spec["rayClusterConfig"]["gcsFaultToleranceOptions"]
    (redis,) = (o for o in objects if o["kind"] == "Service")
    assert storage["redisAddress"] == f"{redis['metadata']['name']}:{redis['spec']['ports'][0]['port']}"
    (stored,) = (o for o in objects if o["kind"] == "StatefulSet")
    assert stored["spec"]["template"]["metadata"]["labels"] == redis["spec"]["selector"]
    assert stored["spec"]["volumeClaimTemplates"]
    variables = stored["spec"]["template"]["spec"]["containers"][0]["env"]
    assert storage["redisPassword"]["valueFrom"] in [variable["valueFrom"] for variable in variables]
    assert spec["excludeHeadPodFromServeSvc"]
    assert pod_of(spec["rayClusterConfig"]["headGroupSpec"])["automountServiceAccountToken"]  # the autoscaler's


def test_weights_come_once_a_node_or_with_a_volume() -> None:
    def worker(choices: Choices) -> Object:
        return pod_of(ray_cluster_of(service(choices))["workerGroupSpecs"][0])

    for pod in map(worker, (NODE, BUCKET, VOLUME)):
        (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "weights")
        variables = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        assert mount["readOnly"]
        assert variables["HF_HUB_CACHE"] == mount["mountPath"]
        assert variables["HF_HUB_OFFLINE"] == variables["TRANSFORMERS_OFFLINE"] == "1"
    assert worker(NODE)["initContainers"][0]["command"][-2:] == [
        "abdoelsayed/dear-8b-reranker-ranknet-v1",
        "/weights",
    ]
    assert worker(BUCKET)["initContainers"][0]["command"][-2:] == ["--source", "s3://models/dear-8b"]
    assert "initContainers" not in worker(VOLUME)
    assert not [volume for volume in worker(VOLUME)["volumes"] if "hostPath" in volume]


@pytest.mark.parametrize("choices", [NODE, BUCKET, VOLUME], ids=["hub", "bucket", "volume"])
def test_a_jobs_driver_has_config_and_tokenizer_without_the_nodes_directory(choices: Choices) -> None:
    head = pod_of(ray_cluster_of(batch(choices, "s3://bucket/inputs", 1))["headGroupSpec"])
    variables = {v["name"]: v["value"] for v in head["containers"][0]["env"]}
    assert variables["HF_HUB_CACHE"] == WEIGHTS
    assert not [volume for volume in head["volumes"] if "hostPath" in volume]
    for container in head.get("initContainers", []):
        assert container["command"][-1] == "--without-weights"
        assert "runAsUser" not in container["securityContext"]
    assert ("initContainers" in head) == (choices.weights_image is None)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"image": "dear-reranker"}, "image: 'dear-reranker' names no fixed version"),
        ({"image": "registry.example:5000/dear-reranker"}, "names no fixed version"),
        ({"image": "dear-reranker:latest"}, "names no fixed version"),
        ({"weights_image": "dear-8b:latest"}, "weights-image: 'dear-8b:latest' names no fixed version"),
        ({"weights_image": "dear-8b:1", "weights_source": "s3://b/m"}, "give either an image or a source"),
        ({"gpu_name": "t4"}, "gpu: 't4' is not known: use one of l4, a10g, a100, h100"),
        ({"config_file": Path("nothing.yaml")}, "config: nothing.yaml is not a Serve config: [Errno 2]"),
    ],
)
def test_choices_that_no_cluster_could_run_are_refused(choices: Object, complaint: str) -> None:
    arguments: Object = {"image": IMAGE} | choices
    with pytest.raises(InvalidField, match=re.escape(complaint)):
        Choices(**arguments)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "is not a Serve config"),
        ("text", "is not a Serve config"),
        ("{}", "model 'None' is not a hub id"),
        ("applications: [{args: {model: embedded}}]", "model 'embedded' is not a hub id"),
        ("applications: [{args: {model: a/b}}]", "has no Scorer with autoscaling_config"),
    ],
)
def test_configs_that_are_none_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InvalidField, match=re.escape(complaint)) as raised:
        service(Choices(IMAGE, config_file=path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("inputs", "schedule", "complaint"),
    [("/data", None, "batch: '/data' is not a URL"), ("s3://b/i", "daily", "schedule: 'daily' does not have")],
)
def test_jobs_that_cannot_run_are_refused(inputs: str, schedule: str | None, complaint: str) -> None:
    with pytest.raises(InvalidField, match=re.escape(complaint)):
        batch(NODE, inputs, 1, schedule)


@pytest.mark.parametrize(
    "output", ["/output", "gs://bucket/out", "s3://key:secret@bucket/out", "s3://b/out?region=x"]
)
def test_output_of_a_job_that_no_manifest_may_hold_is_refused(output: str) -> None:
    with pytest.raises(InvalidField, match=r"batch-output: .* is not of the form s3://bucket/prefix; keys") as caught:
        batch(NODE, "s3://bucket/inputs", 1, output=output)
    assert "secret" not in str(caught.value)
