"""The audit finds what is planted, and nothing else; what the repairs and a review leave is clean."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bbjspec.bbj.compiler import Builtin, CompileError, Verdict
from bbjspec.data.audit import CHECKS, Judges, audit
from bbjspec.data.private import find, redact
from bbjspec.data.repair import REPAIRS, mend
from bbjspec.data.rows import BadLine, Row, parse_row, read_rows
from bbjspec.data.statistics import document
from bbjspec.errors import StageFailed
from bbjspec.suite import Prompt
from tests.planted import LONGEST, ROWS, WITH_CODE, Planted, planted

BUILTIN = Judges(Builtin())
ERRORS = [name for name, check in CHECKS.items() if check.severity == "error"]


def chat(
    question: str = "What does the example of the day show?", answer: str = "It shows how to print.", **rest: Any
) -> bytes:
    roles = zip(("system", "user", "assistant"), ("s", question, answer), strict=True)
    return json.dumps({"messages": [{"role": r, "content": c} for r, c in roles], **rest}).encode() + b"\n"


def checked(*lines: bytes, judges: Judges = BUILTIN) -> dict[str, Any]:
    """`audit.json` of these lines."""
    items: list[Row | BadLine] = [parse_row(line, number) for number, line in enumerate(lines, start=1)]
    return document(audit(items, judges), judges.max_length)


def flagged(*lines: bytes, judges: Judges = BUILTIN) -> dict[str, list[int]]:
    return {name: entry["lines"] for name, entry in checked(*lines, judges=judges)["checks"].items() if entry["lines"]}


@pytest.fixture(scope="module")
def team() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def team_file(team: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("team") / "dataset.jsonl"
    team.write(path)
    return path


@pytest.fixture(scope="module")
def first(team_file: Path) -> dict[str, Any]:
    return document(audit(read_rows(team_file), BUILTIN), None)


def test_exactly_what_is_planted_is_found(team: Planted, first: dict[str, Any]) -> None:
    assert first["rows"] == ROWS == 9922
    assert {name: entry["lines"] for name, entry in first["checks"].items()} == {
        name: team.checks.get(name, []) for name in CHECKS
    }
    counts = {name: len(lines) for name, lines in team.checks.items()}
    assert counts["duplicate_question"] == 766 and counts["literal_escape"] == 60
    assert all(entry["count"] == len(entry["lines"]) for entry in first["checks"].values())
    assert all(len(entry["examples"]) == min(5, entry["count"]) for entry in first["checks"].values())


def test_the_statistics_are_those_of_the_team(team: Planted, first: dict[str, Any]) -> None:
    told = first["statistics"]
    assert (told["answer_chars"]["min"], told["answer_chars"]["max"]) == (1, LONGEST)
    assert told["with_code"] == WITH_CODE and round(WITH_CODE / ROWS, 3) == 0.938
    assert told["duplicates"] == {"questions": 375, "rows": 766, "conflicting": 100}
    assert (told["system_prompts"]["number"], told["system_prompts"]["share"]) == (1, 1.0)
    assert told["repairs"] == {name: len(team.repairs[name]) for name in REPAIRS}
    assert sum(told["kind"].values()) == sum(told["topic"].values()) == ROWS
    assert told["inferred"] == {"kind": ROWS, "topic": ROWS}


def test_the_repairs_mend_exactly_those_rows_and_the_second_audit_is_clean_of_them(
    team: Planted, team_file: Path
) -> None:
    changed: dict[str, list[int]] = {name: [] for name in REPAIRS}

    def mended() -> Iterator[Row | BadLine]:
        for row in read_rows(team_file):
            assert isinstance(row, Row)
            answer, names = mend(row.answer, REPAIRS)
            for name in names:
                changed[name].append(row.line)
            yield parse_row(chat(row.question, answer), row.line)

    second = document(audit(mended(), Judges()), None)
    assert changed == {name: team.repairs[name] for name in REPAIRS}
    left = {name: entry["lines"] for name, entry in second["checks"].items() if entry["lines"]}
    mends = {name for name, check in CHECKS.items() if check.repair}
    assert left == {name: lines for name, lines in team.checks.items() if name not in mends | {"compile_error"}}
    assert not any(second["statistics"]["repairs"].values())


def test_without_a_judge_a_check_is_not_made_and_says_so() -> None:
    found = checked(chat(), judges=Judges())["checks"]
    assert [name for name in found if not found[name].get("checked", True)] == [
        "compile_error",
        "over_length",
        "contamination",
    ]
    assert list(found) == list(CHECKS)


def test_each_error() -> None:
    again = chat("Another question of some length?", id="a")
    assert flagged(b"{\n", b"{}\n", chat(" "), chat(id="a"), again) == {
        "json": [1],
        "roles": [2],
        "empty": [3],
        "duplicate_id": [5],
    }
    assert flagged(chat(), chat("Another question of some length?")) == {}


def test_lengths() -> None:
    assert flagged(chat(answer="x" * 19 + "  ")) == {"short_answer": [1]}
    assert flagged(chat(answer="x" * 20), chat("Why is it so?", answer="x" * 4000)) == {}
    assert flagged(chat(answer="x" * 4001)) == {"long_answer": [1]}
    assert flagged(chat("Why so???")) == {"short_question": [1]} and flagged(chat("Why so????")) == {}


def test_duplicates() -> None:
    same = flagged(
        chat("What is PRINT for here?", "It prints something."),
        chat("what  is print FOR here?", "it prints SOMETHING."),
    )
    assert same == {"duplicate_question": [1, 2]}
    differing = flagged(chat(answer="It prints something."), chat(answer="It prints nothing at all."))
    assert differing == {"duplicate_question": [1, 2], "conflicting_answer": [1, 2]}
    near = checked(chat("What does the PRINT verb do in BBj?"), chat("What does the PRINT verb do in BBx?"))["checks"]
    assert near["near_duplicate"]["lines"] == [1, 2]
    assert near["near_duplicate"]["examples"][0]["excerpt"] == "line 2: What does the PRINT verb do in BBx?"


def test_a_defect_that_a_repair_mends_is_counted_once() -> None:
    raw = chat("Write a program that prints two lines.", 'print "a"\\nprint "b"')
    assert flagged(raw) == {"literal_escape": [1], "unfenced_code": [1]}  # and neither no_code nor compile_error
    assert flagged(chat(answer="```bbj\n> print 1\n> print 2\n```")) == {"quoted_code": [1]}


def test_programs_that_do_not_compile() -> None:
    found = checked(chat(answer="Text.\n```bbj\nprint 1\na += 1\n```\n```BASIC\nprint (((\n```\n```java\nx(((\n```"))[
        "checks"
    ]
    assert found["compile_error"]["count"] == 1
    assert found["compile_error"]["examples"][0]["excerpt"].startswith("2: a begins no statement")


class Dead:
    """A compiler that gives no verdict."""

    name, version = "bbjcpl", "unknown"

    def compile(self, programs: list[str]) -> list[Verdict]:
        return [Verdict("infra_error", (CompileError(0, "", "no licence"),)) for _ in programs]


def test_no_verdict_is_no_finding() -> None:
    with pytest.raises(StageFailed, match="bbjcpl gave no verdict on the program of line 1: no licence"):
        checked(chat(answer="```bbj\nprint 1\n```"), judges=Judges(Dead()))  # type: ignore[arg-type]


class Words:
    """A tokenizer of words, with the face that `all_token_counts` asks for."""

    def apply_chat_template(self, chats: list[list[dict[str, str]]], **_: bool) -> list[str]:
        return [" ".join(message["content"] for message in chat) for chat in chats]

    def __call__(self, texts: list[str], **_: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [list(range(len(text.split()))) for text in texts]}


def test_token_lengths() -> None:
    judges = Judges(None, Words(), 20)
    found = checked(chat(answer="a b c d"), chat("Another question of some length?", "a " * 30), judges=judges)
    assert found["checks"]["over_length"]["lines"] == [2]
    assert found["checks"]["over_length"]["examples"][0]["excerpt"].startswith(
        "36 tokens, 16 over 20: Another question"
    )
    assert found["statistics"]["max_length"] == {"tokens_at_most": 20, "rows": 1, "tokens": 16, "share": 16 / 49}
    assert found["statistics"]["tokens"]["max"] == 36


def prompt(identifier: str, question: str, reference: str) -> Prompt:
    return Prompt(identifier, "syntax", "print", "basic", "all", question, reference)


def test_contamination_by_the_rule_of_the_stage() -> None:
    suite = [
        prompt("p1", "What does the example of the day show?", "print 1"),
        prompt("p2", "one two three four five six seven eight nine ten eleven", "print 2"),
        prompt("p3", "Something else.", 'print "a secret of the suite"\n'),
    ]
    rows = (
        chat(),
        chat("zero one two three four five six seven eight nine ten"),
        chat("An unlike question?", '```bbj\nPRINT  "a secret of the suite"\n```'),
        chat("Nothing of the kind at all?"),
    )
    found = checked(*rows, judges=Judges(prompts=suite))["checks"]["contamination"]
    assert found["lines"] == [1, 2, 3]
    assert [example["excerpt"].split(":")[:2] for example in found["examples"]] == [
        ["p1", " same question"],
        ["p2", " shared words"],
        ["p3", " same program"],
    ]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("use hf_" + "abcdefgh1234", ["a token or private key"]),
        ("-----BEGIN RSA PRIVATE " + "KEY-----", ["a token or private key"]),
        ('password$ = "hunter2x"', ["a password"]),
        ('"jdbc:x;user=a;password=hunter2x;"', ["a password"]),
        ("The password is hunter2x", ["a password"]),
        ("postgres://root:hunter2x@db", ["a password"]),
        ("Write to jane.doe@company.de", ["an e-mail address"]),
        ("Write to jane@example.com, a@b.example or c@d.test", []),
        ('secret$ = "mango"', []),
        ('password$ = "your_password1"', []),
        ("password$ = field1$ + field2$", []),
        ("What is a password?", []),
        ("use java@.util", []),
    ],
)
def test_private_things(text: str, kinds: list[str]) -> None:
    assert find(text) == kinds
    assert find(redact(text)) == [] and (redact(text) == text) == (not kinds)


@pytest.mark.parametrize("start", "hf_ sk- gho_ ghp_ ghs_ ghu_ ghr_ github_pat_ glpat- AKIA xoxb- xoxa- AIza".split())
def test_each_issuer_s_token(start: str) -> None:
    assert find(f"with {start}{'A1B2C3D4' * 4} in it") == ["a token or private key"]


def test_no_excerpt_repeats_a_secret() -> None:
    secret, address = "hf_" + "abcdefgh1234", "jane.doe@company.de"
    line = chat(f"{secret} {address}", f"{address}")
    told = json.dumps(checked(line, line))
    assert secret not in told and address not in told and "a token or private key in the question" in told


def command(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bbjspec", *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )


GOOD = chat()
TWICE = chat(id="a") + chat("Another question?", id="a")
NUMBER = GOOD.replace(b'"It shows how to print."', b"5")
LATIN = chat("O\u00f9 est-ce?").replace(b"\\u00f9", b"\xf9")
LONG = b'{"x": "' + b"y" * 100_000_000 + b'"}\n'
BROKEN = {
    "truncated": (GOOD + GOOD[:60], ":2:", "json: not JSON: Unterminated string"),
    "latin-1": (GOOD + LATIN + GOOD, ":2:", "json: not UTF-8 at byte"),
    "utf-16": ((GOOD * 2).decode().encode("utf-16"), ":1:1:", "json: UTF-16, not UTF-8; save the file as UTF-8"),
    "long": (GOOD + LONG + GOOD, ":2:", "json: 100,000,010 bytes long; at most 8,000,000 are a row"),
    "nul": (GOOD + b"\0\0\n" + GOOD, ":2:1:", "json: not JSON: Expecting value at byte 0; the line holds NUL bytes"),
    "ids": (TWICE, ":2:", "duplicate_id: 'a' stands in line 1 already; ids are unique"),
    "numbers": (GOOD + NUMBER, ":2:", "roles: the content of assistant must be text"),
    "surrogate": (GOOD + GOOD.replace(b"It shows", b"\\ud800"), ":2:", "json: half a surrogate pair"),
    "empty": (b"", "", "has no rows"),
    "blank": (b"\n \n", "", "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_is_told_with_file_and_line(case: str, tmp_path: Path) -> None:
    data, place, message = BROKEN[case]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data)
    done = command("audit", file)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{file}{place}") and message in line


def test_broken_files(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(GOOD * 3)[:-20])
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(GOOD)
    for file, told in {
        tmp_path / "gone.jsonl": "cannot be read: No such file or directory",
        tmp_path: "cannot be read: Is a directory",
        packed: "json: the gzip file ends in the middle: it was cut short",
        plain: "json: the gzip file is damaged: Not a gzipped file",
    }.items():
        done = command("audit", file)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert done.stderr.startswith(str(file)) and told in done.stderr


def test_a_bad_line_never_hides_the_next_and_what_is_good_is_audited(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + chat(answer="No") + b"{\n" + b"\xff\n" + GOOD[:30] + b"\n")
    done = command("audit", file, "--json")
    assert done.returncode == 1
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == ["2", "3", "4"]
    found = json.loads(done.stdout)
    assert found["checks"]["short_answer"]["lines"] == [1] and found["checks"]["json"]["lines"] == [2, 3, 4]


def test_the_command_on_good_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(GOOD + chat("Write a program that says hello.", 'print "hello"\nend')))
    done = command("audit", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{file}: 2 rows"
    assert 'unfenced_code  warning        1  2      print "hello"' in done.stdout
    assert "next: fence_code under data.repair in a spec mend 1 row" in done.stdout
    data = json.loads(command("audit", file, "--json").stdout)
    assert data["rows"] == 2 and data["compiler"] == {"name": "builtin", "version": Builtin().version}
    assert list(data["checks"]) == list(CHECKS)


def test_what_the_command_line_cannot_mean(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD)
    for arguments, told in {
        ("--max-length", "100"): "--max-length counts tokens: give --tokenizer DIR too, or --spec",
        ("--suite", "nowhere/*.jsonl"): "--suite: no such file: nowhere/*.jsonl",
        ("--tokenizer", "nowhere"): "--tokenizer: no such folder: nowhere",
        ("--compiler", "gcc"): "--compiler: there is no compiler gcc; write builtin or bbjcpl",
        ("--apply", "review.yaml"): "--apply REVIEW and --to FILE belong together",
    }.items():
        done = command("audit", file, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (2, f"bbjspec: {told}\n")


def test_with_a_spec_every_check_is_made() -> None:
    root = Path(__file__).parents[2]
    done = command("audit", "dataset/sample.jsonl", "--spec", "demo", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(entry.get("checked", True) for entry in found["checks"].values())
    assert found["statistics"]["max_length"]["tokens_at_most"] > 0
    assert not any(found["checks"][name]["count"] for name in (*ERRORS, "compile_error", "contamination", "no_code"))
