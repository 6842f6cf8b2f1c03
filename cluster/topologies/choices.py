"""What differs from one Kubernetes cluster to another, checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cluster.configs import PRODUCTION
from cluster.topologies.gpus import GPUS, Gpu
from reranker.errors import InvalidField

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Choices:
    """Raises InvalidField for what no cluster could run.

    image: of this package, with a tag or digest. config_file: a Serve config. gateway_class: of the Gateway API, for
    upgrades step by step; empty means a second cluster of full size. weights_source: URL of the checkpoint's
    directory in an object store. weights_image: an OCI image whose root is a hub cache. Without either, the weights
    come from the hub.
    """

    image: str
    gpu_name: str = "l4"
    config_file: Path = PRODUCTION
    gateway_class: str = "istio"
    weights_source: str | None = None
    weights_image: str | None = None

    def __post_init__(self) -> None:
        if self.gpu_name not in GPUS:
            raise InvalidField("gpu", f"{self.gpu_name!r} is not known: use one of {', '.join(GPUS)}")
        if self.weights_source and self.weights_image:
            raise InvalidField("weights-image", "give either an image or a source of the weights, not both")
        _check_pinned("image", self.image)
        if self.weights_image is not None:
            _check_pinned("weights-image", self.weights_image)
        model = str(self.model.get("model"))
        if not _HUB_ID.fullmatch(model):
            raise InvalidField("config", f"model {model!r} is not a hub id (owner/name), by which pods find weights")

    @property
    def gpu(self) -> Gpu:
        return GPUS[self.gpu_name]

    @cached_property
    def config(self) -> dict[str, Any]:
        try:
            return dict(yaml.safe_load(self.config_file.read_text("utf-8")))
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InvalidField("config", f"{self.config_file} is not a Serve config: {reason}") from error

    @property
    def model(self) -> dict[str, Any]:
        """The arguments of the graph: the model and how it is run."""
        return dict(self._application.get("args", {}))

    @property
    def scorer(self) -> dict[str, Any]:
        """The scorer's deployment: its replicas and what each of them needs."""
        for deployment in self._application.get("deployments", []):
            if deployment["name"] == "Scorer" and {"autoscaling_config", "ray_actor_options"} <= deployment.keys():
                return dict(deployment)
        raise InvalidField(
            "config", "has no Scorer with autoscaling_config and ray_actor_options: see serve_config.yaml"
        )

    @property
    def _application(self) -> dict[str, Any]:
        applications = self.config.get("applications") or [{}]
        return dict(applications[0])


def _check_pinned(field: str, image: str) -> None:
    name = image.rpartition("/")[2]
    if "@sha256:" not in name and (":" not in name or name.endswith(":latest")):
        raise InvalidField(field, f"{image!r} names no fixed version: add a tag that never moves, or a digest")
