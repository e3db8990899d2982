import base64
import functools
import re

import numpy as np
import pandas as pd
import pytest

from embedlens import (
    comparing,
    data,
    ease,
    foldin,
    movielens,
    provenance,
    recipes,
    recommend,
    training,
)
from embedlens.book import pages
from embedlens.models import DotWithBias


@pytest.fixture(scope="module")
def ratings():
    return data.prepare(movielens.load())


@pytest.fixture(scope="module")
def stored(root):
    return pages.read_script(root / pages.TARGET)


@pytest.fixture(scope="module")
def model(ratings):
    return training.trained(recipes.BIAS, ratings, seed=0)[0]


@pytest.fixture(scope="module")
def others(ratings):
    return pages.other_runs(ratings)


@pytest.fixture(scope="module")
def fresh(model, ratings, others):
    return pages.page_data(model, ratings, others)


@pytest.fixture(scope="module")
def stored_ease(root):
    return pages.read_script(root / pages.TARGET.with_name(pages.EASE_NAME), pages.EASE_PREFIX)


@pytest.fixture(scope="module")
def fresh_ease(model, ratings):
    return pages.ease_data(model, ratings)


def vectors(contents):
    return pages.space_in(contents).vectors


def test_stored_file_is_small_and_in_the_written_form(stored, root):
    text = (root / pages.TARGET).read_text(encoding="utf-8")
    assert len(text.encode()) < 2_500_000
    assert pages.as_script(stored) == text


def test_stored_file_of_ease_is_small_and_in_the_written_form(stored_ease, root):
    text = (root / pages.TARGET.with_name(pages.EASE_NAME)).read_text(encoding="utf-8")
    assert len(text.encode()) < 800_000
    assert pages.as_script(stored_ease, pages.EASE_PREFIX) == text


def test_stored_movies_are_those_of_the_ratings(stored, ratings):
    counts = ratings["movieIdDense"].value_counts()
    ids = sorted(counts[counts >= 5].index)
    by_movie = ratings.groupby("movieIdDense")
    movies = stored["movies"]
    assert movies["id"] == ids
    assert movies["n"] == counts[ids].tolist()
    assert movies["mean"] == by_movie["rating"].mean()[ids].round(3).tolist()
    assert movies["title"] == [t.strip() for t in by_movie["title"].first()[ids]]
    genres = by_movie["genres"].first()[ids]
    assert movies["genres"] == genres.replace("(no genres listed)", "").tolist()
    for title, year in zip(movies["title"], movies["year"], strict=True):
        if re.search(r"\(\d{4}\)$", title):
            assert year == int(title[-5:-1])
        else:
            assert year is None or f"({year}" in title, title
    assert sum(year is None for year in movies["year"]) < 5


def test_stored_origin_is_the_present_data(stored):
    assert stored["provenance"] == {
        "data": provenance.dataset_digest(),
        "seed": pages.SEED,
        "model": "DotWithBias",
    }
    assert stored["ridge"] == foldin.RIDGE
    assert stored["scale"] == {"min": 0.5, "max": 5.0}


def test_stored_numbers_are_those_of_the_model(stored, fresh):
    exact = ("dim", "ridge", "scale", "provenance")
    assert {key: fresh[key] for key in exact} == {key: stored[key] for key in exact}
    assert list(fresh) == list(stored)
    for key in ("id", "title", "genres", "year", "mean", "n"):
        assert fresh["movies"][key] == stored["movies"][key], key
    # Training repeats to the bit on one machine only.
    assert vectors(fresh) == pytest.approx(vectors(stored), abs=2e-3)
    assert fresh["movies"]["bias"] == pytest.approx(stored["movies"]["bias"], abs=2e-3)
    assert fresh["user"]["vector"] == pytest.approx(stored["user"]["vector"], abs=2e-3)
    assert fresh["user"]["bias"] == pytest.approx(stored["user"]["bias"], abs=2e-3)
    pc = [np.array(contents["layout"]["pc"]) for contents in (fresh, stored)]
    assert pc[0] == pytest.approx(pc[1], abs=1e-2)
    ours, theirs = fresh["runs"], stored["runs"]
    assert list(ours) == list(theirs)
    assert (ours["n"], ours["chance"]) == (theirs["n"], theirs["chance"])
    assert ours["kept"] == pytest.approx(theirs["kept"], abs=2e-3)
    assert ours["agree"] == pytest.approx(theirs["agree"], abs=5e-3)
    assert np.array(ours["places"]) == pytest.approx(np.array(theirs["places"]), abs=2e-2)
    for name in ("often", "all"):
        pairs = list(zip(ours[name], theirs[name], strict=True))
        assert np.mean([a == b for a, b in pairs]) > 0.95
        assert all(len(a) == len(b) for a, b in pairs)


def test_stored_numbers_of_ease_are_those_of_the_ratings(stored_ease, fresh_ease):
    assert list(fresh_ease) == list(stored_ease)
    for key in ("middle", "kept", "users", "provenance"):
        assert fresh_ease[key] == stored_ease[key], key
    for name, measured in fresh_ease["measured"].items():
        assert measured == pytest.approx(stored_ease["measured"][name], abs=2e-3), name
    ours, theirs = (pages.ease_weights_in(found) for found in (fresh_ease, stored_ease))
    assert np.mean(np.abs(ours - theirs) < 1e-6) > 0.999
    assert np.abs(ours - theirs).max() < 2 * max(stored_ease["units"]) + theirs.std()


def test_weights_of_ease_are_those_of_the_training_ratings(stored_ease, stored, ratings):
    train_ratings, _ = data.train_valid_split(ratings, pages.SEED)
    sizes = data.count_users_and_movies(ratings)
    penalty = stored_ease["provenance"]["penalty"]
    inner = stored_ease["provenance"]["inner_ndcg"]
    assert inner[f"{penalty:g}"] == max(inner.values())
    ids = stored["movies"]["id"]
    whole = ease.weights(ease.centred(train_ratings, sizes), penalty, ids)
    cut = pages.ease_weights_in(stored_ease)
    places = np.arange(0, len(ids), 97)
    for row in places:
        kept = np.flatnonzero(cut[row])
        assert len(kept) == 50
        assert cut[row, kept] == pytest.approx(
            whole[row, kept], abs=0.6 * stored_ease["units"][row]
        )
        left = np.delete(np.abs(whole[row]), kept)
        assert left.max() <= np.abs(whole[row, kept]).min() + 1e-12


def test_cut_weights_round_trip():
    weights = np.random.default_rng(0).normal(size=(6, 6))
    weights[2] = 0
    np.fill_diagonal(weights, 0)
    read = pages.ease_weights_in(pages.cut_weights(weights, 3))
    assert ((read != 0).sum(axis=1) == [3, 3, 0, 3, 3, 3]).all()
    for ours, whole in zip(read, weights, strict=True):
        largest = np.argsort(-np.abs(whole))[:3]
        assert ours[largest] == pytest.approx(whole[largest], abs=np.abs(whole).max() / 250)
    assert pages.cut_weights(weights)["kept"] == 5


def test_neighbours_are_counted_over_the_runs():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(31, 4)).astype("float32")
    turned = first @ np.linalg.qr(rng.normal(size=(4, 4)))[0].astype("float32")
    other = rng.normal(size=(31, 4)).astype("float32")
    movies = pd.DataFrame(
        {
            "n_ratings": [30] * 25 + [9] * 5,
            "rating": rng.random(30),
            "year": 2000.0 + np.arange(30),
        },
        index=np.arange(1, 31),
    )
    same = pages.runs_data([first, turned], movies, movies)
    assert set("".join(same["often"])) == {"2"}
    assert same["often"][25:] == [""] * 5
    assert same["kept"] == 1
    assert same["chance"] == round(10 / 24, 4)
    assert np.array(same["places"][0]) == pytest.approx(
        pages.aligned_places([first], movies, movies)[0], abs=1e-3
    )
    assert same["agree"] == [1, 1, 1]
    both = pages.runs_data([first, turned, other], movies, movies)
    near = [comparing.nearest(run[1:26], 10)[0] for run in (first, other)]
    for row, digits in enumerate(both["often"][:25]):
        expected = [2 + (movie in near[1][row]) for movie in near[0][row]]
        assert [int(digit) for digit in digits] == expected
    assert pages.runs_data([first], movies, movies) is None


def test_first_places_are_those_of_the_layout(stored, model, ratings):
    every = data.movie_table(ratings)
    every["year"] = data.years(every["title"])
    matrix = model.movie_embedding.get_weights()[0]
    places = pages.aligned_places([matrix], every, every.loc[stored["movies"]["id"]])[0]
    assert places == pytest.approx(np.array(stored["layout"]["pc"]), abs=1e-2)


def test_row_of_vectors_belongs_to_the_movie_of_that_row(stored, model):
    matrix = model.movie_embedding.get_weights()[0]
    biases = model.movie_bias.get_weights()[0][:, 0]
    ids = stored["movies"]["id"]
    assert np.abs(vectors(stored) - matrix[ids]).max() < 2e-3
    assert np.abs(vectors(stored) - matrix[np.array(ids) - 1]).max() > 0.1
    assert stored["movies"]["bias"] == pytest.approx(biases[ids], abs=2e-3)


def test_page_predicts_what_the_whole_model_predicts(stored, model):
    ids = stored["movies"]["id"]
    pairs = {ids[10]: 5.0, ids[200]: 1.5, ids[3000]: 4.0}
    page = pages.space_in(stored)
    whole = foldin.space_of(model)
    few = foldin.explain(page, foldin.fold_in(page, pairs))
    every = foldin.explain(whole, foldin.fold_in(whole, pairs)).set_index("movieIdDense")
    assert few["predicted"].to_numpy() == pytest.approx(
        every.loc[ids, "predicted"].to_numpy(), abs=5e-3
    )


def test_components_are_oriented_as_in_chapter_4(stored):
    movies = pd.DataFrame(stored["movies"])
    movies[["PC1", "PC2", "PC3"]] = stored["layout"]["pc"]
    often = movies[movies["n"] > 20].dropna()
    assert often["PC1"].corr(often["mean"]) > 0.8
    assert often["PC2"].corr(often["year"]) > 0
    assert often["PC3"].corr(often["year"]) > 0


def test_layout_keeps_neighbours(stored):
    n = np.array(stored["movies"]["n"])
    near = stored["layout"]["near"]
    assert [place is not None for place in near] == (n > 20).tolist()
    places = np.array([place for place in near if place])
    directions = vectors(stored)[n > 20]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    on_plane = np.linalg.norm(places[:, None] - places[None], axis=2)
    in_space = 1 - directions @ directions.T
    kept = []
    for plane, space in zip(on_plane, in_space, strict=True):
        kept.append(len(set(np.argsort(plane)[1:11]) & set(np.argsort(space)[1:11])) / 10)
    assert np.mean(kept) > 0.2  # By chance: 0.008.


def test_layout_is_the_same_each_time():
    matrix = np.random.default_rng(0).normal(size=(41, 8))
    movies = pd.DataFrame({"n_ratings": [30] * 30 + [20] * 10}, index=np.arange(1, 41))
    first, second = (pages.neighbours(matrix, movies) for _ in range(2))
    assert first == second
    assert all(first[:30])
    assert first[30:] == [None] * 10


def test_data_of_a_small_model(tiny_ratings):
    model = DotWithBias(12, 15, 0.5, 5.0, dim=3)
    model(data.inputs(tiny_ratings.iloc[:1]))
    rare = tiny_ratings[tiny_ratings["movieIdDense"] != 4]
    few = pd.concat([rare, tiny_ratings[tiny_ratings["movieIdDense"] == 4].head(4)])
    contents = pages.page_data(model, few)
    assert contents["movies"]["id"] == [i for i in range(1, 16) if i != 4]
    assert contents["dim"] == 3
    assert len(base64.b64decode(contents["vectors"])) == 14 * 3 * 4
    assert contents["layout"]["near"] == [None] * 14
    assert contents["movies"]["year"] == [None] * 14


def test_no_genres_listed_is_no_genre(tiny_ratings):
    model = DotWithBias(12, 15, 0.5, 5.0, dim=3)
    model(data.inputs(tiny_ratings.iloc[:1]))
    genres = {3: "(no genres listed)", 5: "Western|Drama"}
    tiny_ratings["genres"] = tiny_ratings["movieIdDense"].map(genres).fillna("Drama")
    contents = pages.page_data(model, tiny_ratings)
    of = dict(zip(contents["movies"]["id"], contents["movies"]["genres"], strict=True))
    assert (of[3], of[5], of[6]) == ("", "Western|Drama", "Drama")
    assert "genres listed" not in pages.as_script(contents)


@pytest.fixture
def a_small_model(monkeypatch, tiny_ratings):
    model = DotWithBias(12, 15, 0.5, 5.0, dim=4)
    model(data.inputs(tiny_ratings.iloc[:1]))
    data.prepared()  # keeps what it reads: not the small ratings
    monkeypatch.setattr(data, "prepare", lambda movielens: tiny_ratings)
    monkeypatch.setattr(training, "trained", lambda recipe, ratings, seed: (model, None))
    monkeypatch.setattr(pages, "other_runs", lambda ratings: [])
    monkeypatch.setattr(recommend, "top_n", functools.partial(recommend.top_n, n=3))


@pytest.mark.usefixtures("a_small_model")
def test_the_same_bytes_are_written_twice(tmp_path):
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written.append(pages.write(tmp_path / name / "movies-data.js"))
    names = ["movies-data.js", "ease-data.js", "ratings-data.js"]
    for first, second, name in zip(*written, names, strict=True):
        assert first == tmp_path / "first" / name
        assert first.read_bytes() == second.read_bytes()
    assert pages.read_script(written[0][0])["movies"]["id"] == list(range(1, 16))


@pytest.mark.usefixtures("a_small_model")
def test_projector_gets_all_movies_of_the_model(tmp_path):
    written = pages.write_projector(tmp_path / "projector")
    assert [file.name for file in written] == ["vectors.tsv", "metadata.tsv"]
    vectors, metadata = (file.read_text().splitlines() for file in written)
    assert len(vectors) == 15
    assert len(metadata) == 16


def test_another_script_is_refused(tmp_path):
    (tmp_path / "other.js").write_text("window.OTHER = {};\n")
    with pytest.raises(ValueError, match=r"other\.js .*python -m embedlens pages"):
        pages.read_script(tmp_path / "other.js")


@pytest.fixture
def movies():
    return pd.DataFrame(
        {
            "title": ["Tab\there (1999)", "Two\nlines", "Amélie (2001) "],
            "genres": ["Drama|Comedy", "(no genres listed)", "Romance"],
            "rating": [3.456, 2.0, 4.5],
            "n_ratings": [7, 1, 30],
        },
        index=pd.Index([3, 1, 2], name="movieIdDense"),
    )


def test_projector_files_round_trip(tmp_path, movies):
    matrix = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")
    pages.projector_files(tmp_path / "new" / "folder", matrix, movies)
    folder = tmp_path / "new" / "folder"
    read = np.loadtxt(folder / "vectors.tsv", delimiter="\t")
    assert read == pytest.approx(matrix[[3, 1, 2]], rel=1e-5)
    lines = (folder / "metadata.tsv").read_text(encoding="utf-8").split("\n")
    assert lines == [
        "title\tgenres\tyear\tmean rating\tratings",
        "Tab here (1999)\tDrama|Comedy\t1999\t3.46\t7",
        "Two lines\t\t\t2.00\t1",
        "Amélie (2001)\tRomance\t2001\t4.50\t30",
        "",
    ]


def test_projector_leaves_out_the_unused_row(tmp_path, ratings):
    table = data.movie_table(ratings)
    matrix = np.arange(len(table) + 1, dtype="float32")[:, None]
    pages.projector_files(tmp_path, matrix, table)
    assert np.loadtxt(tmp_path / "vectors.tsv").tolist() == list(range(1, len(table) + 1))
    metadata = pd.read_csv(tmp_path / "metadata.tsv", sep="\t", quoting=3)
    assert metadata["ratings"].tolist() == table["n_ratings"].tolist()


@pytest.mark.parametrize("wrong", [0, 4])
def test_projector_refuses_a_movie_without_row(tmp_path, movies, wrong):
    movies.index = [3, wrong, 2]
    with pytest.raises(ValueError, match=f"movie {wrong} "):
        pages.projector_files(tmp_path, np.zeros((4, 5)), movies)
