import json

import pytest

from embedlens import recipes
from embedlens.models import DotWithBias, SimpleDot, SimpleEmbedding
from embedlens.recipes import Recipe, Training


def test_equal_values_are_equal_and_others_are_not():
    one = Recipe(DotWithBias, dim=8, min_rating=0.5, max_rating=5.0)
    same = Recipe(DotWithBias, max_rating=5.0, min_rating=0.5, dim=8)
    assert one == same
    assert hash(one) == hash(same)
    for other in (one.with_options(dim=9), one.with_training(epochs=3), Recipe(SimpleDot, dim=8)):
        assert other != one


def test_changes_leave_the_recipe_as_it_was():
    before = recipes.TUNED.settings()
    changed = recipes.TUNED.with_options(dim=3).with_training(epochs=1)
    assert (changed.settings()["dim"], changed.settings()["epochs"]) == (3, 1)
    assert recipes.TUNED.settings() == before


def test_settings_are_ready_for_json():
    settings = recipes.OWN_LAYER.settings()
    assert settings["embedding"] == "SimpleEmbedding"
    assert json.loads(json.dumps(settings)) == settings
    assert settings["model"] == "SimpleDot"


def test_options_that_cannot_be_compared_are_refused():
    with pytest.raises(TypeError):
        Recipe(SimpleDot, dim=[8])


def test_the_posts_settings():
    assert Training() == Training(10, 32, 2, 0.001, False)
    assert Recipe(SimpleDot) == recipes.SIMPLE_DOT
    assert recipes.BIAS.training == Training()


def test_a_recipe_makes_its_model():
    model = Recipe(SimpleDot, dim=3, embedding=SimpleEmbedding)(4, 5)
    assert isinstance(model.user_embedding, SimpleEmbedding)
    assert (model.user_embedding.input_dim, model.movie_embedding.input_dim) == (5, 6)


@pytest.mark.parametrize("recipe", [recipes.TUNED, recipes.BIAS, recipes.SIMPLE_DOT])
def test_a_stored_recipe_is_read(recipe, tmp_path):
    file = tmp_path / "tuned.json"
    file.write_text(json.dumps({"runs": [], "recipe": recipe.settings()}))
    assert recipes.load(file) == recipe


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"recipe": {"model": "Recipe"}}', '{"recipe": {"model": "SimpleDot"}}'],
)
def test_a_file_without_a_recipe_is_refused(text, tmp_path):
    file = tmp_path / "tuned.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"tuned.json: no recipe in it .* run tuning --data"):
        recipes.load(file)


def test_a_recipe_for_no_model_of_the_book_is_refused(tmp_path):
    file = tmp_path / "tuned.json"
    for changes in ({"model": "np"}, {"dim": 0}, {"depth": 3}):
        file.write_text(json.dumps({"recipe": recipes.TUNED.settings() | changes}))
        with pytest.raises(ValueError, match="no recipe in it"):
            recipes.load(file)
