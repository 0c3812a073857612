"""What the compiler says of the code in answers."""

from __future__ import annotations

from collections.abc import Sequence

from bbjspec.bbj.compiler import CompileError, Compiler
from bbjspec.bbj.extract import blocks
from bbjspec.bbj.parallel import compile_all
from bbjspec.data.code import BBJ_TAGS, looks_like_bbj
from bbjspec.data.rows import Row
from bbjspec.errors import StageFailed


def programs_of(answer: str) -> list[str]:
    """The blocks that are BBj: tagged so, or untagged and looking so."""
    return [b.code for b in blocks(answer) if b.tag in BBJ_TAGS or (not b.tag and looks_like_bbj(b.code))]


def first_errors(programs: Sequence[tuple[Row, str]], compiler: Compiler) -> dict[int, CompileError]:
    """The first error of each row that has a program which does not compile, by the row's line.

    Raises StageFailed when the compiler gives no verdict.
    """
    found: dict[int, CompileError] = {}
    for (row, _), verdict in zip(programs, compile_all(compiler, [code for _, code in programs]), strict=True):
        if verdict.verdict == "infra_error":
            why = verdict.errors[0].message if verdict.errors else "no reason given"
            raise StageFailed(f"{compiler.name} gave no verdict on the program of line {row.line}: {why}; run it again")
        if verdict.verdict == "compile_error":
            found.setdefault(row.line, verdict.errors[0])
    return found
