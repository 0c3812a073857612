"""Code is told from English, line by line and in the middle of prose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbjspec.bbj.extract import blocks, extract, split_lines
from bbjspec.data.code import LIKELY, SURE, bbj_signals, code_runs, has_code, level, looks_like_bbj, raw_runs
from bbjspec.data.kinds import KINDS, asks_for_code, inferred_kind, inferred_topic

CODE = """\
PRINT "Hello"
rem x
REM This is a program
a=5
10 LET A=5
10 PRINT X
20 END
x! = BBjAPI().getSysGui()
IF a=5 THEN
if ready then
ENDIF
for i=1 to 10
gosub calc
print a$
PRINT (ch)a$
open (ch,err=bad)"customer"
class public Foo
method public void run(BBjString a$)
methodend
field private BBjNumber count
use java.util.HashMap
declare BBjVector v!
v!.addItem("x")
#value! = x!
a$ = b$ & c$
PRINT "unclosed
dim a[10]
read record (ch,end=*next) r$
name$="x"; rem set it
print 'CS'
def fnsquare(x)=x*x"""

PROSE = """\
Read the docs.
Next, call it.
Run it
Input required
Yes
10)
Stop
Return
Note: stop
Example:
Print item(s)
print-out
Use java.util.HashMap for maps.
PRINT "x" writes x.
REM starts a comment.
REM is for comments
Call support
If valid then continue
For example
Here is the code:
1. Print "Hello"
- print "x"
> print "x"
Use x! = BBjAPI() to get the API.
The value a=5 is set.
Open a file with `open`.
The method foo!.bar() returns 5.
Set a$ = "x" and print it.
use the verb
Let x = 5 be the value.
Hello World"""


@pytest.mark.parametrize("line", CODE.splitlines())
def test_code_is_code(line: str) -> None:
    assert level(line) == SURE
    assert code_runs([line]) == [(0, 1)]


@pytest.mark.parametrize("line", PROSE.splitlines())
def test_english_is_not(line: str) -> None:
    assert level(line) < SURE
    assert code_runs([line]) == []


def runs(text: str) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(lines[start:end]) for start, end in raw_runs(text)]


def test_code_is_found_amid_prose() -> None:
    assert runs('Do this:\nprint "a"\nprint x\nend\nThat is all.') == ['print "a"\nprint x\nend']
    assert runs("Example:\na = 5\nOutput:\n5") == ["a = 5"]
    assert runs('gosub show\nend\n\nshow:\nprint "x"\nreturn') == ['gosub show\nend\n\nshow:\nprint "x"\nreturn']
    assert runs('print "a",\n:"b"\n\nThen read the docs.') == ['print "a",\n:"b"']
    assert runs("a = 1\na += 1\nprint a") == ["a = 1\na += 1\nprint a"]  # what is wrong amid code is code
    assert runs('First.\n\nx$ = "1"\n\nSecond.\n\ny$ = "2"') == ['x$ = "1"', 'y$ = "2"']
    assert runs("Yes\nStop\nInput required") == []


def test_beside_a_fence_one_line_is_a_mention() -> None:
    assert runs("```bbj\nprint 1\n```\nx$ = y$") == []
    assert runs("```bbj\nprint 1\n```\nx$ = y$\nprint x$") == ["x$ = y$\nprint x$"]


@pytest.mark.parametrize(
    ("code", "bbj"),
    [
        ("print x\n", True),
        ("a = 5\nb = a +* 2\nprint b\n", True),
        ("Hello World\n", False),
        ("Input required\n", False),
        ("Total: 5\n1\n2\n", False),
        ("int x = 5;\nfor (int i = 0; i < 5; i++) {\n}\n", False),
        ("def f(x):\n    return x\n", False),
        ("SELECT name FROM customer\n", False),
        ("<div>x</div>\n", False),
        ("$ bbj program.bbj\n", False),
        ("", False),
    ],
)
def test_what_a_fence_holds(code: str, bbj: bool) -> None:
    assert looks_like_bbj(code) is bbj


def test_an_answer_with_code_has_a_fence_with_something_in_it() -> None:
    assert has_code("```bbj\nprint 1\n```") and has_code("~~~\nx") and has_code("```java\nint x;\n```")
    assert not has_code("print 1") and not has_code("```text\noutput\n```") and not has_code("```bbj\n\n```")


@given(st.lists(st.sampled_from(["```", "~~~~", "``` bbj x", "  ~~~", "a", "", " ", "`"]), max_size=12), st.booleans())
def test_a_block_knows_its_place(parts: list[str], crlf: bool) -> None:
    text = ("\r\n" if crlf else "\n").join(parts)
    lines = split_lines(text)[0]
    found = blocks(text)
    assert len(found) == extract(text).n_blocks
    for block in found:
        inner = lines[block.line : block.after - 1 - block.closed]
        assert lines[block.line - 1].lstrip(" ")[:3] in ("```", "~~~")
        assert [line.strip() for line in inner if line.strip()] == [
            x.strip() for x in block.code.split("\n") if x.strip()
        ]
        assert block.info.strip().startswith(block.tag) or block.tag == ""


@given(st.text(max_size=200))
def test_any_text_will_do(text: str) -> None:
    assert 0 <= level(text.replace("\n", " ")) <= SURE and LIKELY < SURE
    assert all(0 <= start < end for start, end in raw_runs(text))
    looks_like_bbj(text)
    assert inferred_kind(text, text) in KINDS and inferred_topic(text, text)


def test_signals_kinds_and_topics() -> None:
    assert bbj_signals('rem x\nprint "BBjAPI()"\na$ = b!') == ("rem", "print", "string name", "object name")
    assert bbj_signals("x! = BBjAPI()") == ("BBjAPI", "object name")
    kinds = {
        "Write a program that prints the date.": "code-generation",
        "How do I open a file?": "code-generation",
        "What does CVS() do?": "function-reference",
        "Explain the two forms of IF": "explanation",
        "Complete this program:\n\n```bbj\na = 5\n```": "completion",
        "Convert this Java to BBj: int x = 5;": "conversion",
        "Fix this program": "debugging",
        "What is the difference between READ and INPUT?": "comparison",
    }
    assert {question: inferred_kind(question, "") for question in kinds} == kinds
    assert inferred_topic("How do I sort a BBjVector?", "") == "collections"
    assert inferred_topic("How?", '```bbj\nopen (1)"file"\n```') == "file-io"
    assert inferred_topic("Why?", "Because.") == "other"


def test_what_asks_for_code() -> None:
    assert asks_for_code("Write a function that adds two numbers.") and asks_for_code("Convert this to BBj")
    assert not asks_for_code("What does PRINT do?") and not asks_for_code("Write a function", kind="explanation")
    assert asks_for_code("Sum of two numbers", kind="code-generation")
