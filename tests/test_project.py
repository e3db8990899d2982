"""The files around the code agree with each other and name no machine."""

from importlib import metadata
from pathlib import Path
import re
import subprocess
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest
import yaml

from embedlens.__main__ import main
from embedlens.book.pdf import BROWSERS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = re.findall(r"^([a-z0-9][^ ]*==.*) \\$", LOCK, flags=re.MULTILINE)


def pinned():
    """Locked requirements that apply to this Python and platform, by name."""
    requirements = [Requirement(pin) for pin in PINS]
    return {
        canonicalize_name(r.name): r for r in requirements if not r.marker or r.marker.evaluate()
    }


def wanted():
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for group in (PROJECT["dependencies"], *extras) for text in group]


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0")[:-1]
    if not names:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_lock_satisfies_pyproject(requirement):
    pin = pinned()[canonicalize_name(requirement.name)]
    (version,) = (specifier.version for specifier in pin.specifier)
    assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {version}"


def test_installed_versions_are_the_locked_ones():
    other = {}
    for name, pin in pinned().items():
        (version,) = (specifier.version for specifier in pin.specifier)
        if metadata.version(name) != version:
            other[name] = (version, metadata.version(name))
    assert not other, f"locked, installed: {other}; run make book"


def test_every_locked_version_has_hashes():
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK.strip())
    assert len(blocks) == len(PINS)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)


def test_environment_is_made_from_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert pip == "pip"
    assert packages["pip"] == [*PINS, "--editable ."]
    bounds = sorted(python.removeprefix("python ").split(","))
    assert bounds == sorted(PROJECT["requires-python"].split(","))


def test_continuous_integration_calls_the_command_of_the_readme():
    text = (ROOT / ".ci/run").read_text().replace("||\n", "||")
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "set "))]
    browser, command = lines
    assert command == "make test"
    tried = [part.strip() for part in browser.split("||")]
    assert tried[0] == "command -v " + " ".join(BROWSERS)
    assert tried[1] == "{ apt-get update && apt-get install --yes chromium; }"
    assert tried[2].startswith("echo ")
    assert len(tried) == 3
    assert re.search(r"^make test ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)


def test_workflow_tests_every_supported_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == ">=3.11,<3.14"


def test_no_registry_and_no_machine_is_named():
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "anaconda" + ".org", "registry" + ".npmjs"]
    paths = [f"/{folder}/" for folder in ("home", "root", "Users")] + ["/wor" + "k/"]
    found = []
    for file in tracked():
        if file.suffix in {".png", ".woff"} or "mathjax" in file.parts:
            continue
        text = file.read_text()
        found += [f"{file.name}: {word}" for word in hosts + paths if word in text]
    assert not found


def test_lock_names_no_address():
    for name in ("requirements.lock", "environment.yml"):
        assert "://" not in (ROOT / name).read_text(), name


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CONTRIBUTING.md", "README.md"])
def test_public_files_are_there(name):
    assert len((ROOT / name).read_text()) > 500


def test_every_derived_file_has_a_command_that_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (`.*) \| (.*) \| (.*) \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 8
    targets = re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for files, _, commands in rows:
        for pattern in re.findall(r"`([^`]+)`", files):
            assert list(ROOT.glob(pattern.replace("NAME", "*"))), pattern
        for command in re.findall(r"`([^`]+)`", commands):
            if command.startswith("make "):
                assert command.removeprefix("make ").replace("NAME", "%") in targets, command
            else:
                assert command.split("-m embedlens ")[1].split()[0] in main.commands, command


def test_documents_name_commands_modules_and_files_that_exist():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        for command in re.findall(r"python -m embedlens ([a-z]+)", text):
            assert command in main.commands, f"{name}: {command}"
        for path in re.findall(r"\(?`?\b((?:src|tests|book)/[\w./-]+\.(?:py|md|svg|png))\b", text):
            if "NAME" not in path:
                assert (ROOT / path).exists(), f"{name}: {path}"
