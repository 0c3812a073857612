"""Specs, datasets, prompts and answers with anything wrong with them: a clear line and its exit code, in time."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bbjspec.bbj.checker import check
from bbjspec.bbj.cpl import stderr_line
from bbjspec.bbj.extract import extract, extract_python
from bbjspec.data.rows import load_rows
from bbjspec.errors import BadInput, BbjspecError, StageFailed
from bbjspec.generation.base import Task
from bbjspec.generation.journal import Journal, plan
from bbjspec.markdown import inert
from bbjspec.stage import StageRun
from bbjspec.stages import score
from bbjspec.stages.generate import write_rows
from bbjspec.stages.verdicts import first_sentence
from bbjspec.suite import Prompt, load_prompts
from tests.harness import SPEC, write_project
from tests.reliability.abuse import Told, bbjspec, cases, in_time, mutated

# Every section, so that every section is mutated.
RICH = SPEC.replace(
    "data: {path: dataset/rows.jsonl}",
    "data:\n  path: dataset/rows.jsonl\n  val_size: &share 0.2\n  filters: {where: {kind: code-generation}}",
).replace(
    "  k: [1, 2]\n",
    "  k: [1, 2]\n  few_shot: 2\n  references:\n    - {name: floats, server: 'http://127.0.0.1:1/v1', model: m}\n",
)
EXPORTING = RICH.replace("export: {gguf: []}", "export: {gguf: [q4_k_m], ollama: {num_ctx: 4096}}")
FACTUAL = {
    "id": "t/fact", "tier": "factual", "category": "fact", "difficulty": "basic", "generation": "all",
    "input": "What prints?", "reference": "PRINT prints.", "must": [r"\bprint\b"], "must_not": [r"\bput\b"],
    "scope": "first_sentence", "max_chars": 400, "pass_examples": ["Print does."], "fail_examples": ["Put.", "No."],
}  # fmt: skip
GENERAL = {
    "id": "t/general", "tier": "general", "category": "python", "difficulty": "basic", "generation": "all",
    "input": "Add.", "reference": "def add(a, b):\n    return a + b\n", "entry": "add",
    "tests": "assert add(1, 2) == 3", "fail_examples": ["def add(a, b):\n    return a\n", "add = 3"],
}  # fmt: skip
REALISTIC = {
    "id": "t/real", "tier": "realistic", "category": "real", "difficulty": "basic", "generation": "all",
    "input": "Help.", "reference": "Yes.", "notes": "For people.",
}  # fmt: skip
ANSWERS = (
    "Here it is:\n\n```bbj\nrem shows\nlet a = 1\nprint 100, a\nif a = 1 then\n    print \"one\"\nfi\n```\n\nDone.",
    "PRINT does. It prints.",
    "```python\ndef add(a, b):\n    return a + b\n```",
    "````\n```bbj\nprint 101\n```\n````\n~~~bbj\nprint 102\n",
    "class public P\n field private BBjNumber x!\n method public void m()\n        print #x!\n methodend\nclassend",
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz") / "project"
    write_project(root)
    return root


def told_well(told: Told, files: str) -> None:
    """Good, or bad with a line for each thing that is wrong: `file:line:column: what`."""
    assert told.code in (0, 1), told
    found = told.lines if told.code else []
    assert bool(found) == bool(told.code)
    for line in found:
        assert re.match(rf"(?:{files})(?::[1-9]\d*(?::[1-9]\d*)?)?: \S", line), line
        assert line.isprintable() and len(line) < 1_000


@cases(500, 5)
def test_specs(project: Path, numbers: range) -> None:
    spec = project / "experiments/v1.yaml"
    codes = set()
    for number in numbers:
        chance = random.Random(number)
        spec.write_bytes(mutated(chance, chance.choice((RICH, EXPORTING)).encode()))
        checked, planned = bbjspec("check", root=project), bbjspec("plan", root=project)
        told_well(checked, "experiments/v1.yaml")
        assert planned.code == checked.code and planned.lines[-len(checked.lines) :] == checked.lines
        codes.add(checked.code)
    assert codes == {0, 1}
    spec.write_text(SPEC)


@cases(500, 5)
def test_datasets(project: Path, numbers: range) -> None:
    lines = (project / "dataset/rows.jsonl").read_bytes().split(b"\n")[:4]
    pairs = [
        json.dumps({"prompt": "p?", "completion": "```bbj\nprint 1\n```", "tags": ["a"], "n": 1.5, "id": 7}).encode(),
        json.dumps({"instruction": "p?", "input": "x", "output": "y", "system": "z"}).encode(),
    ]
    one, other, out = (project / name for name in ("dataset/one.jsonl", "dataset/other.jsonl", "out.jsonl"))
    codes = set()
    for number in numbers:
        chance = random.Random(number)
        one.write_bytes(mutated(chance, b"\n".join(lines) + b"\n"))
        other.write_bytes(mutated(chance, b"\n".join(pairs)))
        audited = bbjspec("audit", "dataset/one.jsonl", root=project)
        told_well(audited, "dataset/one.jsonl")
        codes.add(audited.code)
        sources = chance.choice((("dataset/one.jsonl",), ("dataset/other.jsonl",)))
        imported = bbjspec("import", *sources, "--to", "out.jsonl", root=project)
        told_well(imported, "|".join(sources))
        if imported.code == 0:
            assert load_rows(out, "out.jsonl")
        assert out.exists() == (imported.code == 0)
        out.unlink(missing_ok=True)
        try:
            with in_time():
                rows = len(load_rows(one, "dataset/one.jsonl"))
        except BadInput as error:
            rows = 0
            told_well(Told(1, "", str(error)), "dataset/one.jsonl")
        assert audited.code == 1 or rows, "what the audit lets pass the split reads"
    assert codes == {0, 1}


@cases(100, 1)
def test_prompts(project: Path, numbers: range) -> None:
    prompts = project / "eval/prompts/print.jsonl"
    good = prompts.read_bytes()
    rows = [*good.split(b"\n")[:2], *(json.dumps(row).encode() for row in (FACTUAL, GENERAL, REALISTIC))]
    for number in numbers:
        prompts.write_bytes(mutated(random.Random(number), b"\n".join(rows) + b"\n"))
        told_well(bbjspec("check", root=project), "eval/prompts/print.jsonl")
        told_well(bbjspec("check", "--suite", root=project), "eval/prompts/print.jsonl")
    prompts.write_bytes(good)


SHAPES = {
    "100,000 lines": "```bbj\n" + "".join(f"print a{i}\n" for i in range(100_000)) + "```",
    "a line of 1 MB": 'print "' + "x" * 1_000_000 + '"',
    "a sum of 1 MB": "print " + "a+" * 100_000 + "1",
    "ticks": "`" * 1_000_000,
    "fences": "```\n" * 20_000,
    "fences that are none": "```x`" * 20_000,
    "nested fences": "".join("`" * (3 + i % 50) + "bbj\nprint 1\n" for i in range(2_000)),
    "never closed": "~~~~bbj\n" + "print 1\n" * 5_000 + "~~~\n",
    "NULs": "\0" * 50_000,
    "control characters": "".join(map(chr, range(32))) * 500,
    "half surrogates": '```bbj\nprint "\ud800"\n```\udfff',
    "right to left": "\u202e```bbj\nprint 1\n```\u2066",
    "carriage returns": "\r" * 100_000,
    "line separators": "print 1\u2028" * 10_000,
    "blanks": " " * 500_000 + "x",
    "blank lines": " \n" * 100_000 + "x",
    "sentences": "! " * 20_000 + ". " * 20_000,
    "combining": "a" + "\u0301" * 50_000,
    "brackets": "print " + "(" * 50_000,
    "statements": "print 1;" * 20_000,
    "numbers": "```bbj\n" + "x=1e999999999\n" * 500 + "```",
    "Markdown": "![x](javascript:alert(1)) <script>{{ 7 * 7 }}</script> @EXPERIMENT@ | a | b |\n" * 1_000,
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_enormous_and_odd_answers(text: str) -> None:
    """What is left of an answer for a person to read is short; what a program is taken for can be said in lines."""
    with in_time(60):
        for taken in (extract(text), extract_python(text)):
            assert taken.code in text or "\r" in text or "```" in text
        for error in check(extract(text).code)[:1_000]:
            assert "\n" not in stderr_line("f", error)
        first_sentence(text)
        shown = inert(text)
        assert len(shown) < 20_000 and all(line.isprintable() for line in shown.expandtabs().split("\n"))
        assert inert(text, inline=True).isprintable()


def answers(chance: random.Random) -> str:
    """What a model may say: bytes that are no UTF-8 come out of a tokenizer as U+FFFD."""
    return mutated(chance, chance.choice(ANSWERS).encode()).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def suite(project: Path) -> Path:
    file = project / "suite.jsonl"
    rows = (project / "eval/prompts/print.jsonl").read_text().splitlines()[:18]
    file.write_text("\n".join([*rows, *map(json.dumps, (FACTUAL, GENERAL, REALISTIC))]) + "\n")
    return file


def generated(folder: Path, prompts: tuple[Prompt, ...], texts: list[str]) -> Path:
    """A generations.jsonl of these answers, as the generate stage writes it."""
    folder.mkdir(exist_ok=True)
    how: Mapping[str, Any] = {"model": {"base": "b"}, "sampling": {"temperature": 0.7}, "backend": "transformers"}
    n = len(texts) // len(prompts)
    cells = [(prompt.id, sample) for prompt in prompts for sample in range(n)]
    rows = [
        {"task_id": name, "sample_idx": sample, "completion": text, "finish_reason": "stop", "n_tokens": 1, **how}
        for (name, sample), text in zip(cells, texts, strict=True)
    ]
    write_rows(folder / "generations.jsonl", rows)
    return folder


def scored(folder: Path, suite: Path, made: Path, n: int) -> Path:
    """The score stage over a generate stage's directory."""
    folder.mkdir(exist_ok=True)
    config = {"compiler": {"name": "builtin", "version": None}, "k": [1], "n": n}
    with in_time(120):
        score.run(StageRun("score", "0" * 16, folder.parent, folder, config, {"generate": made}, {"prompts": [suite]}))
    return folder


@cases(500, 4)
def test_answers(project: Path, suite: Path, tmp_path: Path, numbers: range) -> None:
    """Whatever a model says is judged, and what the stage writes can be read."""
    prompts = load_prompts([suite])
    n = len(numbers) // len(prompts) + 1
    texts = [answers(random.Random(numbers.start + at)) for at in range(n * len(prompts))]
    made = scored(tmp_path / "score", suite, generated(tmp_path / "generate", prompts, texts), n)
    rows = [json.loads(line) for line in (made / "scores.jsonl").read_text(encoding="utf-8").split("\n") if line]
    document = json.loads((made / "results.json").read_text(encoding="utf-8"))
    assert len(rows) == document["n_samples"] == len(texts) and document["n_infra"] == 0
    assert len({row["outcome"] for row in rows}) > 4
    assert all(line.isprintable() for row in rows for line in inert(row["solution"]).expandtabs().split("\n"))


@cases(200, 2)
def test_files_of_answers(project: Path, suite: Path, tmp_path: Path, numbers: range) -> None:
    """A file of answers that something has been at: scored, or refused in a line."""
    small = tmp_path / "small.jsonl"
    small.write_text("\n".join([*suite.read_text().splitlines()[:2], json.dumps(FACTUAL)]) + "\n")
    prompts = load_prompts([small])
    made = generated(tmp_path / "generate", prompts, [answers(random.Random(at)) for at in range(len(prompts))])
    file = made / "generations.jsonl"
    good, record = file.read_bytes(), b'{"dtype": "float32", "batch_size_used": 4, "preflight": {}}'
    refused = 0
    for number in numbers:
        chance = random.Random(number)
        file.write_bytes(mutated(chance, good))
        (made / "generation_record.json").write_bytes(mutated(chance, record))
        try:
            scored(tmp_path / "score", small, made, 1)
        except BbjspecError as error:
            refused += 1
            assert isinstance(error, StageFailed) and str(error).startswith("generations.jsonl"), error
            assert "\n" not in str(error) and len(str(error)) < 1_000
    assert 0 < refused < len(numbers)


@cases(200, 1)
def test_journals(tmp_path: Path, numbers: range) -> None:
    """What a journal holds whole is taken; from what is broken on it is made again."""
    tasks = [Task(f"t{i}", (), "text", (1, 2, 3)) for i in range(6)]
    batches = plan(tasks, 1, 2)
    file = tmp_path / "batches.jsonl"
    journal = Journal(file, batches)
    for index, batch in enumerate(batches):
        journal.add(index, [{"completion": "é", "finish_reason": "stop", "n_tokens": 1} for _ in batch], 0.5)
    journal.close()
    good = file.read_bytes()
    for number in numbers:
        file.write_bytes(mutated(random.Random(number), good))
        with in_time():
            journal = Journal(file, batches)
        for index, entry in journal.done.items():
            assert len(entry["samples"]) == len(batches[index]) and entry["latency_s"] >= 0
            assert all(len(sample) >= 3 for sample in entry["samples"])
        journal.close()
        assert file.read_bytes().count(b"\n") == len(file.read_bytes().splitlines())
