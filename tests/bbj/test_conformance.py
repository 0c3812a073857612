"""The checker against programs whose verdict is known, and against the word lists."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from bbjspec.bbj.agreement import as_json, measure, recorded
from bbjspec.bbj.checker import check
from bbjspec.bbj.tables import bad_label, bad_variable

PROGRAMS = [json.loads(line) for line in Path(__file__).with_name("conformance.jsonl").read_text().splitlines()]


def test_valid_programs_are_accepted_and_invalid_ones_rejected_at_their_line() -> None:
    valid = [p for p in PROGRAMS if p["expect"] == "valid"]
    invalid = [p for p in PROGRAMS if p["expect"] != "valid"]
    refused = {p["id"]: [str(error) for error in check(p["code"])] for p in valid if check(p["code"])}
    accepted = [p["id"] for p in invalid if not check(p["code"])]
    assert len(refused) <= 0.01 * len(valid), refused
    assert len(accepted) <= 0.03 * len(invalid), accepted
    placed = [p for p in invalid if p.get("error_line") and check(p["code"])]
    missed = [p["id"] for p in placed if p["error_line"] not in {error.line for error in check(p["code"])}]
    assert len(missed) <= 0.05 * len(placed), missed


def test_words_are_judged_as_recorded() -> None:
    wrong = []
    rows = files("bbjspec.bbj").joinpath("data", "words.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for row in rows:
        word, role, verdict = row.split("\t")[:3]
        if role == "label":
            program = f"{word}: print 1\n"
        elif role.startswith("variable"):
            suffix = role.removeprefix("variable")
            name = word if word.endswith(suffix) else word + suffix
            program = f"{name} = {chr(34) * 2 if suffix == '$' else '1'}\n"
        else:
            continue
        if bool(check(program)) != (verdict == "rejected"):
            wrong.append((word, role, verdict))
    assert len(wrong) <= 0.01 * len(rows), wrong
    assert bad_variable("day") and not bad_variable("total") and not bad_label("declare")


def test_garbage_is_rejected() -> None:
    for text in ("def f(x):\n    return x\n", "SELECT * FROM t;", "<html>", "print(", "x == 1", "a += 1", "// no"):
        assert check(text), text


def test_the_recorded_agreement_is_what_is_measured() -> None:
    assert measure(PROGRAMS) == recorded(), f"write bbjspec/bbj/data/agreement.json: {as_json(measure(PROGRAMS))}"
