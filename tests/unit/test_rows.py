"""A broken line is named with file, line and place, and never hides the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bbjspec.data.lines import BadLine
from bbjspec.data.rows import Row, load_rows, parse_row, read_rows
from bbjspec.errors import BadInput

GOOD = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
}


CONTROL = "not JSON: Expecting property name enclosed in double quotes"


def messages(*contents: object) -> dict[str, object]:
    roles = ("system", "user", "assistant", "user")
    return {"messages": [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]}


@pytest.mark.parametrize(
    ("data", "check", "message"),
    [
        (b'{"messages": [\n', "json", "not JSON: Expecting value at byte 15"),
        (b'{"messages": [', "json", "not JSON: Expecting value at byte 14; the file ends in the middle of this line"),
        (b"{\x00}\n", "json", CONTROL + " at byte 1; the line holds NUL bytes"),
        (b'{"n": NaN}', "json", "not JSON: NaN"),
        (b'{"n": "\\uD83D"}', "json", r"half a surrogate pair (\ud800 to \udfff alone), which is no text"),
        (b"\xff{}", "json", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "json", "not JSON: RecursionError"),
        (b"3", "json", "a JSON object with messages is meant"),
        (b"{}", "roles", "messages must be three: system, user, assistant"),
        (json.dumps(messages("s", "q")).encode(), "roles", "messages must be three: system, user, assistant"),
        (json.dumps(messages("s", "q", "a", "q")).encode(), "roles", "messages must be three: system, user, assistant"),
        (json.dumps(messages("s", "q", 3)).encode(), "roles", "the content of assistant must be text"),
        (json.dumps(messages("s", " ", "a")).encode(), "empty", "the content of user is empty"),
        (json.dumps(GOOD | {"id": 3}).encode(), "roles", "id must be text"),
        (b'{"messages": [{"role": "user", "content": "q"}, 1, 2]}', "roles", "message 1 must have the role system"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, check: str, message: str) -> None:
    found = parse_row(data, 1)
    assert isinstance(found, BadLine)
    assert (found.check, found.message) == (check, message)


def test_a_bad_line_never_hides_the_next(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"{\n\n" + json.dumps(GOOD).encode() + b"\r\n\x00\n" + b"x" * 9_000_000 + b"\n{}")
    found = list(read_rows(file))
    assert [item.line for item in found] == [1, 3, 4, 5, 6]
    assert isinstance(found[1], Row)
    with pytest.raises(BadInput) as error:
        load_rows(file, "rows.jsonl")
    assert [f.line for f in error.value.findings] == [1, 4, 5, 6]
    assert str(error.value).splitlines()[0] == (
        "rows.jsonl:1:3: json: not JSON: Expecting property name enclosed in double quotes at byte 2"
    )


def test_ids_are_unique_and_made_from_content_when_missing(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    line = json.dumps(GOOD | {"id": "one"})
    file.write_text(line + "\n" + line + "\n")
    with pytest.raises(BadInput, match=r"rows.jsonl:2: duplicate_id: 'one' stands in line 1 already; ids are unique"):
        load_rows(file, "rows.jsonl")
    file.write_text(json.dumps(GOOD) + "\n")
    first, second = (load_rows(file, "x")[0].id for _ in range(2))
    assert first == second and first.startswith("row-")


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gone: cannot be read: No such file or directory"):
        load_rows(tmp_path / "gone", "gone")
    (tmp_path / "empty").touch()
    with pytest.raises(BadInput, match="empty: has no rows"):
        load_rows(tmp_path / "empty", "empty")
    with pytest.raises(BadInput, match="folder: cannot be read: Is a directory"):
        load_rows(tmp_path, "folder")
