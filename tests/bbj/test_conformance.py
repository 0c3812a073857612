"""The checker against programs whose verdict is known, against the word lists, and against garbage."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from pathlib import Path

import pytest

from bbjspec.bbj.checker import check
from bbjspec.bbj.compiler import open_compiler
from bbjspec.bbj.cpl import main as cpl
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 1000,
        "(" * 10_000,
        "a = " + "(" * 10_000 + "1" + ")" * 10_000,
        "print " + "1+" * 200_000 + "1",
        'print "' + "x" * 2_000_000,
        "\ufeffprint 1\r\rprint 2\r",
        "if 1 then " * 5_000,
        "class " * 5_000,
        ":" * 100_000,
    ],
    ids=range(10),
)
def test_no_text_hangs_or_breaks_the_checker(text: str) -> None:
    began = time.monotonic()
    check(text)
    assert time.monotonic() - began < 20, "not linear"


def test_garbage_is_rejected() -> None:
    for text in ("def f(x):\n    return x\n", "SELECT * FROM t;", "<html>", "print(", "x == 1", "a += 1", "// no"):
        assert check(text), text


def test_the_command_line_is_that_of_bbjcpl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.bbj", tmp_path / "bad.bbj"
    good.write_text("print 1\n")
    bad.write_text("print 1\nx == 2\ngosub nowhere\n")
    assert cpl(["-N", str(good), str(bad)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"{bad}: error at line 20 (2): x == 2\n"
        f"{bad}: error: label nowhere used but not defined at line 30 (3): gosub nowhere\n"
    )
    assert cpl(["-N", str(tmp_path / "none.bbj")]) == 0


def test_the_driver_reads_bbjcpls_lines_from_a_process(tmp_path: Path) -> None:
    import sys

    command = f"{sys.executable} -m bbjspec.bbj.cpl"
    verdicts = open_compiler("bbjcpl", None, command).compile(["print 1\n", "x == 2\n", "gosub nowhere\n"])
    assert [verdict.verdict for verdict in verdicts] == ["valid", "compile_error", "compile_error"]
    assert verdicts[1].errors[0].line == 1 and verdicts[1].errors[0].source == "x == 2"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "exit status is 1"),
        ("exit 0", "canaries"),
        ("echo 'Picked up JAVA_TOOL_OPTIONS: -x' >&2", "not understood"),
        ("sleep 60", "ran past"),
        ("yes | head -c 50000000 >&2", "more than"),
    ],
)
def test_a_compiler_that_misbehaves_gives_no_verdict(tmp_path: Path, script: str, why: str) -> None:
    from bbjspec.bbj.compiler import Bbjcpl

    fake = tmp_path / "bbjcpl"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    compiler = Bbjcpl((str(fake),), "26.03", timeout=3)
    (verdict,) = compiler.compile(["print 1\n"])
    assert verdict.verdict == "infra_error" and why in verdict.errors[0].message
