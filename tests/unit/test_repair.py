"""Each repair mends what it is for, leaves the rest, and has nothing left to do the second time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.data.repair import REPAIRS, mend
from tests.unit.test_dataset import ROWS

MENDED = {
    "unescape_newlines": [
        (r"Here:\n```bbj\nprint 1\n```", "Here:\n```bbj\nprint 1\n```"),
        (r"```bbj\nprint \"x\"\r\nprint 2\r\n```\r\nDone.", '```bbj\nprint "x"\nprint 2\n```\nDone.'),
        ("```bbj\nprint 1\\nprint 2\n```", "```bbj\nprint 1\nprint 2\n```"),
        ("```bbj\nif a then\\n\\tprint 1\\nendif\n```", "```bbj\nif a then\n\tprint 1\nendif\n```"),
        ("```bbj\nprint 1\\n```\nAfter", "```bbj\nprint 1\n```\nAfter"),
        ('```bbj\nprint \\"a\\nb\\"\\nend\n```', '```bbj\nprint "a\\nb"\nend\n```'),
        ('```bbj\nrem don"t\\nprint 1\\nrem C:\\new\\x\n```', '```bbj\nrem don"t\nprint 1\nrem C:\\new\\x\n```'),
        ('```bbj\np$="C:\\new\\"\\nprint p$\n```', '```bbj\np$="C:\\new\\"\nprint p$\n```'),
        ("```\nprint 1\\nprint 2\n```", "```\nprint 1\nprint 2\n```"),
        ("```bbj\nprint 1\\\\nprint 2\n```", "```bbj\nprint 1\nprint 2\n```"),
        (r'print "a"\nprint "b"\nend', 'print "a"\nprint "b"\nend'),
        (r'Try this:\nprint "a"\nprint 5', 'Try this:\nprint "a"\nprint 5'),
        (r"PRINT \"Hello\"", 'PRINT "Hello"'),
    ],
    "unquote_code": [
        ("```bbj\n> print 1\n>\n> print 2\n```", "```bbj\nprint 1\n\nprint 2\n```"),
        ("```bbj\n>> print 1\n```", "```bbj\nprint 1\n```"),
        ("```\n> a$ = b$\n```", "```\na$ = b$\n```"),
        ("Look:\n> ```bbj\n> print 1\n> ```\nSo.", "Look:\n```bbj\nprint 1\n```\nSo."),
        ("> Note well:\n> ```bbj\n> print 1\n> ```", "> Note well:\n```bbj\nprint 1\n```"),
        ("> ```bbj\n> print 1\nafter", "```bbj\nprint 1\n```\nafter"),
        ("> ```bbj\n> print 1\n```\nafter", "```bbj\nprint 1\n```\nafter"),
        ('> print "a"\n> print x', 'print "a"\nprint x'),
        ('> He said so.\n\n> print "a"', '> He said so.\n\nprint "a"'),
    ],
    "fence_code": [
        ('print "a"\nend', '```bbj\nprint "a"\nend\n```'),
        ("Do this:\na$ = b$\n\nDone.", "Do this:\n```bbj\na$ = b$\n```\n\nDone."),
        ("a$ = b$\r\nThen look.\r\n", "```bbj\r\na$ = b$\r\n```\r\nThen look.\r\n"),
    ],
    "tag_fences": [
        ("```\nprint 1\n```", "```bbj\nprint 1\n```"),
        ("  ~~~ \nprint 1\n~~~", "  ~~~bbj\nprint 1\n~~~"),
        ("```\nHello World\n```", "```text\nHello World\n```"),
    ],
    "strip_trailing_space": [
        ("a  \nb\t\n\n", "a\nb"),
        ("```bbj\nprint 1 \n``` ", "```bbj\nprint 1\n```"),
        ('```bbj\nprint "a \n:b" \n```', '```bbj\nprint "a \n:b"\n```'),
    ],
}

LEFT = [
    "In Java, use \\n for a newline.",
    'Use `\\n` or "\\n" here; print it\\n.',
    '```bbj\nopen (1)"C:\\new\\file"\nprint "a\\nb"\n```',
    '```bbj\np$ = "C:\\data\\"\nprint p$\n```',
    "```bbj\nrem see C:\\new\\notes\nprint 1\n```",
    '```java\nString s = "a\\nb";\n```',
    "> Quoted prose stays.\n> All of it.",
    "```text\n> prompt\n```",
    "```java\n> int x;\n```",
    "Read the docs.\n\nRun it\n\nInput required",
    "Yes",
    "10)",
    "```bbj\nprint 1\n```\n\nThe line `a = 5` assigns.",
]


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in MENDED.items() for case in cases])
def test_what_is_mended(name: str, case: tuple[str, str]) -> None:
    before, after = case
    assert REPAIRS[name](before) == after
    assert mend(before, [name]) == (after, (name,))


@pytest.mark.parametrize("answer", LEFT)
def test_what_is_left(answer: str) -> None:
    assert mend(answer, REPAIRS) == (answer, ())


def test_quoted_prose_in_a_fence_stays() -> None:
    assert mend("```\n>> He said so.\n```", REPAIRS) == ("```text\n>> He said so.\n```", ("tag_fences",))


def test_nothing_of_the_shipped_dataset_is_touched() -> None:
    assert [row.id for row in ROWS if mend(row.answer, REPAIRS)[1]] == []


def test_the_order_is_fixed() -> None:
    answer = '> ```\n> print \\"a\\"\\nend  \n> ```\n'
    made = {mend(answer, names) for names in itertools.permutations(REPAIRS)}
    assert made == {
        ('```bbj\nprint "a"\nend\n```', ("unescape_newlines", "unquote_code", "tag_fences", "strip_trailing_space"))
    }
    with pytest.raises(KeyError, match="no such repair: mend_all"):
        mend("x", ["mend_all"])


PIECES = [
    "```", "```bbj", "~~~", "\n", "\n", "\n", "\\n", "\\n", '\\"', '"', "> ", "print 1", "a$=b$", "prose words here",
    "rem x", " ", "\\t", "x:", ":", "\r\n", "Example:", "end", "   ", "C:\\new", "\\", "```java", "goto x", "\r", ">",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=18).map("".join)


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sets(st.sampled_from(list(REPAIRS))))
def test_a_second_time_nothing_is_left_to_mend(text: str, names: set[str]) -> None:
    for name in names:
        once = REPAIRS[name](text)
        assert REPAIRS[name](once) == once
    mended, changed = mend(text, names)
    assert set(changed) <= names and (mended != text) == bool(changed)
    assert mend(mended, names) == (mended, ())
