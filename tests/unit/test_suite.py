"""The suite: reading it, what is said about bad files, and that every prompt which ships is a fair one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bbjspec.bbj.compiler import Builtin
from bbjspec.bbj.extract import blocks
from bbjspec.bbj.parallel import usable_cpus
from bbjspec.data.leakage import leaks
from bbjspec.data.rows import load_rows
from bbjspec.errors import BadInput
from bbjspec.sandbox import Program, run_many
from bbjspec.stages.programs import statements
from bbjspec.stages.verdicts import Judged, Sample, judge_answer, judge_program, solution_of
from bbjspec.suite import MAX_LINE, VIEWS, Prompt, load_prompts, suite_hash, view_bytes
from bbjspec.suitefields import TIERS

ROOT = Path(__file__).parents[2]
FILES = sorted(path for tier in (*TIERS, "starter") for path in ROOT.glob(f"eval/prompts/{tier}/*.jsonl"))
SHIPPED = load_prompts(FILES)
SYNTAX = [prompt for prompt in SHIPPED if prompt.checks is not None]
FACTUAL = [prompt for prompt in SHIPPED if prompt.tier == "factual"]
GENERAL = [prompt for prompt in SHIPPED if prompt.tier == "general"]
REALISTIC = [prompt for prompt in SHIPPED if prompt.tier == "realistic"]

SYNTAX_ROW: dict[str, Any] = {
    "id": "t/1",
    "tier": "syntax",
    "category": "string-ops",
    "difficulty": "basic",
    "generation": "all",
    "input": "Print the length of a word.",
    "reference": 'word$ = "tea"\nprint len(word$)\n',
    "checks": {"require": ["\\blen\\b"], "forbid": [], "min_statements": 2, "mode": "write"},
}
FACTUAL_ROW: dict[str, Any] = {
    **{name: value for name, value in SYNTAX_ROW.items() if name != "checks"},
    "tier": "factual",
    "reference": "LEN",
    "must": ["\\bLEN\\b"],
    "must_not": [],
    "scope": "whole",
    "max_chars": 100,
    "pass_examples": ["LEN"],
    "fail_examples": ["SIZE", "COUNT"],
}
GENERAL_ROW: dict[str, Any] = {
    **{name: value for name, value in SYNTAX_ROW.items() if name != "checks"},
    "tier": "general",
    "reference": "def double(x):\n    return 2 * x\n",
    "entry": "double",
    "tests": "assert double(2) == 4",
    "fail_examples": ["def double(x): return x", "def double(x): return 4 * x"],
}
REALISTIC_ROW: dict[str, Any] = {
    **{name: value for name, value in SYNTAX_ROW.items() if name != "checks"},
    "tier": "realistic",
    "notes": "Is it short?",
}


def changed(row: dict[str, Any], **changes: Any) -> str:
    """A line of JSONL: the row with fields changed, `checks__mode` for one inside checks, None to leave one out."""
    row = json.loads(json.dumps(row))
    for name, value in changes.items():
        holder, field = (row["checks"], name.removeprefix("checks__")) if name.startswith("checks__") else (row, name)
        if value is None:
            del holder[field]
        else:
            holder[field] = value
    return json.dumps(row)


def errors_of(*paths: Path) -> list[str]:
    """The findings of loading, without the folder."""
    with pytest.raises(BadInput) as caught:
        load_prompts(paths)
    return [str(finding).replace(f"{paths[0].parent}/", "") for finding in caught.value.findings]


ASSERTS_NOTHING = "1: tests: asserts nothing; write assertions, such as 'assert add(1, 2) == 3'"

# One line of a file, and what is said about it.
BAD_LINES: list[tuple[str | bytes, str]] = [
    ('{"id": "t/1",', "1:14: not JSON: Expecting property name enclosed in double quotes"),
    ("not json", "1:1: not JSON: Expecting value"),
    ("{'id': 1}", "1:2: not JSON: Expecting property name enclosed in double quotes"),
    ('{"id": "a", "id": "b"}', "1: not JSON as meant here: 'id' is given twice"),
    ("[" * 200_000, "1: not JSON as meant here: nested too deeply"),
    ("\ufeff{}", "1:1: not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig)"),
    (b'{"id": "caf\xe9"}', "1:12: not UTF-8; save the file as UTF-8"),
    (b'{"id": "a\0b"}', "1:10: not JSON: Invalid control character at"),
    (b"\0\0\0", "1:1: not JSON: Expecting value"),
    ("x" * (MAX_LINE + 1), "1: longer than 1,000,000 bytes"),
    ("[1, 2]", "1: an object is meant, not a list"),
    ("null", "1: an object is meant, not null"),
    (changed(SYNTAX_ROW, id=None), "1: id: missing"),
    (changed(SYNTAX_ROW, id=7), "1: id: text is meant, not a number"),
    (changed(SYNTAX_ROW, id="  "), "1: id: is empty; write some text"),
    (
        changed(SYNTAX_ROW, id="BBj GUI"),
        "1: id: 'BBj GUI' is no id; write small letters, digits and / . _ - between, such as 'bbj/gui/001'",
    ),
    (
        changed(SYNTAX_ROW, tier="sintax"),
        "1: tier: 'sintax' is none of syntax, factual, general, realistic; did you mean 'syntax'?",
    ),
    (changed(SYNTAX_ROW, tier=["syntax"]), "1: tier: a list is none of syntax, factual, general, realistic"),
    (
        changed(SYNTAX_ROW, difficulty="Basic"),
        "1: difficulty: 'Basic' is none of basic, intermediate, advanced; did you mean 'basic'?",
    ),
    (
        changed(SYNTAX_ROW, generation="web"),
        "1: generation: 'web' is none of all, character, vpro5, bbj-gui, dwc",
    ),
    (
        changed(SYNTAX_ROW, checks__mode="repair"),
        "1: checks.mode: 'repair' is none of write, fix, complete",
    ),
    (changed(SYNTAX_ROW, input=5), "1: input: text is meant, not a number"),
    (changed(SYNTAX_ROW, input="a\0b"), "1: input: holds a NUL or half a surrogate pair; take it out"),
    (changed(SYNTAX_ROW, input="\ud800"), "1: input: holds a NUL or half a surrogate pair; take it out"),
    (changed(SYNTAX_ROW, inptu="x"), "1: inptu: unknown field; did you mean 'input'?"),
    (changed(SYNTAX_ROW, colour="red"), "1: colour: unknown field"),
    (changed(SYNTAX_ROW, require=["x"]), "1: require: unknown field; it belongs in checks"),
    (
        changed(SYNTAX_ROW, must=["x"]),
        "1: must: unknown field; it belongs to a factual prompt, a syntax prompt has checks",
    ),
    (changed(SYNTAX_ROW, checks=None), "1: checks: missing"),
    (changed(SYNTAX_ROW, checks="none"), "1: checks: an object is meant, not text"),
    (
        changed(SYNTAX_ROW, checks__input="x"),
        "1: checks.input: unknown field; it belongs to the prompt itself, not in checks",
    ),
    (changed(SYNTAX_ROW, checks__requires=[]), "1: checks.requires: unknown field; did you mean 'require'?"),
    (changed(SYNTAX_ROW, checks__require="len"), "1: checks.require: a list is meant, not text"),
    (changed(SYNTAX_ROW, checks__require=["a", 3]), "1: checks.require[1]: text is meant, not a number"),
    (
        changed(SYNTAX_ROW, checks__forbid=["len("]),
        "1: checks.forbid[0]: 'len(' is no regular expression: missing ), unterminated subpattern at position 3",
    ),
    (
        changed(SYNTAX_ROW, checks__min_statements="2"),
        "1: checks.min_statements: a whole number is meant, not text",
    ),
    (
        changed(SYNTAX_ROW, checks__min_statements=True),
        "1: checks.min_statements: a whole number is meant, not true or false",
    ),
    (changed(SYNTAX_ROW, checks__min_statements=0), "1: checks.min_statements: 0 is too small; write 1 or more"),
    (changed(FACTUAL_ROW, require=["x"]), "1: require: unknown field; a factual prompt is judged by must and must_not"),
    (changed(FACTUAL_ROW, checks={}), "1: checks: unknown field; a factual prompt is judged by must and must_not"),
    (changed(FACTUAL_ROW, scope="all"), "1: scope: 'all' is none of first_sentence, whole"),
    (changed(FACTUAL_ROW, must=[]), "1: must: 0 given; at least 1 needed"),
    (changed(FACTUAL_ROW, fail_examples=["SIZE"]), "1: fail_examples: 1 given; at least 2 needed"),
    (changed(FACTUAL_ROW, max_chars=2.5), "1: max_chars: a whole number is meant, not a number"),
    (
        changed(FACTUAL_ROW, tests="assert 1"),
        "1: tests: unknown field; it belongs to a general prompt, a factual prompt has must and must_not",
    ),
    (changed(GENERAL_ROW, checks={}), "1: checks: unknown field; a general prompt is judged by its tests"),
    (changed(GENERAL_ROW, generation="dwc"), "1: generation: 'dwc' is none of all"),
    (changed(GENERAL_ROW, entry="2x"), "1: entry: '2x' is no name of a Python function"),
    (changed(GENERAL_ROW, tests="double(2)"), ASSERTS_NOTHING),
    (changed(GENERAL_ROW, tests="assert ("), "1: tests: no Python: '(' was never closed (<unknown>, line 1)"),
    (changed(GENERAL_ROW, reference="def"), "1: reference: no Python: invalid syntax (<unknown>, line 1)"),
    (changed(GENERAL_ROW, fail_examples=["x = 1"]), "1: fail_examples: 1 given; at least 2 needed"),
    (changed(REALISTIC_ROW, checks={}), "1: checks: unknown field; a realistic prompt is judged by people"),
    (changed(REALISTIC_ROW, notes=None), "1: notes: missing"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[f"line{index}" for index in range(len(BAD_LINES))])
def test_a_bad_line_is_told_by_its_place_and_what_to_write(tmp_path: Path, line: str | bytes, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(line if isinstance(line, bytes) else line.encode("utf-8"))
    assert errors_of(path) == [f"p.jsonl:{message}"]


def empty_file(path: Path) -> None:
    path.write_bytes(b"\n  \n")


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "p.jsonl: no such file"),
        (Path.mkdir, "p.jsonl: not a file"),
        (Path.touch, "p.jsonl: empty; one JSON object a line is expected"),
        (empty_file, "p.jsonl: empty; one JSON object a line is expected"),
    ],
)
def test_a_path_that_holds_no_prompts(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "p.jsonl")
    assert errors_of(tmp_path / "p.jsonl") == [message]


def test_all_errors_of_all_files_come_together_and_ids_are_unique_across_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text(changed(SYNTAX_ROW) + "\n\n" + changed(FACTUAL_ROW, id="t/2", scope="x", must=None) + "\n")
    two.write_text(changed(FACTUAL_ROW) + "\n{\n")
    assert errors_of(one, two) == [
        "one.jsonl:3: must: missing",
        "one.jsonl:3: scope: 'x' is none of first_sentence, whole",
        "two.jsonl:1: id: 't/1' is taken by one.jsonl:1; ids are unique across all files",
        "two.jsonl:2:2: not JSON: Expecting property name enclosed in double quotes",
    ]


def test_order_of_files_and_rows_does_not_matter(tmp_path: Path) -> None:
    lines = [changed(SYNTAX_ROW, id=f"t/{number}") for number in range(4)]
    one, two, three = (tmp_path / f"{name}.jsonl" for name in ("one", "two", "three"))
    one.write_text("\n".join(lines[:2]))
    two.write_text("\r\n".join(lines[2:]))
    three.write_text("\n\n".join(reversed(lines)) + "\n")
    assert load_prompts([one, two]) == load_prompts([two, one]) == load_prompts([three])
    assert suite_hash(load_prompts([three])) == suite_hash(reversed(load_prompts([three])))


def test_each_view_changes_with_what_its_stage_sees_and_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(changed(SYNTAX_ROW) + "\n" + changed(FACTUAL_ROW, id="t/2"))
    syntax, factual = load_prompts([tmp_path / "p.jsonl"])
    assert syntax.checks is not None
    seen: dict[str, set[str]] = {
        "id": {"input", "checks", "leakage"},
        "tier": {"input", "checks"},
        "input": {"input", "checks", "leakage"},
        "reference": {"checks", "leakage"},
    }
    for field in fields(factual):
        change: dict[str, Any] = {field.name: syntax.checks if field.name == "checks" else "changed"}
        other = replace(factual, **change)
        differ = {v for v in VIEWS if view_bytes([other], v) != view_bytes([factual], v)}
        assert differ == seen.get(field.name, {"checks"}), field.name
    other = replace(syntax, checks=replace(syntax.checks, min_statements=1))
    assert view_bytes([other], "input") == view_bytes([syntax], "input")
    assert suite_hash([other]) != suite_hash([syntax])
    assert view_bytes([syntax], "input") == b'[{"id":"t/1","input":"Print the length of a word.","tier":"syntax"}]'
    assert suite_hash([syntax]) == hashlib.sha256(view_bytes([syntax], "checks")).hexdigest()
    with pytest.raises(ValueError, match="unknown view 'all'; there are input, checks, leakage"):
        view_bytes([syntax], "all")


def test_reading_a_suite_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'scipy', 'pydantic', 'bbjspec.bbj'}"
    program = f"import sys, bbjspec.suite; print(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")


# What ships.


def test_there_are_prompts_of_every_kind() -> None:
    own = [prompt for prompt in SHIPPED if f"{prompt.category}.jsonl" in {path.name for path in FILES}]
    assert {p.generation for p in own} == {"all", "character", "vpro5", "bbj-gui", "dwc"}
    assert {p.difficulty for p in own} == {"basic", "intermediate", "advanced"}
    assert {p.checks.mode for p in own if p.checks} == {"write", "fix", "complete"}
    assert len({p.input for p in SHIPPED}) == len({p.reference for p in SHIPPED}) == len(SHIPPED)


@pytest.mark.parametrize("prompt", SYNTAX, ids=lambda prompt: prompt.id)
def test_a_reference_compiles_and_passes_strictly(prompt: Prompt) -> None:
    found = judged(prompt, f"```bbj\n{prompt.reference.rstrip()}\n```\n")
    assert found.verdict is not None
    assert [str(error) for error in found.verdict.errors] == []
    assert (found.outcome, found.checks["missing"], found.checks["forbidden"]) == ("pass", [], [])
    assert prompt.checks is not None
    assert prompt.checks.min_statements <= max(2, 0.6 * found.checks["statements"])
    assert found.checks["containment"] < 0.6, "nearly all of the reference stands in the prompt"


@pytest.mark.parametrize("prompt", SYNTAX, ids=lambda prompt: prompt.id)
def test_a_prompt_and_half_a_reference_do_not_pass(prompt: Prompt) -> None:
    half = prompt.reference[: len(prompt.reference) // 3]
    assert judged(prompt, prompt.input).outcome != "pass"
    assert judged(prompt, half).outcome != "pass"
    assert judged(prompt, f"print {json.dumps(prompt.category)}\n" * 20).outcome != "pass"


def test_no_program_answers_two_prompts() -> None:
    programs = [tuple(statements(prompt.reference)) for prompt in SYNTAX]
    assert len(set(programs)) == len(programs)


@pytest.mark.parametrize("prompt", FACTUAL, ids=lambda prompt: prompt.id)
def test_patterns_accept_their_own_answers_and_no_other(prompt: Prompt) -> None:
    own = (prompt.reference, *prompt.pass_examples)
    assert [answer for answer in own if answered(prompt, answer) != "pass"] == []
    assert [answer for answer in (*prompt.fail_examples, prompt.input, "") if answered(prompt, answer) == "pass"] == []
    suite = prompt.id.split("/")[0]  # the starter suite is one of its own and may ask the same
    rest = [other for other in FACTUAL if other is not prompt and other.id.split("/")[0] == suite]
    others = [(other.id, answer) for other in rest for answer in (other.reference, *other.pass_examples)]
    lenient = replace(prompt, must_not=(), max_chars=None)  # `must` alone has to tell them apart
    assert [(identifier, answer) for identifier, answer in others if answered(lenient, answer) == "pass"] == []


def test_what_python_must_hold() -> None:
    """References pass, wrong variants and degenerate answers do not, nor does another task's reference."""
    programs, passing = [], []
    for at, prompt in enumerate(GENERAL):
        other = GENERAL[at - 1]
        stub = f"def {prompt.entry}(*arguments, **options):\n    "
        renamed = other.reference.replace(str(other.entry), str(prompt.entry))
        bad = [
            *prompt.fail_examples,
            renamed,
            f"{stub}return None",
            f"{stub}return arguments[0]",
            f"{stub}raise ValueError",
        ]
        bad += [prompt.input, f"# {prompt.input}", f"{stub}pass\nraise SystemExit(0)", "print('passed')"]
        for source in (prompt.reference, *bad):
            programs.append(Program(source, str(prompt.tests), str(prompt.entry)))
            passing.append((prompt.id, source, source == prompt.reference))
    outcomes = run_many(programs, processes=usable_cpus())
    assert [p[:2] for p, o in zip(passing, outcomes, strict=True) if (o.kind == "passed") != p[2]] == []


def test_general_and_realistic_prompts_are_enough() -> None:
    assert len(GENERAL) >= 40 and len({p.category for p in GENERAL}) >= 10
    assert all(str(prompt.tests).count("assert") >= 4 and str(prompt.entry) in prompt.input for prompt in GENERAL)
    assert len(REALISTIC) >= 20
    assert {p.generation for p in REALISTIC} == {"all", "character", "vpro5", "bbj-gui", "dwc"}
    assert leaks([*GENERAL, *REALISTIC], load_rows(ROOT / "dataset/sample.jsonl", "sample.jsonl")) == []


@pytest.mark.parametrize("prompt", REALISTIC, ids=lambda prompt: prompt.id)
def test_the_sketch_of_a_good_answer_compiles(prompt: Prompt) -> None:
    (program,) = blocks(prompt.reference)
    assert (program.tag, Builtin().compile([program.code])[0].errors) == ("bbj", ())


def judged(prompt: Prompt, completion: str) -> Judged:
    sample = Sample(prompt, 0, completion, "stop")
    program = solution_of(sample)
    return judge_program(sample, program, Builtin().compile([program.code])[0] if program.code.strip() else None)


def answered(prompt: Prompt, answer: str) -> str:
    return judge_answer(Sample(prompt, 0, answer, "stop")).outcome
