"""`reranker cluster manifests`: options reach the manifests, and what is printed is YAML for kubectl."""

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.cluster import cluster
from cluster.configs import PRODUCTION
from cluster.topologies.choices import Choices
from cluster.topologies.manifests import batch, service
from cluster.topologies.ray_cluster import Object

IMAGE = "registry.example/dear-reranker:1"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], service(Choices(IMAGE))),
        (
            ["--gpu", "h100", "--gateway-class", "", "--weights-source", "s3://b/m", "--config", str(PRODUCTION)],
            service(Choices(IMAGE, "h100", PRODUCTION, "", "s3://b/m")),
        ),
        (
            ["--batch", "s3://b/in", "--batch-gpus", "3", "--weights-image", "w:1"],
            batch(Choices(IMAGE, weights_image="w:1"), "s3://b/in", 3),
        ),
        (
            ["--batch", "s3://b/in", "--schedule", "0 1 * * *"],
            batch(Choices(IMAGE), "s3://b/in", 1, "0 1 * * *"),
        ),
        (
            ["--batch", "s3://b/in", "--batch-output", "s3://b/out"],
            batch(Choices(IMAGE), "s3://b/in", 1, output="s3://b/out"),
        ),
    ],
    ids=["service", "service-options", "batch", "nightly", "batch-s3"],
)
def test_options_reach_the_manifests(options: list[str], expected: list[Object]) -> None:
    done = CliRunner().invoke(cluster, ["manifests", "--image", IMAGE, *options])
    assert done.exit_code == 0
    assert list(yaml.safe_load_all(done.stdout)) == expected
