import os
import subprocess
import sys


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_import_hides_notices_and_keeps_what_follows():
    done = run("import sys, embedlens.quiet; print('seen', file=sys.stderr)")
    assert done.stderr == "seen\n"


def test_an_error_on_import_is_seen():
    done = run("import embedlens.quiet", KERAS_BACKEND="none_such")
    assert done.returncode != 0
    assert "none_such" in done.stderr


def test_stderr_may_be_closed():
    done = run("import os; os.close(2); import embedlens.quiet; print('ok')", KERAS_BACKEND="jax")
    assert done.stdout.strip() == "ok"
