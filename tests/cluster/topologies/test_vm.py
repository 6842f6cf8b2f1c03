"""The file for `ray up`: Ray's own schema and defaults accept it, and its nodes are those of serve_config.yaml."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError  # type: ignore[import-untyped]
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.configs import PRODUCTION
from cluster.topologies.gpus import GPUS

Object = dict[str, Any]
ROOT = Path(__file__).parents[3]
FILE = ROOT / "cluster" / "topologies" / "vm-aws.yaml"
CONFIG: Object = yaml.safe_load(FILE.read_text("utf-8"))


def test_ray_accepts_the_file_with_its_own_defaults() -> None:
    filled = prepare_config(copy.deepcopy(CONFIG))
    validate_config(filled)
    assert filled["available_node_types"].keys() == {"head", "gpu"}


def test_an_unknown_key_would_be_refused() -> None:
    with pytest.raises(ValidationError, match="'heads' was unexpected"):
        validate_config(prepare_config(copy.deepcopy(CONFIG) | {"heads": 1}))


def test_nodes_are_those_of_the_production_graph() -> None:
    deployments = yaml.safe_load(PRODUCTION.read_text("utf-8"))["applications"][0]["deployments"]
    scorer = next(deployment for deployment in deployments if deployment["name"] == "Scorer")
    options, gpu = scorer["ray_actor_options"], CONFIG["available_node_types"]["gpu"]
    asked = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options["resources"]}
    assert min(gpu["resources"][name] // number for name, number in asked.items()) == 1
    assert gpu["max_workers"] == CONFIG["max_workers"] == scorer["autoscaling_config"]["max_replicas"]
    assert gpu["resources"]["CPU"] == GPUS["a10g"].cpus
    assert gpu["node_config"]["InstanceType"] in GPUS["a10g"].machine.split(", ")
    assert CONFIG["available_node_types"]["head"]["resources"] == {"CPU": 0, "GPU": 0}


def test_commands_start_rays_nodes_with_the_same_resources_and_a_token() -> None:
    (_, head), (_, worker) = CONFIG["head_start_ray_commands"], CONFIG["worker_start_ray_commands"]
    resources = CONFIG["available_node_types"]["gpu"]["resources"]
    assert f"--num-cpus={resources['CPU']} --num-gpus={resources['GPU']}" in worker
    assert yaml.safe_load(re.findall(r"--resources='(.*)'", worker)[0]) == {"gpu_24gb": 1}
    assert "--num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1" in head
    for command in (head, worker):
        assert ". ./serve.env" in command
        assert "RAY_AUTH_MODE=token" in command
