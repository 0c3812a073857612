"""A review comes back as it was written, changes just what a person decided, and names every mistake by its place."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bbjspec.data.apply import apply
from bbjspec.data.audit import CHECKS, Judges, audit
from bbjspec.data.review import Entry, export, scalar, written
from bbjspec.data.reviewed import read_review
from bbjspec.data.rows import read_rows
from bbjspec.errors import BadInput
from tests.planted import Planted
from tests.unit.test_audit import chat, command, team, team_file  # noqa: F401  fixtures

RAW = chat("Write a program that says hello.", 'print "hello"\nend', tags=["a"])
SHORT = chat("Is the file closed in the end?", "Yes")
CLEAN = chat("What does the example of the day show?", "It shows how to print.")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(
    st.sampled_from(
        ["\n", " ", "\t", "a: b", "# x", "- y", "\r", "\x00", "\x85", "\u2028", "\ufeff", '"', "\\", "é", "😀"]
    ),
    max_size=8,
).map("".join)


@given(TEXT, TEXT, TEXT)
def test_every_text_comes_back(question: str, answer: str, identifier: str) -> None:
    entry = Entry(3, identifier, "0" * 16, (("no_code", answer),), question, answer, question)
    (found,) = YAML(typ="safe", pure=True).load("rows:\n" + written(entry))["rows"]
    assert (found["question"], found["answer"], found["suggested"]) == (question, answer, question)
    assert found["id"] == identifier and found["reasons"] == [{"no_code": answer}] and found["action"] == "keep"


def test_code_is_readable() -> None:
    assert scalar('print "a"\n\n  end', "  ") == '|-\n  print "a"\n\n    end'
    assert scalar("a\n", "  ") == "|\n  a" and scalar("a\n\n", "  ") == "|+\n  a\n"


class Desk:
    """A dataset, its review, and a person who edits it."""

    def __init__(self, folder: Path, *lines: bytes, name: str = "rows.jsonl") -> None:
        self.dataset, self.review, self.to = folder / name, folder / "review.yaml", folder / "clean.jsonl"
        data = b"".join(lines)
        self.dataset.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        self.count = export(audit(read_rows(self.dataset), Judges()), self.dataset, self.review, "rows.jsonl")

    def edit(self, old: str, new: str, count: int = 1) -> None:
        text = self.review.read_text(encoding="utf-8")
        assert old in text
        self.review.write_text(text.replace(old, new, count), encoding="utf-8")

    def decide(self, line: int, action: str) -> None:
        text = self.review.read_text(encoding="utf-8")
        text, found = re.subn(rf"(- line: {line}\n.*?  action: )\w+", rf"\g<1>{action}", text, count=1, flags=re.DOTALL)
        assert found
        self.review.write_text(text, encoding="utf-8")

    def apply(self) -> bytes:
        apply(read_review(self.review), self.dataset, self.to, "rows.jsonl")
        return self.to.read_bytes()

    def wrong(self) -> list[str]:
        with pytest.raises(BadInput) as error:
            self.apply()
        assert not self.to.exists() and not self.to.with_name("clean.jsonl.changes.json").exists()
        assert sorted(path.name for path in self.to.parent.iterdir()) == sorted((self.dataset.name, "review.yaml"))
        return [str(finding).replace(str(self.review), "review.yaml") for finding in error.value.findings]


def test_what_is_kept_stays_byte_for_byte(tmp_path: Path) -> None:
    odd = b'  {"extra" : [1.0, "\\u00e9"], ' + CLEAN.rstrip()[1:] + b"\r\n"
    desk = Desk(tmp_path, b"\xef\xbb\xbf" + RAW, b"\n", odd, SHORT.rstrip())
    assert desk.count == 2
    assert desk.apply() == desk.dataset.read_bytes() == desk.apply()
    record = json.loads((tmp_path / "clean.jsonl.changes.json").read_text())
    assert record["changes"] == [] and record["before"] == record["after"] and record["before"]["rows"] == 3


def test_mend_edit_and_drop(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RAW, CLEAN, SHORT, chat("May it be dropped by us?", "No"))
    desk.decide(1, "mend")
    desk.decide(3, "edit")
    desk.decide(4, "drop")
    desk.edit("    Yes", "    Yes, by END:\n\n    ```bbj\n    end\n    ```")
    desk.edit("reviewer: null", "reviewer: Jo")
    first, second, third = desk.apply().splitlines(keepends=True)
    assert second == CLEAN
    assert json.loads(first)["messages"][2]["content"] == '```bbj\nprint "hello"\nend\n```'
    assert json.loads(first)["tags"] == ["a"] and json.loads(first)["messages"][:2] == json.loads(RAW)["messages"][:2]
    assert json.loads(third)["messages"][2]["content"] == "Yes, by END:\n\n```bbj\nend\n```"
    record = json.loads((tmp_path / "clean.jsonl.changes.json").read_text())
    assert record["reviewer"] == "Jo" and (record["before"]["rows"], record["after"]["rows"]) == (4, 3)
    told = [(change["line"], change["action"], change["reasons"]) for change in record["changes"]]
    assert told == [
        (1, "mend", ["short_answer", "unfenced_code"]),
        (3, "edit", ["short_answer"]),
        (4, "drop", ["short_answer"]),
    ]
    assert [change["after"] is None for change in record["changes"]] == [False, False, True]


def test_bad_lines_are_dropped_or_replaced(tmp_path: Path) -> None:
    lines = (b"{broken\n", CLEAN, b"\xff\n", b'{"x": "' + b"y" * 9_000_000 + b'"}\n', chat(id="a"), chat(id="a"))
    desk = Desk(tmp_path, *lines)
    said = "a line that is no row can only be dropped, or edited in text"
    assert [line.split(": ", 2)[2] for line in desk.wrong()] == [
        said,
        said,
        "too long to be a row; it can only be dropped",
        said,
        said,
    ]
    desk.decide(1, "edit")
    desk.edit("    {broken", "    " + SHORT.decode().strip())
    for line in (3, 4, 6):
        desk.decide(line, "drop")
    assert desk.apply() == SHORT + CLEAN + chat(id="a")


def test_gzip_in_and_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RAW, CLEAN, name="rows.jsonl.gz")
    desk.decide(1, "drop")
    assert desk.apply() == CLEAN
    desk.to = tmp_path / "clean.jsonl.gz"
    assert gzip.decompress(desk.apply()) == CLEAN and desk.apply() == desk.apply()


def test_a_dataset_that_changed_since_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CLEAN, SHORT, RAW)
    desk.dataset.write_bytes(CLEAN + RAW)
    changed = "not the row that review.yaml was written for: it changed since; export the review again"
    assert desk.wrong() == [
        f"rows.jsonl:2: fingerprint: {changed}",
        "rows.jsonl:3: fingerprint: this line is gone; export the review again",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("action: keep", "action: delete", "15:11: rows.action: 'delete' is no action; write keep, mend, edit or drop"),
        ("action: keep", "action: edit", "15:11: rows.1.action: nothing was changed; write keep, or change "),
        ("action: keep", "action: mend", "15:11: rows.1.action: there is no suggested answer to mend with; write edit"),
        ("    Yes", "    Yes!", "15:11: rows.1.action: the answer was changed, and keep takes no change; write edit"),
        ("action: keep", "actoin: keep", "15:11: rows: no such field: actoin; there are line, id, fingerprint, "),
        ("line: 1\n", "line: one\n", "10:9: rows.line: the number of the dataset's line is meant"),
        ("  answer: |-\n    Yes", "  answer: [1]", "18:11: rows.answer: text is meant; write it after a |"),
        ("rows:\n", "row:\n", "1:1: rows: a list of rows is meant, as bbjspec audit --export writes it"),
        ("  action: keep", "  action: keep\n  action: drop", "16:3: rows: action stands here twice; each "),
        ("  question: |-", " question: |-", "16:2:"),
        ("dataset:", "\tdataset:", "7:1: a tab; YAML is indented with spaces"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_by_its_place(old: str, new: str, told: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, SHORT)
    desk.edit(old, new)
    assert desk.wrong()[0].startswith("review.yaml:" + told)


def test_more_mistakes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SHORT, SHORT.replace(b"Yes", b"No"))
    desk.edit("- line: 2", "- line: 1")
    assert "stands here twice" in desk.wrong()[0]
    desk.review.write_bytes(b"rows: \xff\n")
    assert desk.wrong() == ["review.yaml: not UTF-8 at byte 6; save the file as UTF-8"]
    desk.review.write_text("")
    assert desk.wrong()[0] == "review.yaml:1:1: fields and their values are meant"
    desk.review.write_text("rows:\n- 5\n")
    assert desk.wrong() == ["review.yaml:2:3: rows: fields and their values are meant"]


def test_the_team_s_dataset_is_clean_after_a_review(team: Planted, team_file: Path, tmp_path: Path) -> None:  # noqa: F811
    review, clean = tmp_path / "review.yaml", tmp_path / "clean.jsonl"
    done = command("audit", team_file, "--export", review)
    assert done.returncode == 0, done.stderr
    flagged = {line for lines in team.checks.values() for line in lines}
    assert f"{review}: {len(flagged):,} rows to keep, mend, edit or drop" in done.stdout
    mendable = {check.repair and name for name, check in CHECKS.items()}
    rest = {line for name, lines in team.checks.items() if name not in mendable for line in lines}
    decided = [
        re.sub("action: keep", "action: drop" if int(entry.split("\n")[0]) in rest else "action: mend", entry, count=1)
        for entry in review.read_text().split("- line: ")[1:]
    ]
    review.write_text(review.read_text().split("- line: ")[0] + "".join(f"- line: {entry}" for entry in decided))
    done = command("audit", team_file, "--apply", review, "--to", clean)
    assert done.returncode == 0, done.stderr
    assert f"{9922 - len(rest):,} of 9,922 rows, {len(flagged - rest):,} changed, {len(rest):,} dropped" in done.stdout
    second = json.loads(command("audit", clean, "--json").stdout)
    assert not any(entry["count"] for entry in second["checks"].values())


def test_the_command_never_overwrites_unasked(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RAW, CLEAN)
    desk.decide(1, "drop")
    done = command("audit", desk.dataset, "--export", desk.review)
    assert done.returncode == 2 and "exists, and may hold somebody's decisions" in done.stderr
    done = command("audit", desk.dataset, "--apply", desk.review, "--to", desk.dataset)
    assert done.returncode == 2 and "exists; name another file, or say --overwrite" in done.stderr
    assert desk.dataset.read_bytes() == RAW + CLEAN
    done = command("audit", desk.dataset, "--apply", desk.review, "--to", desk.dataset, "--overwrite")
    assert done.returncode == 0 and desk.dataset.read_bytes() == CLEAN
    done = command("audit", tmp_path / "gone", "--apply", desk.review, "--to", tmp_path / "x")
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}/gone: cannot be read: No such file or directory\n")
    done = command("audit", desk.dataset, "--apply", desk.review, "--to", tmp_path / "no/folder/x")
    assert done.returncode == 1 and "cannot be written: No such file or directory" in done.stderr
