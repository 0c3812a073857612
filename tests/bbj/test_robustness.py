"""No text hangs the checker, exhausts its stack or makes it raise, and reports stay in proportion."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.bbj.checker import Diagnostic, check
from bbjspec.bbj.cpl import decoded, stderr_line

WORDS = (
    "if then else fi endif for to step next while wend repeat until switch case default swend goto gosub on return "
    "print read write record open close dim redim let rem class public private static method methodend classend "
    "interface interfaceend field extends implements use declare auto new cast def fnend fnx fnx$ data iolist table "
    "err= key= dom= iol= *next call enter throw select from where sortby limit mkeyed input format a a$ a! a% a@ #a "
    "#this! #super! x.y o!.m( pos( str( len( and or not ( ) [ ] , ; : :: . + - * / ^ = < > <= >= <> != ? ! @ @( ' 'CS' "
    '"s" " $00$ $ 1 1.5 .5 1e3 10 ::f::C null() bbjapi() \t \r \n \n: \n10 \nlbl: \0 \ufeff \u2028 ü ` { } # & | %'
).split(" ")


def sound(source: str) -> list[Diagnostic]:
    """The errors, after a look at each: it lies in the program and can be written."""
    found = check(source)
    lines = source.count("\n") + source.count("\r") + 1
    for error in found:
        assert 1 <= error.line <= lines and error.rule and error.message.endswith(".")
        assert "\n" not in stderr_line("f", error)
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60), st.sampled_from(["", " "]))
def test_any_soup_of_tokens_is_judged(words: list[str], between: str) -> None:
    sound(between.join(words))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_judged(data: bytes) -> None:
    sound(decoded(data))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    sound(text)


@pytest.mark.parametrize(
    ("source", "lines"),
    {
        "parentheses": ("print 1\na = " + "(" * 10_000 + "1" + ")" * 10_000, [2]),
        "brackets": ("a" + "[a" * 10_000 + "]" * 10_000 + " = 1", [1]),
        "calls": ("x! = " + "o!.m(" * 10_000 + ")" * 10_000, [1]),
        "chain": ("x! = o!" + ".m()" * 10_000, []),
        "signs": ("x = " + "-" * 100_000 + "1", []),
        "long line": ('print "' + "x" * 5_000_000 + '"', []),
        "long open string": ('print "' + "x" * 5_000_000, [1]),
        "long sum": ("x = 1" + "+1" * 100_000, []),
        "NUL": ("print 1\nprint \0\n", [2]),
        "only NUL": ("\0" * 100_000, [1]),
        "BOM": ("\ufeffprint 1\n", []),
        "Ctrl-Z": ("print 1\n\x1a", []),
        "CR only": ("print 1\rprint (\rprint 2\r", [2]),
        "CRLF": ("print 1\r\nprint (\r\n", [2]),
        "mixed ends": ("print 1\r\nprint (\rprint 2\n\rprint )\n", [2, 5]),
        "no end": ("print 1", []),
        "latin-1": ('rem \xfc\nprint "\xe4"\n', []),
        "many lines": ("print 1\n" * 100_000, []),
        "many classes": ("".join(f"class public C{i}\nclassend\n" for i in range(20_000)), []),
        "many open IFs": ("if a then\n" * 50_000, []),
        "IFs on one line": ("if a then " * 20_000 + "b=1", []),
        "colons": (":" * 100_000, [1]),
        "continuations": ("x = 1" + "\n:+1" * 50_000, []),
        "apostrophes": ("'" * 100_000, [1]),
        "dollars": ("x$ = " + "$0" * 50_000, [1]),
        "file names": ("x! = " + "::a" * 50_000, [1]),
        "number": ("x = " + "9" * 200_000, []),
        "line number": ("9" * 200_000 + " print 1", [1]),
    }.values(),
)
def test_awkward_programs(source: str, lines: list[int]) -> None:
    assert sorted({error.line for error in sound(source)}) == lines


def test_latin_1_and_utf_8_files_are_read() -> None:
    assert decoded('print "ü"'.encode("latin-1")) == decoded('print "ü"'.encode()) == 'print "ü"'


def test_a_report_stays_in_proportion() -> None:
    source = ";".join(f"goto label{i}" for i in range(10_000))
    assert sum(len(stderr_line("f", error)) for error in check(source)) < len(source)
