"""What is installed: bounds in pyproject.toml, one version of everything in requirements.lock, and its licences."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distribution, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import licences
from tests.harness import REPOSITORY, environment

DOCUMENT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS = DOCUMENT["project"]["optional-dependencies"]
DIRECT = [
    *DOCUMENT["project"]["dependencies"],
    *(line for extra in EXTRAS.values() for line in extra),
    *DOCUMENT["build-system"]["requires"],
]
LOCKED = {canonicalize_name(name): pinned for name, pinned in licences.locked().items()}


def wanted(requirement: Requirement) -> dict[str, list[Requirement]]:
    """All that the requirement brings with it here, by the package that asks for it."""
    found: dict[str, list[Requirement]] = {}
    waiting, seen = [requirement], set()
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            if (one.name, extra) in seen:
                continue
            seen.add((one.name, extra))
            needs = [Requirement(line) for line in requires(one.name) or ()]
            here = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
            found.setdefault(one.name, []).extend(here)
            waiting += here
    return found


@pytest.mark.parametrize("line", DIRECT)
def test_a_direct_dependency_has_bounds_and_the_lock_is_within(line: str) -> None:
    requirement = Requirement(line)
    signs = {part.operator for part in requirement.specifier}
    assert signs & {">=", "=="} and signs & {"<", "==", "~="}, f"{line}: a lower and an upper bound"
    assert requirement.url is None
    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)], prereleases=True)


def test_the_lock_has_everything_and_nothing_else() -> None:
    """Each package that any of them asks for on this machine, at a version that all of them take."""
    reached = {canonicalize_name(Requirement(line).name) for line in DIRECT}
    for line in DIRECT:
        for name, needs in wanted(Requirement(line)).items():
            for need in needs:
                pinned = LOCKED.get(canonicalize_name(need.name))
                assert pinned is not None, f"{name} asks for {need}, which requirements.lock does not pin"
                assert need.specifier.contains(pinned, prereleases=True), f"{name} asks for {need}, not {pinned}"
                reached.add(canonicalize_name(need.name))
    assert set(LOCKED) == reached


def test_the_lock_is_what_runs_here() -> None:
    for name, pinned in LOCKED.items():
        assert version(name).partition("+")[0] == pinned, name  # torch+cpu is torch


def test_the_lock_names_no_host() -> None:
    text = (REPOSITORY / "requirements.lock").read_text()
    assert not re.search(r"://|^-|^\s*--|@", text, re.MULTILINE)
    assert len(LOCKED) == len(licences.locked()) and list(licences.locked()) == sorted(licences.locked(), key=order)
    with pytest.raises(ValueError, match="pins nothing"):
        licences.locked(REPOSITORY / "pyproject.toml")


def order(name: str) -> str:
    return canonicalize_name(name)


@pytest.mark.parametrize("command", ["demo", "test"])
def test_both_commands_of_the_readme_install_from_the_lock(tmp_path: Path, command: str) -> None:
    assert f"make {command}" in (REPOSITORY / "README.md").read_text()
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "bbjspec/stages/converter.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    done = subprocess.run(
        ["make", "-n", command], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    installs = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert len(installs) == 2 and installs[0].endswith("pip install --quiet -r requirements.lock")
    assert installs[1].endswith("pip install --quiet --no-deps --editable .")
    assert done.stdout.index(installs[1]) < done.stdout.rindex(".venv/bin/")


def test_licences() -> None:
    page = licences.PAGE.read_text()
    assert page == licences.page(), "python -m tests.licences > docs/licences.md"
    listed = dict(re.findall(r"^\| ([\w.-]+) \| (\S+) \| .+ \|$", page.split("|---|---|---|")[1], re.MULTILINE))
    assert listed == licences.locked()
    assert not re.search(r"\| .*\b[AL]?GPL", page), "who uses bbjspec would have to know"
    assert set(licences.KNOWN) <= set(licences.locked())


def test_what_is_known_of_licences_is_so() -> None:
    for name, (licence, _) in licences.KNOWN.items():
        files = distribution(name).files or []
        if licence == "MIT":
            (text,) = (file for file in files if "LICENSE" in file.name.upper())
            assert text.read_text().startswith("MIT License")
        else:
            assert not [file for file in files if file.suffix == ".el"]
