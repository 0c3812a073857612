"""`bbjspec check --suite`: what ships is sound, and every kind of flaw is found where it stands."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbjspec.bbj.compiler import Builtin, CompileError, Verdict
from bbjspec.cli import entry
from bbjspec.errors import StageFailed
from bbjspec.selftest import OTHERS, degenerate, self_test
from bbjspec.suite import load_prompts
from bbjspec.suites import project_suites

ROOT = Path(__file__).parents[2]
SYNTAX: dict[str, Any] = {
    "id": "t/len",
    "tier": "syntax",
    "category": "string-ops",
    "difficulty": "basic",
    "generation": "all",
    "input": "Read a word into word$ and print how many letters it has, with a label.",
    "reference": 'input "Word: ",word$\nletters = len(word$)\nprint "Letters: ",letters\n',
    "checks": {
        "require": [r"\blen\s*\(", r"\binput\b", r"\bprint\b"],
        "forbid": [],
        "min_statements": 3,
        "mode": "write",
    },
}
FACTUAL: dict[str, Any] = {
    **{name: value for name, value in SYNTAX.items() if name != "checks"},
    "id": "t/fact",
    "tier": "factual",
    "input": "Which function gives the length of a string?",
    "reference": "The function LEN.",
    "must": [r"\bLEN\b"],
    "must_not": [r"\bSIZE\b"],
    "scope": "whole",
    "max_chars": 60,
    "pass_examples": ["LEN", "Use LEN for it."],
    "fail_examples": ["SIZE gives it.", "COUNT"],
}


def row(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(base))
    for name, value in changes.items():
        (made["checks"] if name in made.get("checks", {}) else made)[name] = value
    return made


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def found(tmp_path: Path, *rows: dict[str, Any]) -> list[str]:
    path = write(tmp_path / "p.jsonl", *rows)
    report = self_test([path], Builtin(), {})
    return [str(finding).removeprefix(f"{tmp_path}/") for finding in report.findings]


@pytest.mark.parametrize("suite", project_suites(ROOT), ids=lambda suite: suite.name)
def test_what_ships_is_sound(suite: Any) -> None:
    report = self_test([ROOT / name for name in suite.files], Builtin(), {name: ROOT / name for name in suite.datasets})
    assert report.findings == ()
    assert report.answers > 15 * len([p for p in load_prompts([ROOT / n for n in suite.files]) if p.tier == "syntax"])


def test_the_suites_of_the_project_are_found() -> None:
    names = [suite.name for suite in project_suites(ROOT)]
    tiers = ("syntax", "factual", "general", "realistic")
    assert names == ["eval/prompts/starter/*.jsonl", ", ".join(f"eval/prompts/{tier}/*.jsonl" for tier in tiers)]
    assert all(suite.datasets == ("dataset/sample.jsonl",) for suite in project_suites(ROOT))


def test_there_are_enough_degenerate_answers_and_all_differ(tmp_path: Path) -> None:
    (prompt,) = load_prompts([write(tmp_path / "p.jsonl", SYNTAX)])
    answers = degenerate(prompt)
    assert len(answers) >= 20
    assert len(set(answers.values())) == len(answers)


def test_a_good_suite_is_sound(tmp_path: Path) -> None:
    asks = {"require": [r"n\s*=\s*7"], "min_statements": 2}
    other = row(SYNTAX, id="t/other", input="Show 7.", reference="n = 7\nprint n,n*2\n", **asks)
    assert found(tmp_path, SYNTAX, other, FACTUAL) == []


FLAWS: list[tuple[dict[str, Any], str]] = [
    (row(SYNTAX, reference="print ((("), "the reference does not pass: compile_error, line 1: print (((; mend the "),
    (row(SYNTAX, require=[r"\bpos\s*\("]), r"the reference does not pass: missing_construct '\\bpos\\s*\\('; mend "),
    (row(SYNTAX, forbid=[r"\blen\b"]), r"the reference does not pass: forbidden_construct '\\blen\\b'; mend "),
    (row(SYNTAX, min_statements=4), "the reference does not pass: too_few_statements; mend "),
    (row(SYNTAX, min_statements=4), "checks.min_statements is 4; write 3 or less"),
    (row(SYNTAX, require=[], min_statements=1), "half the reference passes: raise checks.min_statements, or add a pa"),
    (
        row(SYNTAX, input="Mend:\n```bbj\nx = 1\ny = 2\nz = 3\nprint x,y,z\n```", mode="fix", require=[],
            min_statements=2, reference="x = 1\ny = 2\nz = 4\nprint x,y,z\nprint z,y,x\n"),
        "half the reference passes",
    ),
    (row(FACTUAL, pass_examples=["LENGTH"]), "pass_examples[0] fails (missing_fact): widen must, or mend it"),
    (row(FACTUAL, reference="SIZE, no: LEN."), "the reference fails (wrong_fact): widen must, or mend it"),
    (row(FACTUAL, fail_examples=["It is LEN", "x"]), "fail_examples[0] passes: narrow must, or add to must_not what"),
    (row(FACTUAL, input="What is LEN?"), "the question passes: narrow must, or lower max_chars"),
    (row(FACTUAL, must=[r"\w"], fail_examples=["...", "!"]), "an answer that knows nothing passes: narrow must, or"),
]  # fmt: skip


@pytest.mark.parametrize(("flawed", "message"), FLAWS, ids=[message[:40] for _, message in FLAWS])
def test_a_flaw_is_found_at_its_line(tmp_path: Path, flawed: dict[str, Any], message: str) -> None:
    sound = row(FACTUAL, id="t/sound", reference="MOD", must=[r"\bMOD\b"], pass_examples=["MOD"])
    said = found(tmp_path, sound, flawed)
    assert any(line.startswith(f"p.jsonl:2: {flawed['id']}: {message}") for line in said), said
    assert not [line for line in said if not line.startswith("p.jsonl:2:")]


def test_items_that_take_each_others_answers(tmp_path: Path) -> None:
    loose = row(FACTUAL, id="t/loose", input="Which one cuts?", must=[r"\b(LEN|MID)\b"], reference="MID")
    assert found(tmp_path, FACTUAL, loose) == [
        "p.jsonl:1: t/fact: an answer to t/loose passes: narrow must",
        "p.jsonl:2: t/loose: an answer to t/fact passes: narrow must",
    ]
    strict = row(loose, pass_examples=["MID"], fail_examples=["POS", "LEFT"])
    assert found(tmp_path, FACTUAL, strict) == ["p.jsonl:2: t/loose: an answer to t/fact passes: narrow must"]


def test_references_that_pass_elsewhere_are_notes_until_they_are_many(tmp_path: Path) -> None:
    others = [
        row(SYNTAX, id=f"t/more{i}", input=f"More {i}.", reference=SYNTAX["reference"] + f"extra{i} = letters+{i}\n",
            require=[rf"\bextra{i}\b"], min_statements=4)
        for i in range(OTHERS + 1)
    ]  # fmt: skip
    few = self_test([write(tmp_path / "p.jsonl", SYNTAX, *others[:OTHERS])], Builtin(), {})
    assert (few.findings, few.notes) == ((), ("t/len: the references of t/more0, t/more1 pass too",))
    assert found(tmp_path, SYNTAX, *others) == [
        "p.jsonl:1: t/len: the references of t/more0, t/more1, t/more2 pass: add a pattern for what this prompt asks "
        "and they lack"
    ]


def test_a_dataset_that_gives_a_prompt_away(tmp_path: Path) -> None:
    prompts = write(tmp_path / "p.jsonl", SYNTAX)
    chat = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": SYNTAX["input"].upper()},
        {"role": "assistant", "content": "x"},
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("no row\n" + json.dumps({"id": "r7", "messages": chat}) + "\n")
    (finding,) = self_test([prompts], Builtin(), {"rows.jsonl": data}).findings
    assert str(finding).startswith(
        f"{prompts}:1: t/len: rows.jsonl:2 (r7) gives it away (same_question: 'read a word into word$ and print"
    )


def test_a_compiler_without_a_verdict_decides_nothing(tmp_path: Path) -> None:
    class Dead:
        name, version = "bbjcpl", "0"

        def compile(self, programs: Any) -> list[Verdict]:
            return [Verdict("infra_error", (CompileError(0, "", "no Java"),)) for _ in programs]

    with pytest.raises(StageFailed, match="bbjcpl gave no verdict: no Java; see to it and run again"):
        self_test([write(tmp_path / "p.jsonl", SYNTAX)], Dead(), {})


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """`bbjspec check …` in tmp_path: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["bbjspec", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    return run


def test_the_command(tmp_path: Path, said: Said) -> None:
    write(tmp_path / "good.jsonl", SYNTAX)
    write(tmp_path / "bad.jsonl", row(SYNTAX, id="t/b", min_statements=4), row(SYNTAX, id="t/c", tier="x"))
    code, out, err = said("--suite", "good.jsonl")
    assert (code, err) == (0, "")
    assert out.startswith("good.jsonl: 1 prompts, ") and out.endswith(" answers judged by builtin: sound\n")
    code, out, err = said("--suite", "bad.jsonl")
    assert (code, out) == (1, "")
    assert err.startswith("bad.jsonl:2: tier: 'x' is none of")
    assert said("--suite", "good.jsonl", "--compiler", "gcc")[::2] == (
        2,
        "bbjspec: --compiler gcc: write one of bbjcpl, builtin\n",
    )
    assert said("--suite", "good.jsonl", "--data", "none.jsonl")[::2] == (
        1,
        "none.jsonl: cannot be read: No such file or directory\n",
    )
    assert said("--suite")[0] == 2
    assert said("--compiler", "bbjcpl")[::2] == (
        2,
        "bbjspec: --data and --compiler belong to --suite: bbjspec check --suite --data FILE\n",
    )


def test_the_command_without_files_takes_the_suites_of_the_specs(tmp_path: Path, said: Said) -> None:
    for name in ("experiments", "dataset", "eval/prompts"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copytree(ROOT / "eval/prompts/starter", tmp_path / "eval/prompts/starter")
    shutil.copy(ROOT / "experiments/demo.yaml", tmp_path / "experiments/demo.yaml")
    (tmp_path / "experiments/bad.yaml").write_text("no: spec\n")
    shutil.copy(ROOT / "dataset/sample.jsonl", tmp_path / "dataset/sample.jsonl")
    code, out, err = said("--suite")
    assert (code, err) == (0, "")
    assert out.startswith("eval/prompts/starter/*.jsonl: 102 prompts, ")
    assert "held against dataset/sample.jsonl: sound" in out
