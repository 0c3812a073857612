"""`snakemake --report`: cards, plots, provenance and times in one file, and nothing is run for it."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

from bbjspec.report import html
from tests.harness import clone, log_starts, run


def report(root: Path, *targets: str) -> str:
    """The report's text, as the README's command makes it."""
    done = run(root, "snakemake", "--cores", "2", *targets, "--report", "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Missing metadata" not in done.stderr
    return (root / "report.html").read_text()


def test_a_report_has_the_card_its_plots_and_the_times_of_all_stages(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(finished, root)  # with what Snakemake remembers
    before = log_starts(root)
    (root / "experiments/bad.yaml").write_text("no: good\n")
    text = report(root)
    for title in ("model card", "plot: loss", "provenance: how it was trained", "all experiments"):
        assert f'"{title}"' in text, title
    for kind in ("train", "generate", "score", "compare", "card", "publish"):
        assert f'"_stage_{kind}"' in text, kind
    card = (root / "build/report/v1.html").read_text()
    assert "<h1>v1</h1>" in card and "base_model" not in card, "without the metadata block"
    loss = base64.b64encode((root / "adapters/v1/loss.svg").read_bytes()).decode()
    assert f'<img src="data:image/svg+xml;base64,{loss}"' in card
    assert log_starts(root) == before
    assert "leaderboard.html" not in report(root, "v1"), "one experiment's report is about it alone"
    done = run(root, "bbjspec", "gc")
    assert "report" not in done.stdout, "pages are no leftovers"


def test_a_clone_has_a_report_of_what_is_published(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "origin", ignore=shutil.ignore_patterns(".snakemake"))
    root = clone(tmp_path / "origin", tmp_path / "clone")
    text = report(root)
    assert '"model card"' in text and "_stage_train" not in text, "what ran elsewhere has no times here"
    assert not list(root.glob("build/*/*/stage.log"))


def test_what_a_model_wrote_is_no_html(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    hostile = "---\nx: y\n---\n# T\n\n<script>alert(1)</script>\n\n![a](a.svg) ![b](../b.svg) ![c](http://c/c.svg)\n"
    hostile += "\n<details>\n<summary>All fields</summary>\n\nx <b>y\n\n</details>\n\n<details onclick=x>\n"
    made = html(hostile, "<t>", tmp_path)
    assert "<details>\n<summary>All fields</summary>" in made and "</details>" in made and "&lt;b&gt;y" in made
    assert "&lt;details onclick=x&gt;" in made
    assert "<script" not in made and "&lt;script&gt;" in made and "<title>&lt;t&gt;</title>" in made
    assert re.findall(r'src="([^"]{4})', made) == ["data", "../b", "http"], "files beside the card alone are read"
