"""Programs as BBj programmers write them, and mistakes as models make them. Rows are as in conformance.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bbjspec.bbj.checker import check

PROGRAMS = [json.loads(line) for line in Path(__file__).with_name("programs.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("program", PROGRAMS, ids=[program["id"] for program in PROGRAMS])
def test_program(program: dict) -> None:
    found = [(error.line, error.rule, error.message) for error in check(program["code"])]
    if program["expect"] == "valid":
        assert not found
    else:
        assert program["error_line"] in [line for line, *_ in found], found
