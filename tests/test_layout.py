"""The package's rules: who may import whom, and what starts at once."""

from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest

import embedlens
from embedlens import experiments, models, provenance, training

PACKAGE = Path(embedlens.__file__).parent
ROOT = Path(__file__).parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
UPPER = ("experiments", "book")


def part_of(path):
    """The name of a folder that the library must not know, or "library"."""
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in UPPER else "library"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.relative_to(PACKAGE).as_posix())
def test_library_imports_neither_experiments_nor_book(module):
    if module.name == "__main__.py":
        return  # the command line starts all of them
    allowed = {"library": {"library"}, "experiments": {"library", "experiments"}}
    known = allowed.get(part_of(module), {"library", "book", "experiments"})
    wrong = [str(path) for path in provenance.imports(module) if part_of(path) not in known]
    assert not wrong


def test_no_circular_import():
    arrows = {module: set(provenance.imports(module)) for module in MODULES}
    # A package's face is imported with each of its modules; what it takes from them is no circle.
    arrows = {m: {t for t in targets if t.name != "__init__.py"} for m, targets in arrows.items()}
    while arrows:
        free = [module for module, targets in arrows.items() if not targets & arrows.keys()]
        assert free, f"these import each other in a circle: {sorted(map(str, arrows))}"
        for module in free:
            del arrows[module]


def test_every_module_has_its_test_file_and_every_test_file_its_module():
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    wanted = {Path("test_main.py"), Path("test_layout.py"), Path("test_project.py")}
    for module in MODULES:
        path = module.relative_to(PACKAGE)
        if path.name == "__init__.py":
            if path.parent.name in ("experiments", "bench"):
                wanted.add(path.parent.parent / f"test_{path.parent.name}.py")
        elif path.name not in ("__main__.py", "rebuild.py", "ours.py", "peers.py"):
            wanted.add(path.parent / f"test_{path.name}")
    missing = sorted(str(path) for path in wanted - tests)
    assert not missing, f"no tests: {missing}"


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = "; import sys; print([m for m in ('keras', 'tensorflow', 'jax') if m in sys.modules])"
LIGHT = [
    "from embedlens import data, factors, published, metrics",
    "from embedlens import movielens, provenance, cache, experiments; experiments.EXPERIMENTS",
    "from embedlens.__main__ import main; main(['--help'], standalone_mode=False)",
    "from embedlens.__main__ import main; main(['list'], standalone_mode=False)",
    "from embedlens.__main__ import main; main(['run', '--help'], standalone_mode=False)",
]


@pytest.mark.parametrize("code", LIGHT)
def test_starts_without_keras(code):
    assert python(code + LOADED).splitlines()[-1] == "[]"


def test_importing_the_package_sets_variables_and_nothing_else():
    code = (
        "import os, sys; before, variables = set(sys.modules), dict(os.environ); import embedlens; "
        "print(sorted(set(sys.modules) - before)); "
        "print(sorted(set(os.environ) - set(variables)))"
    )
    environment = "import os; [os.environ.pop(n, 0) for n in list(os.environ) if n[:3] == 'TF_']; "
    loaded, variables = python(environment + code).splitlines()
    assert loaded == "['embedlens']"
    assert variables == "['TF_CPP_MIN_LOG_LEVEL', 'TF_ENABLE_ONEDNN_OPTS']"


def test_our_code_on_jax_never_imports_tensorflow():
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'jax'; "
        "import embedlens.quiet; from embedlens import data, recipes, recommend, training; "
        "ratings = data.prepared().head(60); "
        "ratings = ratings.assign(movieIdDense=data.dense_ids(ratings['movieId'])); "
        "model, _ = training.trained(recipes.BIAS.with_training(epochs=1), ratings); "
        "training.predict(model, ratings); import sys; print('tensorflow' in sys.modules)"
    )
    assert python(code).strip() == "False"


def test_order_of_imports_does_not_matter():
    """Keras first: arithmetic may differ in the last bits, all else is as here."""
    code = (
        "import keras, embedlens, numpy as np; from embedlens import models, training; "
        "training.set_seed(0); print(models.SimpleDot(5, 5)(np.array([[1, 2]]))[0, 0].numpy())"
    )
    there = float(python(code).splitlines()[-1])
    training.set_seed(0)
    here = models.SimpleDot(5, 5)(np.array([[1, 2]]))[0, 0].numpy()
    assert here == pytest.approx(there, rel=1e-5)


def test_stderr_may_be_closed():
    code = "import os; os.close(2); import embedlens; from embedlens import data; print('ok')"
    assert python(code).strip() == "ok"


def test_commands_are_few_and_help_fits_a_screen():
    code = "from embedlens.__main__ import main; main(['--help'], standalone_mode=False)"
    lines = python(code).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith("...") for line in lines[1:])
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert 10 < len(listed.splitlines()) <= 20


def test_registry_names_files_that_are_stored():
    stored = {path.stem for path in (ROOT / "book/results").glob("*.json")}
    assert stored == set(experiments.EXPERIMENTS)
    for entry in experiments.EXPERIMENTS.values():
        assert re.search(rf"^{entry.place.split(':')[1]} = ", entry.file.read_text(), re.MULTILINE)
