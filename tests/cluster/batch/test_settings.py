"""Settings of a job: exactly one form of input, paths or strings alike, and a round trip through JSON."""

import json
from itertools import chain, combinations
from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster.batch.settings import BatchSettings
from reranker.errors import InvalidField

ROLES = ("queries", "corpus", "run", "pairs", "candidates")
FORMS = [("queries", "corpus", "run"), ("pairs",), ("candidates",)]


def settings_of(*roles: str, **options: object) -> BatchSettings:
    return BatchSettings.model_validate({"output": "out", **{role: f"{role}.jsonl" for role in roles}, **options})


@pytest.mark.parametrize("form", FORMS, ids="+".join)
def test_settings_accept_each_form_of_input(form: tuple[str, ...]) -> None:
    assert settings_of(*form).inputs == {role: f"{role}.jsonl" for role in form}


@pytest.mark.parametrize(
    "roles",
    [roles for roles in chain.from_iterable(combinations(ROLES, n) for n in range(6)) if roles not in FORMS],
    ids=lambda roles: "+".join(roles) or "nothing",
)
def test_settings_refuse_every_other_mixture_of_inputs(roles: tuple[str, ...]) -> None:
    with pytest.raises(InvalidField) as caught:
        settings_of(*roles)
    given = " and ".join(f"--{role}" for role in roles) or "none of them"
    expected = f"input: give --queries with --corpus and --run, or --pairs, or --candidates; got {given}"
    assert str(caught.value) == expected


def test_empty_path_counts_as_given() -> None:
    with pytest.raises(InvalidField, match="got --run and --pairs"):
        settings_of("pairs", run="")


def test_settings_from_paths_and_strings_are_equal(tmp_path: Path) -> None:
    for form in FORMS:
        by_path = BatchSettings.model_validate({"output": tmp_path, **{role: tmp_path / role for role in form}})
        by_text = BatchSettings.model_validate(
            {"output": str(tmp_path), **{role: f"{tmp_path}/{role}" for role in form}}
        )
        assert by_path == by_text
        assert by_path.inputs == {role: f"{tmp_path}/{role}" for role in form}
    url = "s3://bucket//a.jsonl?region=x"
    assert settings_of("pairs", pairs=url).pairs == url, "URLs are not normalized as paths"


def test_output_is_a_path_or_a_url_as_it_is_given(tmp_path: Path) -> None:
    assert (
        settings_of("pairs", output=tmp_path).output == settings_of("pairs", output=str(tmp_path)).output == tmp_path
    )
    url = "s3://key:secret@bucket//out?region=x"
    settings = settings_of("pairs", output=url)
    assert settings.output == url
    assert BatchSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("scheme", ["gs", "file", "s3a", "S3"])
def test_output_in_an_unsupported_store_is_refused_without_its_password(scheme: str) -> None:
    with pytest.raises(InvalidField) as caught:
        settings_of("pairs", output=f"{scheme}://key:secret@bucket/out")
    assert str(caught.value) == (
        f"output: '{scheme}://bucket/out' cannot be written: use a directory, or s3://bucket/prefix"
    )


@pytest.mark.parametrize("form", FORMS, ids="+".join)
def test_settings_survive_json(form: tuple[str, ...]) -> None:
    settings = settings_of(
        *form,
        depth=100,
        top_k=10,
        max_bad_rows=3,
        scorers=2,
        checkpoint={"dtype": "float32", "device": "cpu"},
        engine={"threads": 1},
    )
    assert BatchSettings.model_validate_json(settings.model_dump_json()) == settings
    assert BatchSettings.model_validate(json.loads(json.dumps(settings.model_dump(mode="json")))) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("depth", "top_k", "unit_pairs", "scorers", "encoders")),
        ("max_bad_rows", -1),
        ("pairs", 7),
        ("shuffle", True),
    ],
)
def test_settings_refuse_values_out_of_bounds_and_unknown_fields(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        settings_of("pairs", **{name: value})


def test_manifest_has_result_settings_and_no_password() -> None:
    manifest = settings_of(
        "pairs",
        pairs="s3://key:secret@bucket/pairs.jsonl",
        address="head:6379",
        resume=True,
        top_k=10,
        scorers=3,
        encoders=2,
        max_bad_rows=5,
    ).for_manifest()
    assert manifest["pairs"] == "s3://bucket/pairs.jsonl"
    assert manifest["top_k"] == 10
    assert manifest.keys() == BatchSettings.model_fields.keys() - {
        "output",
        "work_dir",
        "resume",
        "address",
        "scorers",
        "encoders",
        "max_bad_rows",
    }
    assert BatchSettings.model_validate(manifest | {"output": "out"}).top_k == 10
    local = settings_of("queries", "corpus", "run")
    assert BatchSettings.model_validate(local.for_manifest() | {"output": "out"}) == local
