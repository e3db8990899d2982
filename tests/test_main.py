import json
import os
from pathlib import Path
import subprocess
import sys

from click.testing import CliRunner
import pytest

from embedlens import experiments, recipes
from embedlens.__main__ import main
from embedlens.book import plain
from embedlens.experiments import runner

ROOT = Path(__file__).parent.parent


def run(*arguments, **environment):
    return CliRunner().invoke(main, [str(a) for a in arguments], env=environment)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))


def test_list_names_every_experiment_with_minutes_and_state():
    lines = run("list").stdout.splitlines()
    for name, entry in experiments.EXPERIMENTS.items():
        (line,) = [line for line in lines if line.split()[0] == name]
        assert f" {entry.minutes} min " in line
        assert "fresh" in line or "stale" in line
        assert entry.what in line
        assert len(line) <= 100


def test_list_says_which_source_has_changed(monkeypatch, tmp_path):
    stored = json.loads((ROOT / "book/results/sweep.json").read_text())
    stored["provenance"]["sources"]["models.py"] = "older"
    (tmp_path / "book/results").mkdir(parents=True)
    (tmp_path / "book/results/sweep.json").write_text(json.dumps(stored))
    monkeypatch.chdir(tmp_path)
    lines = run("list").stdout.splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith("sweep"))
    assert "stale" in lines[number]
    assert "models.py" in lines[number + 1].split("changed since: ")[1].split(", ")
    assert "not stored" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["what"], "No such command"),
        (["run"], "Missing argument"),
        (["run", "other"], "'other' is not one of"),
        (["run", "sweep", "--jobs", "0"], "0 is not in the range x>=1"),
        (["run", "sweep", "--output", "no/such/file.json"], "no file in an existing folder"),
        (["run", "sweep", "--output", "."], "is a directory"),
        (["run", "sweep", "--data", "ml-1m"], "--data goes with tuning"),
        (["run", "tuning", "--minutes", "3"], "--minutes with --data"),
        (["reproduce", "--seeds", "1"], "1 is not in the range x>=2"),
        (["reproduce", "--seeds", "many"], "'many' is not a valid integer"),
        (["reproduce", "--plain", "-1"], "-1 is not in the range x>=0"),
        (["reproduce", "--jobs", "0"], "0 is not in the range x>=1"),
        (["reproduce", "--output", "no/such/folder/file.json"], "no file in an existing folder"),
        (["execute", "99_none"], "99_none"),
        (["distribute", "--hosts", "0"], "0 is not in the range x>=1"),
        (["pdf", "picture"], "'picture' is not one of"),
    ],
)
def test_bad_arguments_get_a_usage_error(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_run_outside_the_repository_asks_for_a_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run("run", "sweep")
    assert result.exit_code == 2
    assert "name a file with --output" in result.stderr


def one_part(number):
    return {"number_squared": number**2}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """An experiment in the place of the sweep."""
    monkeypatch.setattr(runner.Experiment, "file", property(lambda self: runner.__file__))
    made = runner.Experiment("sweep", {"a": 1}, [{"number": 2}, {"number": 3}], one_part, jobs=1)
    monkeypatch.setattr(experiments, "get", lambda name: made)
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path / "cache"))
    return made


def test_run_measures_and_stores(small, tmp_path):
    file = tmp_path / "sweep.json"
    result = run("run", "sweep", "--output", file)
    assert result.exit_code == 0, result.output
    assert f"Written: {file}" in result.stdout
    assert "2/2" in result.stderr, "no progress shown"
    runs = small.load(file)["runs"]
    assert [run["number_squared"] for run in runs] == [4, 9]
    assert os.environ["KERAS_BACKEND"] == experiments.EXPERIMENTS["sweep"].backend


def test_interruption_ends_with_status_130_and_says_how_to_go_on(small, monkeypatch, tmp_path):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "collect", interrupted)
    result = run("run", "sweep", "--output", tmp_path / "sweep.json")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stdout
    assert not (tmp_path / "sweep.json").exists()


def test_tuning_on_other_data_writes_a_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDLENS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small").mkdir()
    rows = [
        f"{user},{movie},{1 + (user + movie) % 9 / 2},0"
        for user in range(1, 40, 2)
        for movie in range(1, 30)
    ]
    header = "userId,movieId,rating,timestamp"
    (tmp_path / "small/ratings.csv").write_text("\n".join([header, *rows, ""]))
    movies = [f"{movie},A film,Drama" for movie in range(1, 30)]
    (tmp_path / "small/movies.csv").write_text("\n".join(["movieId,title,genres", *movies, ""]))
    result = run("run", "tuning", "--data", "small", "--minutes", "0")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "tuned-small.json").read_text())
    assert f"The best of 1 settings has RMSE {report['rmse']:.4f}" in result.stdout
    assert recipes.load(tmp_path / "tuned-small.json").settings() == report["recipe"]
    assert f"  dim: {report['recipe']['dim']}\n" in result.stdout
    missing = run("run", "tuning", "--data", "nowhere")
    assert missing.exit_code == 1
    assert "nowhere: no such folder or zip file, and no release known" in missing.stderr


def test_command_chooses_the_backend_before_keras_is_imported():
    code = (
        "import sys; from embedlens import experiments; from embedlens.__main__ import main\n"
        "def get(name):\n"
        "    assert 'keras' not in sys.modules\n"
        "    import keras\n"
        "    print(keras.backend.backend(), 'tensorflow' in sys.modules)\n"
        "    sys.exit()\n"
        "experiments.get = get; main(['run', 'sweep'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "jax False", done.stderr


def test_plain_says_what_is_missing_or_kept(monkeypatch, tmp_path):
    kept = tmp_path / "notebooks/01_data.kept-20260101-120000.ipynb"
    monkeypatch.setattr(plain, "write_all", lambda: [kept])
    assert run("plain").output == f"It was run in its place, and is kept: {kept}\n"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    done = run("plain")
    assert done.exit_code == 1
    assert "run this from the repository root" in done.output
    assert not (tmp_path / "notebooks").exists()
