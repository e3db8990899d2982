import json
import math

import pytest

from embedlens import data, recipes
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


def test_found_on_is_what_the_settings_were_found_on():
    ratings = data.prepared()
    train, _ = data.train_valid_split(ratings, 0)
    sizes = data.count_users_and_movies(ratings)
    assert len(train) == recipes.FOUND_ON
    assert recipes.per_row(sizes, len(train)) == pytest.approx(recipes.FOUND_PER_ROW, rel=0.002)
    assert recipes.per_row((4, 9), 60) == 10


@pytest.mark.parametrize("recipe", [recipes.TUNED, recipes.FEEDBACK, recipes.BIAS])
def test_a_recipe_stays_as_it_is_where_there_are_no_more_ratings(recipe):
    assert recipes.for_size(recipe, (671, 9066), recipes.FOUND_ON) == recipe
    assert recipes.for_size(recipe, (671, 9066), 1000) == recipe


def test_price_of_a_vector_falls_where_rows_hold_more_ratings():
    """100 times the ratings of as many users and movies: a row is looked up 100 times as often."""
    sizes = (671, 9066)
    carried = recipes.for_size(recipes.TUNED, sizes, 100 * recipes.FOUND_ON)
    tuned, ours = (dict(recipe.options) for recipe in (recipes.TUNED, carried))
    fallen = tuned["vector_penalty"] / ours.pop("vector_penalty")
    assert fallen == pytest.approx(100**recipes.PENALTY_FADES, rel=0.01)
    assert carried.training == recipes.TUNED.training
    assert ours.items() <= tuned.items()
    # Twice the users and movies with twice the ratings: rows as before, and so the price.
    same = recipes.for_size(recipes.TUNED, (2 * 671, 2 * 9066), 2 * recipes.FOUND_ON)
    assert same == recipes.TUNED


def test_batches_of_feedback_grow_with_the_ratings_and_the_rate_with_their_root():
    sizes = (6 * 671, 6 * 9066)
    found = recipes.FEEDBACK.training
    carried = recipes.for_size(recipes.FEEDBACK, sizes, 4 * recipes.FOUND_ON)
    assert carried.options == recipes.FEEDBACK.options  # rows hold no more than before
    assert carried.training.batch_size == 4 * found.batch_size
    assert carried.training.learning_rate == pytest.approx(2 * found.learning_rate)
    assert carried.training.epochs == found.epochs + 2
    for n in (recipes.FOUND_ON, 9 * recipes.FOUND_ON, 1_234_567):
        batch_size = recipes.for_size(recipes.FEEDBACK, sizes, n).training.batch_size
        assert math.ceil(n / batch_size) <= math.ceil(recipes.FOUND_ON / found.batch_size)


def test_all_prices_of_vectors_fall_and_those_of_biases_stay():
    carried = recipes.for_size(recipes.FEEDBACK, (671, 9066), 8 * recipes.FOUND_ON)
    found, ours = (dict(recipe.options) for recipe in (recipes.FEEDBACK, carried))
    fallen = {name: found[name] / ours[name] for name in found if found[name] != ours[name]}
    assert set(fallen) == {"vector_penalty", "feedback_penalty", "total_penalty"}
    assert list(fallen.values()) == pytest.approx([8**recipes.PENALTY_FADES] * 3, rel=0.01)
