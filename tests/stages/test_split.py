"""The split with the real tokenizer: what is written, what the ledger says of it, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bbjspec.bbj.checker import BUILTIN_VERSION
from bbjspec.data.chat import all_token_counts, load_tokenizer, token_counts
from bbjspec.data.rows import Row, load_rows
from bbjspec.embedded import recipe_config
from bbjspec.errors import BadInput
from bbjspec.spec.data import DataSpec
from bbjspec.stage import StageRun
from bbjspec.stages import split, tokenizer

JUDGE = {"judge": {"name": "builtin", "version": None}, "builtin_version": BUILTIN_VERSION}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tokenizer stage."""
    root = tmp_path_factory.mktemp("tokenizer")
    config = {"base": "pico-qwen2", "revision": None, "recipe": recipe_config("pico-qwen2")}
    tokenizer.run(StageRun("tokenizer", "0" * 16, root, root, config, {}, {}))
    return root


def chat(i: int, question: str, answer: str, **fields: Any) -> dict[str, Any]:
    contents = {"system": "You write BBj.", "user": question, "assistant": answer}
    return {"id": f"r{i}", **fields, "messages": [{"role": r, "content": c} for r, c in contents.items()]}


def examples(count: int = 40) -> list[dict[str, Any]]:
    """Rows that differ by far more than a tenth, every second about the GUI."""
    return [
        chat(
            i,
            f"{i * 7919 % 10**6:06} and {i * 104729 % 10**6:06}, please",
            f"```bbj\nprint {i}\n```",
            topic=("gui", "files")[i % 2],
        )
        for i in range(count)
    ]


class Split:
    """What one run of the split made, in a folder of its own."""

    def __init__(
        self, root: Path, tokens: Path, rows: Sequence[dict[str, Any]], max_length: int = 200, **data: Any
    ) -> None:
        judge = data.pop("judge", None) or {"judge": None, "builtin_version": None}
        mix = data.pop("mix_rows", None)
        spec = DataSpec.model_validate(data).model_dump(mode="json")
        (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources = {"dataset": [root / "rows.jsonl"]}
        if mix:
            (root / "mix.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mix))
            sources["mix"] = [root / "mix.jsonl"]
        self.directory = root / "split"
        self.directory.mkdir(exist_ok=True)
        config = spec | judge | {"max_length": max_length}
        log = logging.getLogger("test")
        inputs = {"tokenizer": tokens}
        split.run(StageRun("split", "0" * 16, root, self.directory, config, inputs, sources, log=log))
        self.ledger = json.loads((self.directory / "ledger.json").read_text())
        self.fates = {fate["id"]: fate for fate in self.ledger["fates"]}

    def side(self, name: str) -> list[Row]:
        return load_rows(self.directory / f"{name}.jsonl", name)

    @property
    def everything(self) -> dict[str, Row]:
        return {row.id: row for name in ("train", "val") for row in self.side(name)}


def test_the_ledger_is_what_is_written(tmp_path: Path, tokens: Path) -> None:
    made = Split(tmp_path, tokens, examples(), val_size=0.2)
    counter = load_tokenizer(tokens)
    assert (len(made.side("train")), len(made.side("val"))) == (32, 8)
    for side in ("train", "val"):
        counted = [token_counts(counter, row) for row in made.side(side)]
        assert made.ledger[side] == {
            "rows": len(counted),
            "tokens": sum(all_ for all_, _ in counted),
            "supervised_tokens": sum(learned for _, learned in counted),
        }
    assert made.ledger["dropped"] == {} and made.ledger["repaired"] == {} and made.ledger["mixed"]["rows"] == 0
    assert [fate["line"] for fate in made.ledger["fates"]] == list(range(1, 41))


def test_where_chooses_what_is_trained_on_and_leaves_validation_alone(tmp_path: Path, tokens: Path) -> None:
    everything = Split(tmp_path, tokens, examples(), val_size=0.2)
    val = (everything.directory / "val.jsonl").read_bytes()
    gui = Split(tmp_path, tokens, examples(), val_size=0.2, filters={"where": {"topic": "gui"}})
    assert (gui.directory / "val.jsonl").read_bytes() == val
    assert {row.fields["topic"] for row in gui.side("train")} == {"gui"}
    assert gui.ledger["dropped"] == {"where.topic": 32 - len(gui.side("train"))}
    assert gui.ledger["dropped_tokens"]["rows"] == gui.ledger["dropped"]["where.topic"]


def test_rows_are_mended_and_asked_by_the_specs_system_prompts(tmp_path: Path, tokens: Path) -> None:
    rows = examples()
    rows[3] = chat(3, "Something that stands raw in its row, fenced by nobody", 'print "a"\nprint "b"')
    rows[4] = chat(4, "And here comes one more whose fence has no tag at all", "```\nprint 1\n```")
    prompts = [{"text": "One.", "weight": 3}, {"text": "Two."}]
    made = Split(tmp_path, tokens, rows, repair={"fence_code": True, "tag_fences": True}, system_prompts=prompts)
    assert made.ledger["repaired"] == {"fence_code": 1, "tag_fences": 1}
    assert made.fates["r3"]["repaired"] == ["fence_code"]
    assert made.everything["r3"].answer == '```bbj\nprint "a"\nprint "b"\n```'
    assert {row.system for row in made.everything.values()} == {"One.", "Two."}


def test_the_compiler_chooses_where_it_is_asked(tmp_path: Path, tokens: Path) -> None:
    rows = examples()
    bad = chat(40, rows[0]["messages"][1]["content"], "```bbj\nprint (((\n```" + " and much more text" * 5)
    better = chat(41, rows[0]["messages"][1]["content"].upper(), "Like this:\n```bbj\nprint 0, 0\n```")
    made = Split(tmp_path, tokens, [*rows, bad, better], dedup={"exact": "keep_best"}, judge=JUDGE)
    assert made.ledger["dropped"] == {"duplicate": 2}
    assert made.fates["r0"]["kept"] == made.fates["r40"]["kept"] == "r41"
    made = Split(tmp_path, tokens, [*rows, bad], filters={"require_compile": True}, judge=JUDGE)
    assert made.ledger["dropped"] == {"require_compile": 1}
    assert made.fates["r40"]["error"] == "print ((("


def long_rows() -> list[dict[str, Any]]:
    program = "\n".join(f"print {i}" for i in range(200))
    return [
        *examples(),
        chat(40, "A row with very many lines to print, one after the other", f"```bbj\n{program}\n```"),
    ]


def test_a_long_row_is_an_error_unless_the_spec_says_else(tmp_path: Path, tokens: Path) -> None:
    with pytest.raises(BadInput) as error:
        Split(tmp_path, tokens, long_rows())
    row, hint = str(error.value).splitlines()
    assert row.startswith("rows.jsonl:41: r40: ") and row.endswith(" tokens, more than 200")
    assert hint == ("rows.jsonl: rows longer than training.max_length: 1; raise it, or write data.on_overlength: drop")
    assert Split(tmp_path, tokens, long_rows(), on_overlength="drop").ledger["dropped"] == {"over_length": 1}


def test_a_cut_row_ends_with_a_whole_line_and_a_closed_fence(tmp_path: Path, tokens: Path) -> None:
    made = Split(tmp_path, tokens, long_rows(), on_overlength="truncate")
    row, fate = made.everything["r40"], made.fates["r40"]
    lines = row.answer.split("\n")
    assert (lines[0], lines[-1]) == ("```bbj", "```") and lines[1:-1] == [f"print {i}" for i in range(len(lines) - 2)]
    assert fate["tokens"] == token_counts(load_tokenizer(tokens), row)[0] <= 200
    assert made.ledger["truncated"] == {"rows": 1, "tokens": fate["truncated"]}
    hopeless = [*examples(), chat(40, "x" * 900, "y")]
    assert Split(tmp_path, tokens, hopeless, on_overlength="truncate").ledger["dropped"] == {"over_length": 1}


def test_rows_are_mixed_into_training_alone(tmp_path: Path, tokens: Path) -> None:
    general = [chat(1000 + i, f"Python question {i}", f"answer {i}") for i in range(20)]
    mix = {"path": "mix.jsonl", "share": 0.1}
    made = Split(tmp_path, tokens, examples(), val_size=0.1, mix=mix, mix_rows=general)
    assert (len(made.side("train")), len(made.side("val"))) == (40, 4)
    assert made.ledger["mixed"]["rows"] == 4 and sum("mixed" in fate for fate in made.ledger["fates"]) == 4
    with pytest.raises(BadInput) as error:
        Split(tmp_path, tokens, examples(), mix=mix | {"share": 0.5}, mix_rows=general)
    assert str(error.value) == (
        "mix.jsonl: data.mix.share: has 20 rows, but data.mix.share 0.5 of 36 training rows takes 36; lower it"
    )
    with pytest.raises(BadInput, match=r"mix.jsonl:1: id: 'r3' is in the dataset already"):
        Split(tmp_path, tokens, examples(), mix=mix, mix_rows=examples()[3:4])


def test_what_is_written_is_read_as_it_was_learned(tmp_path: Path, tokens: Path) -> None:
    rows = examples()
    rows[5] = chat(
        5, "May a line hold other line ends than \\n?", '\nYes:\u2028 \x85 \x1c \r\n \U0001f40d \\u2028 "x" \t'
    )
    rows[6]["messages"][0]["content"] = "You explain BBj."
    rows[7]["messages"][2]["weight"] = 1
    del rows[8]["id"], rows[9]["id"]
    twice = chat(0, "A row that stands there twice, without an id", "```bbj\nprint 1\n```")
    rows += [{"messages": twice["messages"]}] * 2
    general = [chat(1000 + i, f"Python question {i}", f"answer {i}\u2029") for i in range(20)]
    for row in general:
        row["messages"][0]["content"] = "You write Python."
    mix = {"path": "mix.jsonl", "share": 0.1}
    made = Split(tmp_path, tokens, rows, mix=mix, mix_rows=general, dedup={"exact": "flag"})
    written = {row.id: row for row in (*load_rows(tmp_path / "rows.jsonl", ""), *load_rows(tmp_path / "mix.jsonl", ""))}
    read = made.everything
    assert len(read) == 42 + made.ledger["mixed"]["rows"] and made.ledger["mixed"]["rows"] == 4
    for name, row in read.items():
        same = written[name]
        assert (row.system, row.question, row.answer) == (same.system, same.question, same.answer)
        assert row.fields == same.fields | {"id": name}
    assert {row.system for row in read.values()} == {"You write BBj.", "You explain BBj.", "You write Python."}
    counted = dict(zip(read, all_token_counts(load_tokenizer(tokens), read.values()), strict=True))
    known = {fate["id"]: (fate["tokens"], fate["supervised_tokens"]) for fate in made.ledger["fates"]}
    assert counted == {name: known[name] for name in read}


def test_an_empty_side_is_refused(tmp_path: Path, tokens: Path) -> None:
    with pytest.raises(
        BadInput, match=r"rows.jsonl: data: no row is left on the train side: 36 by where.topic; loosen that"
    ):
        Split(tmp_path, tokens, examples(), filters={"where": {"topic": "none"}})


def test_rows_that_all_ask_nearly_the_same_cannot_be_split(tmp_path: Path, tokens: Path) -> None:
    rows = [chat(i, f"Please print the number {i} on the screen, now", "```bbj\nprint 1\n```") for i in range(20)]
    with pytest.raises(BadInput) as error:
        Split(tmp_path, tokens, rows)
    assert str(error.value) == (
        "rows.jsonl: data.val_size: 20 rows cannot be split at 0.1: 20 ask nearly the same and stay together; "
        "add other rows or change it"
    )
