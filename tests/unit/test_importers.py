"""What becomes of each kind of source, and what is said of each thing that is wrong with one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bbjspec.bbj.extract import blocks
from bbjspec.cli import app
from bbjspec.data.importers import SYSTEM, import_rows, write_rows
from bbjspec.data.rows import load_rows
from bbjspec.errors import BadInput, UsageError

ROOT = Path(__file__).parents[2]

EXAMPLE = """---
title: Counting to three
type: completion
generation: [character, bbj-gui]
difficulty: basic
tags: [loop, print]
description: A FOR loop that prints its counter.
requires_version: "23.04"
---

## Code

```bbj
rem count
for i = 1 to 3
    print i
next i
```

## Expected Output

 1
 2
 3

## Explanation

1. **FOR** counts `i` from 1 to 3.
"""

ANSWER = """```bbj
rem count
for i = 1 to 3
    print i
next i
```

Expected output:

```text
 1
 2
 3
```

1. **FOR** counts `i` from 1 to 3."""

PLAIN = "---\ntitle: T\ntype: completion\n---\n## Code\n```bbj\nprint 1\n```\n"


def one(tmp_path: Path, text: str | bytes, name: str = "one.md") -> dict[str, Any]:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (row,) = import_rows([file]).rows
    return dict(row)


def said(tmp_path: Path, text: str | bytes, name: str = "one.md") -> list[str]:
    with pytest.raises(BadInput) as error:
        one(tmp_path, text, name)
    return [line.removeprefix(f"{tmp_path.as_posix()}/") for line in str(error.value).splitlines()]


def contents(row: Any) -> list[str]:
    return [message["content"] for message in row["messages"]]


def test_an_example_becomes_a_row(tmp_path: Path) -> None:
    row = one(tmp_path, EXAMPLE)
    assert contents(row) == [
        SYSTEM,
        "Write BBj code for character mode and the BBj GUI: Counting to three.\n\nA FOR loop that prints its counter.",
        ANSWER,
    ]
    del row["messages"]
    assert row == {
        "id": "one",
        "kind": "completion",
        "generation": ["character", "bbj-gui"],
        "difficulty": "basic",
        "tags": ["loop", "print"],
        "title": "Counting to three",
        "description": "A FOR loop that prints its counter.",
        "requires_version": "23.04",
    }


def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    plain = one(tmp_path, EXAMPLE)
    assert one(tmp_path, b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode()) == plain
    assert one(tmp_path, EXAMPLE.replace("\n", "\r")) == plain


@pytest.mark.parametrize(
    ("front", "question"),
    [
        ("title: T.\ntype: completion", "Write BBj code: T."),
        ("title: How do I print?\ntype: completion\ngeneration: dwc", "How do I print?"),
        ("title: T\ntype: explanation\ngeneration: dwc", "Explain with BBj code for the DWC: T."),
        ("title: T\ntype: explanation\ngeneration: all", "Explain with BBj code: T."),
        (
            "title: T\ntype: comprehension\ngeneration: vpro5",
            "Explain what this BBj code for Visual PRO/5 does.\n\n```bbj\nprint 1\n```",
        ),
        ("title: T\ntype: puzzle\nquestion: What prints 1?", "What prints 1?"),
    ],
)
def test_questions(tmp_path: Path, front: str, question: str) -> None:
    row = one(tmp_path, f"---\n{front}\n---\n## Code\n```bbj\nprint 1\n```\n## Explanation\nIt prints 1.\n")
    assert contents(row)[1] == question
    code = "" if "comprehension" in front else "```bbj\nprint 1\n```\n\n"
    assert contents(row)[2] == f"{code}It prints 1."


def test_a_migration_asks_with_the_code_before(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        "---\ntitle: From INPUT to a box\ntype: migration\nfrom_generation: character\n"
        "to_generation: bbj-gui, dwc\n---\n"
        '## Code\n### Before (old)\n```bbj\ninput a$\n```\n### After\n```\nx = msgbox("a")\n```\n'
        "## Expected Behaviour\nA box.\n```\n[ a ]\n```\n",
    )
    assert contents(row)[1:] == [
        "Migrate this BBj code from character mode to the BBj GUI and the DWC: From INPUT to a box.\n\n"
        "```bbj\ninput a$\n```",
        '```bbj\nx = msgbox("a")\n```\n\nExpected behavior:\n\nA box.\n```text\n[ a ]\n```',
    ]
    assert row["to_generation"] == ["bbj-gui", "dwc"]


def test_several_blocks_with_names_and_sections_of_ones_own_are_kept(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        '---\ntitle: T\ntype: completion\n---\n# T\n\n## Code\n<!-- filename: a.bbj -->\n```bbj\ncall "b.bbj"\n```\n\n'
        "<!-- filename: b.bbj -->\n~~~~basic\nprint 1\n~~~~\n```sql\nselect 1\n```\n## Notes ##\nMind the path.\n",
    )
    assert contents(row)[2] == (
        '`a.bbj`:\n\n```bbj\ncall "b.bbj"\n```\n\n`b.bbj`:\n\n~~~~bbj\nprint 1\n~~~~\n```sql\nselect 1\n```\n\n'
        "Notes:\n\nMind the path."
    )


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "# Hello\n",
            ["one.md:1: no front matter; begin with a line --- , then title, type and generation, then another ---"],
        ),
        ("", ["one.md:1: no front matter; begin with a line --- , then title, type and generation, then another ---"]),
        ("---\ntitle: T\n", ["one.md:1: the front matter has no end; close it with a line ---"]),
        (
            "---\n# nothing\n---\n## Code\n```bbj\nprint 1\n```\n",
            ["one.md:1:1: empty; title and type at least are meant"],
        ),
        ("---\ntitle: [T\n---\n", ["one.md: ## Code is missing", "one.md:3:1: expected ',' or ']', but got"]),
        (
            "---\ntitle: T\ntyp: completion\n---\n## Code\n```bbj\nprint 1\n```\n",
            ["one.md:1: type: missing", "one.md:3:1: typ: unknown field; did you mean type?"],
        ),
        (
            PLAIN.replace("title: T", "title: 404\ntags: [a, 1]\ngeneration: bbj_gui\ndifficulty: [a, b]\nmessages: 1"),
            [
                "one.md:2:8: title: text is meant, not 404; put quotes around it",
                "one.md:3:7: tags: text is meant, not 1; put quotes around it",
                "one.md:4:13: generation: 'bbj_gui' is none of all, character, vpro5, bbj-gui, dwc; "
                "did you mean bbj-gui?",
                "one.md:5:13: difficulty: one text is meant",
                "one.md:6:1: messages: unknown field; messages are made of the sections",
            ],
        ),
        (
            PLAIN.replace("completion", "complete"),
            [
                "one.md:3:7: type: 'complete' is none of completion, comprehension, explanation, migration; "
                "did you mean completion?"
            ],
        ),
        (
            PLAIN.replace("completion", "riddle"),
            [
                "one.md:3:7: type: 'riddle' is none of completion, comprehension, explanation, migration; "
                "of another type, write the question itself as a field question"
            ],
        ),
        (PLAIN.replace("## Code", "## Codes"), ["one.md:5: ## Codes is not known; did you mean ## Code?"]),
        (PLAIN.replace("## Code", "## Listing"), ["one.md: ## Code is missing; there are Listing"]),
        (PLAIN + "## Code\n", ["one.md:9: ## Code stands in line 5 already; join the two"]),
        (PLAIN + "\n## Explanation\n \n", ["one.md:10: ## Explanation is empty; fill it or take it out"]),
        (
            PLAIN.replace("## Code", "Hello\n\n## Code"),
            ["one.md:5: text before the first ## section; move it into description or into a section"],
        ),
        (PLAIN.replace("\n```\n", "\n"), ["one.md:6: this fence is never closed; end the block with a line ```"]),
        (
            PLAIN + "## Explanation\n~~~~\nx\n~~~\n",
            ["one.md:10: this fence is never closed; end the block with a line ~~~~"],
        ),
        (
            PLAIN.replace("```bbj", "").replace("```", ""),
            ["one.md:5: ## Code has no fenced block; put the code between a line ```bbj and a line ```"],
        ),
        (PLAIN.replace("```bbj", "```java"), ["one.md:6: tagged java; BBj code is tagged bbj"]),
        (PLAIN.replace("print 1", " "), ["one.md:6: the code block is empty"]),
        (
            PLAIN + "```bbj\nprint 2\n```\n",
            [
                "one.md:6: one of several code blocks without a name; "
                "write <!-- filename: NAME --> before it, or join them",
                "one.md:9: one of several code blocks without a name; "
                "write <!-- filename: NAME --> before it, or join them",
            ],
        ),
        (
            PLAIN.replace("completion", "migration"),
            [
                "one.md:5: type migration needs a code block under ### After in ## Code",
                "one.md:5: type migration needs a code block under ### Before in ## Code",
            ],
        ),
        (
            PLAIN.replace("completion", "comprehension"),
            ["one.md: ## Explanation is missing; the answer of type comprehension is made of it"],
        ),
        (PLAIN.encode() + b"caf\xe9\n", ["one.md:9:4: not UTF-8; save the file as UTF-8"]),
        (PLAIN.encode("utf-16"), ["one.md:1:1: is UTF-16; save the file as UTF-8"]),
        (PLAIN + "\0", ["one.md:9: holds a NUL; take it out"]),
        (PLAIN.replace("title: T", 'title: "\\ud800"'), ["one.md:1: holds half a surrogate pair; take it out"]),
        (PLAIN.replace("title: T", "title: T\nweight: .nan"), None),
    ],
)
def test_what_is_wrong_with_an_example_is_said(tmp_path: Path, text: str | bytes, messages: list[str] | None) -> None:
    found = said(tmp_path, text)
    if messages is None:
        messages = ["one.md:1: holds NaN, Infinity or too deep a nesting; take it out"]
    assert [line[: len(message)] for line, message in zip(found, messages, strict=True)] == messages


PAIRS = [
    ({"prompt": "q", "completion": "a"}, "q"),
    ({"instruction": "q", "input": "", "output": "a"}, "q"),
    ({"instruction": "q", "input": "x", "output": "a"}, "q\n\nx"),
    ({"question": "q", "answer": "a"}, "q"),
]


@pytest.mark.parametrize(("fields", "question"), PAIRS)
def test_pairs_become_rows_and_other_fields_are_kept(tmp_path: Path, fields: dict[str, str], question: str) -> None:
    row = one(tmp_path, json.dumps({**fields, "topic": "t", "seen": [1, None]}), "rows.jsonl")
    assert contents(row) == [SYSTEM, question, "a"]
    assert list(row) == ["id", "topic", "seen", "messages"] and row["seen"] == [1, None]
    assert row["id"].startswith("row-")
    numbered = one(tmp_path, json.dumps({"id": 17, "system": "S", **fields}), "rows.jsonl")
    assert numbered["id"] == "17" and contents(numbered)[0] == "S" and "system" not in numbered


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "q"', "rows.jsonl:2:16: json: not JSON: Expecting ',' delimiter at byte 15"),
        (b"\xff", "rows.jsonl:2:1: json: not UTF-8 at byte 0"),
        (
            b"[1]",
            "rows.jsonl:2: json: a JSON object with messages, prompt and completion, instruction and output, "
            "or question and answer is meant",
        ),
        (
            b'{"prompt": "q", "text": "a"}',
            "rows.jsonl:2: messages, prompt and completion, instruction and output, or question and answer are meant; "
            "found prompt, text",
        ),
        (
            b'{"prompt": "q", "completion": "a", "question": "q", "answer": "a"}',
            "rows.jsonl:2: which is it, prompt and completion or question and answer? keep one pair",
        ),
        (b'{"prompt": 3, "completion": "a"}', "rows.jsonl:2: prompt: text is meant, not a number"),
        (b'{"prompt": "q", "completion": [1]}', "rows.jsonl:2: completion: text is meant, not a list"),
        (b'{"question": "q", "answer": " "}', "rows.jsonl:2: answer: is empty"),
        (b'{"question": "q", "answer": "a", "id": true}', "rows.jsonl:2: roles: id must be text"),
        (
            b'{"question": "q", "answer": "\\ud800"}',
            r"rows.jsonl:2: json: half a surrogate pair (\ud800 to \udfff alone), which is no text",
        ),
        (
            b'{"question": "q", "answer": "a", "x": NaN}',
            "rows.jsonl:2: json: not JSON: NaN",
        ),
        (b'{"messages": []}', "rows.jsonl:2: roles: messages must be three: system, user, assistant"),
        (b"x" * 8_000_001, "rows.jsonl:2: json: 8,000,002 bytes long; at most 8,000,000 are a row"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_and_never_hides_the_next(tmp_path: Path, line: bytes, message: str) -> None:
    good = b'{"prompt": "q", "completion": "a"}\n'
    assert said(tmp_path, good + line + b"\n\n" + good + b"{}", "rows.jsonl")[:-1] == [message]


def test_rows_pass_through_byte_by_byte(tmp_path: Path) -> None:
    sample = ROOT / "dataset/sample.jsonl"
    write_rows(import_rows([sample]).rows, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == sample.read_bytes()
    two = one(
        tmp_path, '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}', "2.jsonl"
    )
    assert contents(two) == [SYSTEM, "q", "a"]


def test_folders_are_walked_in_order_without_what_documents_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("gui/window.md", "a.md", "gui/forms/box.md", ".hidden/x.md", "README.md", "gui/FORMAT.md"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(PLAIN)
    with gzip.open(data / "rows.jsonl.gz", "wb") as stream:
        stream.write(b'{"prompt": "q", "completion": "a", "id": "zipped"}\n')
    done = import_rows([data, data / "a.md"])
    assert [(row["id"], row.get("topic")) for row in done.rows] == [
        ("a", None),
        ("gui/forms/box", "forms"),
        ("gui/window", "gui"),
        ("zipped", None),
    ]
    assert done.files == 4
    assert [Path(name).name for name in done.skipped] == ["README.md", "FORMAT.md"]


def test_all_errors_of_all_sources_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.md").write_text("hello")
    (tmp_path / "b.txt").write_text("hello")
    (tmp_path / "c.jsonl").write_text("\n")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "q", "completion": "a"}\n' * 99)[:-9])
    names = ("gone", "empty", "a.md", "b.txt", "c.jsonl", "d.jsonl.gz")
    with pytest.raises(BadInput) as error:
        import_rows([tmp_path / name for name in names])
    assert sorted(line.removeprefix(f"{tmp_path.as_posix()}/")[:46] for line in str(error.value).splitlines()) == [
        "a.md:1: no front matter; begin with a line ---",
        "b.txt: .md, .jsonl, .jsonl.gz is meant",
        "c.jsonl: has no rows",
        "d.jsonl.gz:97: json: the gzip file ends in the",
        "empty: holds no .md or .jsonl or .jsonl.gz to ",
        "gone: no such file or folder",
    ]


def test_ids_are_unique_and_equal_rows_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("x.md", "a/x.md"):
        (tmp_path / name).write_text(PLAIN)
    with pytest.raises(BadInput) as error:
        import_rows([tmp_path / "x.md", tmp_path / "a"])
    first, second = ((tmp_path / name).as_posix() for name in ("x.md", "a/x.md"))
    assert str(error.value) == f"{second}:1: id: 'x' stands in {first}:1 already; ids are unique"
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"prompt": "q", "completion": "a"}\n' * 3)
    ids = [row["id"] for row in import_rows([lines]).rows]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]
    write_rows(import_rows([lines]).rows, tmp_path / "out.jsonl")
    assert [row.id for row in load_rows(tmp_path / "out.jsonl", "out")] == ids
    joined = import_rows([lines, tmp_path / "out.jsonl"]).rows  # given ids stay, wherever they come from
    assert [row["id"] for row in joined] == [*(f"{ids[0]}-{n}" for n in (4, 5, 6)), *ids]


ALPHABET = st.one_of(
    st.sampled_from(
        ["`", "~", "\n", '"', "'", "\\", "{", "#", "-", "é", "\u2028", "```", "~~~", "```bbj\n", "## Code\n"]
    ),
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"),
)
TEXTS = st.lists(ALPHABET, min_size=1, max_size=30).map("".join).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_any_pairs_come_back_as_they_went_in(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    source, made = tmp_path / "in.jsonl", tmp_path / "out.jsonl.gz"
    source.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in pairs))
    write_rows(import_rows([source]).rows, made, force=True)
    rows = load_rows(made, "out")
    assert [(row.question, row.answer) for row in rows] == pairs
    first = made.read_bytes()
    write_rows(import_rows([made]).rows, made, force=True)
    assert made.read_bytes() == first


CODE = (
    st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n`~\"'#"), min_size=1, max_size=60)
    .filter(str.strip)
    .map(lambda text: text.replace("\n`", "\n `x").lstrip("`"))
    .filter(str.strip)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(code=CODE, output=CODE)
def test_any_code_stands_in_the_answer_as_it_was(tmp_path: Path, code: str, output: str) -> None:
    fence = "`" * 70  # longer than any run inside
    row = one(
        tmp_path,
        f"---\ntitle: T\ntype: completion\n---\n## Code\n{fence}bbj\n{code}\n{fence}\n"
        f"## Expected Output\n{fence}\n{output}\n{fence}\n",
    )
    assert [(block.tag, block.code) for block in blocks(contents(row)[2])] == [
        ("bbj", f"{code}\n"),
        ("text", f"{output}\n"),
    ]


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    made = tmp_path / "new/out.jsonl"
    row = one(tmp_path, PLAIN)
    write_rows([row], made)
    before = made.read_bytes()
    with pytest.raises(UsageError, match=r"out\.jsonl is there already; write --force to replace it"):
        write_rows([row, row], made)
    assert made.read_bytes() == before and [path.name for path in made.parent.iterdir()] == ["out.jsonl"]
    write_rows([row, row], made, force=True)
    assert made.read_bytes() == before * 2
    for name, message in (("new", "not to"), ("x.json", "not to"), ("one.md/x.jsonl", "cannot be written: ")):
        with pytest.raises(UsageError, match=message):
            write_rows([row], tmp_path / name)
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"d\.jsonl is a folder; name a file"):
        write_rows([row], tmp_path / "d.jsonl", force=True)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("About.")
    (tmp_path / "a.md").write_text(PLAIN)
    out = tmp_path / "rows.jsonl"
    done = CliRunner().invoke(app, ["import", str(tmp_path), "--to", str(out), "--system", "S"])
    assert done.exit_code == 0, done.output
    assert done.output == (
        f"{out.as_posix()}: 1 rows from 1 files\nleft out as documentation: {tmp_path.as_posix()}/README.md\n"
    )
    assert load_rows(out, "out")[0].system == "S"
    again = CliRunner().invoke(app, ["import", str(tmp_path), "--to", str(out)])
    assert isinstance(again.exception, UsageError)
    (tmp_path / "b.md").write_text("broken")
    bad = CliRunner().invoke(app, ["import", str(tmp_path / "b.md"), "--to", str(tmp_path / "none.jsonl")])
    assert isinstance(bad.exception, BadInput) and not (tmp_path / "none.jsonl").exists()
