"""The known recipes: whole, and found by their models' names."""

import pytest

from reranker.checkpoints.recipes import known_for, known_recipes, recipe_named

RECIPES = known_recipes()


def test_every_model_has_one_recipe() -> None:
    models = [model.casefold() for known in RECIPES.values() for model in known.models]
    names = [model.rsplit("/", 1)[-1] for model in models]
    assert len(RECIPES) >= 20
    assert len(set(models)) == len(models)
    assert len(set(names)) == len(names), "a directory is known by its name alone"


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_says_where_its_facts_are_from_and_what_was_checked(name: str) -> None:
    known = RECIPES[name]
    assert known.name == name
    assert known.source.startswith("https://")
    assert known.checked
    assert known.needs_code == bool(known.why)
    assert known.needs_code or recipe_named(name).max_pair_tokens
    if known.architecture.endswith(("ForCausalLM", "ForConditionalGeneration")) and not known.needs_code:
        assert known.score.tokens


def test_model_is_found_by_id_and_by_directory() -> None:
    for model in (
        "Qwen/Qwen3-Reranker-0.6B",
        "qwen/qwen3-reranker-0.6b",
        "/models/Qwen3-Reranker-0.6B",
        "./Qwen3-Reranker-0.6B/",
    ):
        assert known_for(model) is RECIPES["qwen3-reranker"]
    assert known_for("/models/mine", "BAAI/bge-reranker-v2-m3") is RECIPES["bge-reranker-v2-m3"]
    assert known_for("Qwen3-Reranker", "mine/other") is None
