"""KubeRay's schemas, closed: a field that they do not have is an error, as for `kubectl apply --validate=strict`."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

Object = dict[str, Any]


@cache
def _schema(name: str) -> Any:
    return _closed(json.loads(gzip.decompress(Path(__file__).with_name("schemas").joinpath(name).read_bytes())))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    is_object = closed.get("type") == "object" and isinstance(closed.get("properties"), dict)
    if is_object and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def problems(manifest: Object) -> list[str]:
    """What KubeRay's schema has against a RayService, RayJob or RayCronJob. Its own words, with the path."""
    if manifest["kind"] == "RayCronJob":
        # Its schema is a schedule and a RayJob's spec.
        assert manifest["spec"].keys() == {"schedule", "jobTemplate"}
        manifest = manifest | {"kind": "RayJob", "spec": manifest["spec"]["jobTemplate"]}
    schema = _schema({"RayService": "rayservices.json.gz", "RayJob": "rayjobs.json.gz"}[manifest["kind"]])
    # Kubernetes knows metadata itself; here it is an object without fields.
    errors = Draft202012Validator(schema).iter_errors(manifest | {"metadata": {}})
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]
