"""The sheet says what is in the file, and says plainly what nobody wrote down."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bbjspec.cli import app
from bbjspec.data.datasheet import PARTS, TEMPLATE, About, datasheet, describe, read_about
from bbjspec.data.rows import load_rows
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, UsageError

ROOT = Path(__file__).parents[2]


def write(path: Path, rows: Iterable[tuple[str, str]], **fields: Any) -> Path:
    with path.open("a", encoding="utf-8") as stream:
        for question, answer in rows:
            chat = [("system", "s"), ("user", question), ("assistant", answer)]
            messages = [{"role": role, "content": content} for role, content in chat]
            stream.write(json.dumps({**fields, "messages": messages}) + "\n")
    return path


def sheet(file: Path, about: Path | None = None) -> str:
    return datasheet(file, ROOT / TEMPLATE, about)


def errors(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as error:
        read_about(file, "a.yaml")
    return str(error.value).splitlines()


def test_the_sheet_of_the_sample_is_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = CliRunner().invoke(app, ["datasheet", "dataset/sample.jsonl"])
    assert made.exit_code == 0
    assert made.output == (ROOT / "dataset/DATASHEET.md").read_text(encoding="utf-8"), (
        "bbjspec datasheet dataset/sample.jsonl > dataset/DATASHEET.md"
    )


def test_figures_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = [
        ("How do I print 1?", "```bbj\nprint 1\n```"),
        ("how do i  print 1?", "```bbj\nprint 1,\n```"),
        ("How is that?", "```bbj\nif\n```\n```sql\nx\n```"),
        ("How is that?", "```bbj\nif\n```\n```sql\nx\n```"),
        ("Why?", "x" * 10),
    ]
    assert describe(load_rows(write(tmp_path / "rows.jsonl", rows, tags=["a", "b"]), "rows")) == {
        "rows": 5,
        "with_code": 4,
        "programs": 4,
        "accepted": 2,
        "question": {"min": 4, "median": 12, "p90": 18, "max": 18},
        "answer": {"min": 10, "median": 19, "p90": 26, "max": 26},
        "system_prompts": 1,
        "repeated_questions": 4,
        "conflicting_answers": 2,
        "tags": 2,
    }


def test_starter_rows_are_counted_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [(f"q{n}", "aaaa") for n in range(3)], tags=["starter"], kind="tiny")
    write(file, [("q", "a" * 1234)], kind="code|tricky", topic="@EXPERIMENT@ <b>")
    text = sheet(file)
    assert "| | tagged `starter` | the others | all rows |\n|---|---|---|---|\n| rows | 3 | 1 | 4 |\n" in text
    assert "| characters of an answer: min, median, p90, max | 4, 4, 4, 4 | 1,234, 1,234, 1,234, 1,234 |" in text
    assert "Of the other rows:\n\n- kind: `code\\|tricky` 1\n- topic: `@ EXPERIMENT@ <b>` 1\n" in text
    assert "No row has a field generation or difficulty.\n" in text
    only = sheet(write(tmp_path / "only.jsonl", [("q", "a")], tags="starter"))
    assert "| | tagged `starter` | all rows |" in only and "Of all rows:" in only
    assert "| | all rows |" in sheet(write(tmp_path / "none.jsonl", [("q", "a")]))


def test_what_is_not_stated_is_said(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [("q", "a")])
    text = sheet(file)
    assert text.startswith("# Datasheet of rows.jsonl\n")
    assert f"`rows.jsonl`: 1 ChatML row, {file.stat().st_size} bytes, SHA-256 `{sha256_file(file)}`." in text
    assert "Not stated: sources (`sources`), method (`method`).\n" in text
    assert text.count("Not stated: ") == len(PARTS)
    (tmp_path / "rows.about.yaml").write_text(
        "title: Ours\nlicence: none\nlimits: [one, two]\nsources: |\n  a\n\n  b\n"
    )
    text = sheet(file)
    assert text.startswith("# Ours\n")
    assert "**Licence.** none\n\nNot stated: who maintains it, and how (`maintenance`), contact (`contact`).\n" in text
    assert "**Known limits.**\n\n- one\n- two\n" in text and "**Sources.** a\n\nb\n" in text
    zipped = tmp_path / "rows.jsonl.gz"
    zipped.write_bytes(gzip.compress(file.read_bytes()))
    assert sheet(zipped).startswith("# Ours\n")


def test_every_field_has_its_place() -> None:
    assert {name for names in PARTS.values() for name in names} | {"title"} == set(About.model_fields)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["a.yaml:1:1: empty; fields such as title, motivation, created_by, instances are meant"]),
        ("license: MIT\n", ["a.yaml:1:1: license: unknown field; did you mean licence?"]),
        ("source: x\n", ["a.yaml:1:1: source: unknown field; did you mean sources?"]),
        (
            "title: 3\nuses: [a, 3]\nlimits: ''\n",
            [
                "a.yaml:1:8: title: text is meant; put quotes around it",
                "a.yaml:2:7: uses: a text or a list of texts is meant, or no such field",
                "a.yaml:3:9: limits: a text or a list of texts is meant, or no such field",
            ],
        ),
        ("uses: [a\n", None),
    ],
)
def test_what_is_wrong_with_the_prose_is_said(tmp_path: Path, text: str, messages: list[str] | None) -> None:
    found = errors(tmp_path, text)
    if messages is None:
        assert found[0].startswith("a.yaml:2:1: expected ',' or ']'")
    else:
        assert found == messages


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "rows.jsonl", [("q", "a")])
    with pytest.raises(BadInput, match=r"gone\.yaml: no such file"):
        sheet(file, tmp_path / "gone.yaml")
    with pytest.raises(BadInput, match=r"gone\.jsonl: cannot be read: No such file or directory"):
        sheet(tmp_path / "gone.jsonl")
    with pytest.raises(BadInput, match=r"gone\.j2: cannot be read: No such file or directory"):
        datasheet(file, tmp_path / "gone.j2")
    (tmp_path / "bad.j2").write_text("# x\n{{ nothing }}\n")
    with pytest.raises(BadInput, match=r"bad\.j2:2: 'nothing' is undefined"):
        datasheet(file, tmp_path / "bad.j2")
    monkeypatch.chdir(tmp_path)
    assert isinstance(CliRunner().invoke(app, ["datasheet", "rows.jsonl"]).exception, UsageError)
