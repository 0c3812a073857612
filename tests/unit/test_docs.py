"""The documentation names what there is."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
from snakemake.cli import get_argument_parser

from bbjspec import __version__
from bbjspec.cli import app
from bbjspec.spec.renamed import REFUSED
from benchmarks.picture import PICTURE, picture
from tests.doclines import PAGES, spans

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMING = {"card", "doctor", "leaderboard"} - set(COMMANDS)


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        assert re.search(rf"^    bbjspec {name}\b", readme, re.MULTILINE), name


def test_the_readme_quotes_the_measured_agreement() -> None:
    measured = json.loads((ROOT / "bbjspec/bbj/data/agreement.json").read_text(encoding="utf-8"))
    said = f"accepts all {measured['accepted']} valid ones and rejects all {measured['rejected']} invalid ones"
    assert said in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_link_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("dataset/*.md")]
    dead = []
    for page in pages:
        prose = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))  # BBj has brackets of its own
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if not target.startswith(("http", "#")) and not (page.parent / target.split("#")[0]).exists():
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []


def options_of(name: str) -> set[str]:
    """The options of a command; bbjcpl's command line is its own module's."""
    if name == "cpl":
        return set(re.findall(r"-{1,2}[A-Za-z]+", (ROOT / "bbjspec/bbj/cpl.py").read_text(encoding="utf-8")))
    return {option for parameter in COMMANDS[name].params for option in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_prose_names_is_there(page: Path) -> None:
    """Commands inside a sentence may leave something out; what they name must exist."""
    snakemake = set(get_argument_parser()._option_string_actions)
    for span in spans(page.read_text(encoding="utf-8")):
        for part in re.split(r" && | > ", span):
            program, *words = shlex.split(part)
            options = {word.strip("[]").split("=")[0] for word in words if word.strip("[").startswith("-")}
            if program == "bbjspec" and words[0].startswith("-"):
                assert set(words) <= {"--help", "--version", "--debug"}, span
            elif program == "bbjspec" and words[0] not in COMING:
                assert words[0] in COMMANDS and options <= options_of(words[0]), span
            elif program == "snakemake":
                assert options <= snakemake, span
            elif program == "make" and not options:
                assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), span
            elif program == "python" and words[0] == "-m":
                assert importlib.util.find_spec(words[1]), span
            elif program in ("python", "pytest"):
                script = (ROOT / words[0]).read_text(encoding="utf-8")
                assert all(f'"{option}"' in script for option in options), span


def test_the_extra_for_weights_and_biases_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["name"], "wandb" in project["optional-dependencies"]) == ("bbjspec", True)


def test_the_picture_is_the_example_card() -> None:
    drawn = PICTURE.read_text(encoding="utf-8")
    assert drawn == picture(), "python benchmarks/picture.py"
    assert set(re.findall(r"https?://[^\s\"]+", drawn)) == {"http://www.w3.org/2000/svg"}  # and nothing is fetched
    assert not re.search(r"@import|url\((?!#)|href", drawn)


def test_the_readme_has_every_exit_code() -> None:
    from bbjspec import errors

    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    said = set(re.findall(r"\b(\d+) [a-z]", ast.get_docstring(tree) or ""))
    table = re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert said == set(table) and len(said) == 7


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/guide.md"])
def test_every_file_that_is_listed_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:bbjspec|tests|rules|docs|experiments|templates|benchmarks)/[^` ]*)`", text):
        if path != "docs/TRAINING_GUIDE.md":  # what was asked for, by another name here
            assert list(ROOT.glob(re.sub(r"<[^>]*>", "*", path.rstrip("/")))), path


def test_the_guide_says_where_everything_is() -> None:
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    entries = [*(f"TS-{n}" for n in range(1, 7)), *(f"D-{n}" for n in range(1, 6)), *(f"AF-{n}" for n in range(1, 8))]
    assert re.findall(r"^\| ((?:TS|D|AF)-\d) ", guide, re.MULTILINE) == entries
    counts = {tier: sum(1 for file in (ROOT / f"eval/prompts/{tier}").glob("*.jsonl") for _ in file.open()) for tier in
              ("syntax", "factual", "general", "realistic")}  # fmt: skip
    assert "{syntax} syntax, {factual} factual, {general} general and {realistic} realistic".format(**counts) in guide


def test_the_guide_quotes_the_errors_of_what_is_not_done() -> None:
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| AF-\d [^|]*\| `(\w+)` \| ([^|]*) \|$", guide, re.MULTILINE)
    assert len(rows) == 7
    for field, quoted in rows:
        for words in re.findall(r"“([^”]*)”", quoted):
            assert words in REFUSED[field], field


def test_the_changelog_has_this_version() -> None:
    assert re.search(
        rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
