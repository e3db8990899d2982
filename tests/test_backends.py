import os
from pathlib import Path
import subprocess
import sys

HERE = Path(__file__).parent
# Hundreds of tiny programs, each run a few times: what counts is to compile them quickly.
# Further flags would help, but not every JAX in the lock knows them; an unknown one is fatal.
COMPILE_QUICKLY = "--xla_backend_optimization_level=0"


def test_models_and_row_wise_training_pass_their_tests_on_jax():
    files = [str(HERE / f"test_{name}.py") for name in ("models", "rowwise", "rowwise_jax")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", *files],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": COMPILE_QUICKLY,
        },
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout
