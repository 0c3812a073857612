"""The documentation names what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bbjspec.cli import app

ROOT = Path(__file__).parents[2]


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
