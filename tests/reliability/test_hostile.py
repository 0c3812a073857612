"""Input that means harm: bombs, names that lead elsewhere, text for a shell, files that are none."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bbjspec import store
from bbjspec.backends.make import escape
from bbjspec.bbj.extract import blocks
from bbjspec.markdown import inert
from bbjspec.pairing import read_side
from bbjspec.plan import read_plan
from bbjspec.spec.names import is_name
from bbjspec.stage import StageRun
from bbjspec.stages import cardtext, score
from bbjspec.suite import load_prompts
from tests.answers import SAMPLING
from tests.harness import SPEC, environment, snakemake, write_project
from tests.reliability.abuse import bbjspec

SHELL = "a$(touch x1)`touch x2`;touch x3;'\"|& b {x} %d\\n{{y}}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path / "project")
    return tmp_path / "project"


def refused(root: Path, text: str) -> str:
    """What `bbjspec check` says of this spec: one line."""
    (root / "experiments/v1.yaml").write_text(text, encoding="utf-8")
    told = bbjspec("check", root=root)
    assert told.code == 1 and len(told.lines) == 1, told
    return told.lines[0].removeprefix("experiments/v1.yaml")


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)
MERGES = "m: &m0 {x: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}\n" for i in range(1, 13))
BOMBS = {
    "billion laughs": (LAUGHS, ": more than 20,000 values once anchors are expanded"),
    "merge keys": (MERGES, ": more than 20,000 values once anchors are expanded"),
    "an anchor in itself": ("a: &a {b: *a}", ":1:4: an anchor that holds itself"),
    "a merge of itself": ("a: &a {<<: *a}", ":1:4: an anchor that holds itself"),
    "two anchors in each other": ("a: &a [&b [*a, *b]]", ":1:4: an anchor that holds itself"),
    "brackets": ("a: " + "[" * 10_000 + "]" * 10_000, ": nested deeper than 100; a spec has three levels"),
    "braces": ("{a: " * 10_000 + "}" * 10_000, ": nested deeper than 100; a spec has three levels"),
    "dashes": ("- " * 10_000, ": nested deeper than 100; a spec has three levels"),
    "indents": ("".join("  " * i + "a:\n" for i in range(300)), ": nested deeper than 60; a spec has three levels"),
    "a long scalar": ("description: " + "x" * 10_000_000, ": larger than 200,000 bytes; a spec is a page of text"),
    "a tag of Python's": (
        SPEC + "x: !!python/object/apply:os.system [touch x]",
        ":24:4: the tag 'tag:yaml.org,2002:python/object/apply:os.system'; values are written without tags",
    ),
    "a tag": ("description: !danger x", ":1:14: the tag '!danger'; values are written without tags"),
    "a tag of its own prefix": (
        "%TAG ! tag:x:\n---\n!y a: 1",
        ":3:1: the tag 'tag:x:y'; values are written without tags",
    ),
    "a huge exponent": (
        SPEC.replace("1e-3", "1e999999"),
        ":7:18: training.learning_rate: input should be a finite number; found inf",
    ),
    "digits": (SPEC.replace("r: 4", "r: " + "9" * 10_000), ": not YAML: a number of more than 4,300 digits"),
    "hexadecimal digits": (
        SPEC.replace("r: 4", "r: 0x" + "f" * 10_000),
        ":5:11: lora.r: input should be less than or equal to 1024; found a very large number",
    ),
    "a section twice": (SPEC + "model: {}\n", ':24:1: duplicate key "model": each field stands once'),
}


@pytest.mark.parametrize(("text", "said"), BOMBS.values(), ids=BOMBS)
def test_yaml(project: Path, text: str, said: str) -> None:
    assert refused(project, text) == said
    assert not (project / "x").exists()


CHAT = '"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, '
CHAT += '{"role": "assistant", "content": "a"}]'
LINES = {
    "brackets": ("[" * 100_000, "json: not JSON: RecursionError"),
    "objects": ('{"a":' * 100_000, "json: not JSON: RecursionError"),
    "a field of brackets": ('{"x": ' + "[" * 100_000 + "]" * 100_000 + f", {CHAT}}}", "json: not JSON: RecursionError"),
    "digits": (f'{{"x": {"9" * 10_000}, {CHAT}}}', "json: not JSON: ValueError"),
    "NaN": (f'{{"x": NaN, {CHAT}}}', "json: not JSON: NaN"),
    "half a surrogate": (f'{{"x": "\\ud800", {CHAT}}}', r"json: half a surrogate pair (\ud800 to \udfff alone)"),
    "a name of half a surrogate": (
        f'{{"\\udfff": 1, {CHAT}}}',
        r"json: half a surrogate pair (\ud800 to \udfff alone)",
    ),
}


@pytest.mark.parametrize(("line", "said"), LINES.values(), ids=LINES)
def test_rows(project: Path, line: str, said: str) -> None:
    """Each bad line is told, those behind it too."""
    (project / "dataset/bad.jsonl").write_text(f"{line}\n{{}}\n")
    for command in (("audit", "dataset/bad.jsonl"), ("import", "dataset/bad.jsonl", "--to", "out.jsonl")):
        told = bbjspec(*command, root=project)
        assert told.code == 1 and told.lines[0].startswith("dataset/bad.jsonl:1: " + said), told.err
        assert len(told.lines) == 2 and told.lines[1].startswith("dataset/bad.jsonl:2: ")
    assert not (project / "out.jsonl").exists()


@pytest.mark.parametrize("row", [f'{{"x": 1e999999, {CHAT}}}', f'{{"x": {"[" * 500}{"]" * 500}, {CHAT}}}'])
def test_rows_that_python_reads_and_json_cannot_say(project: Path, row: str) -> None:
    """An infinity by a back door, and a nesting just short of too deep: a row or a line, and no traceback."""
    (project / "dataset/bad.jsonl").write_text(row + "\n")
    assert bbjspec("audit", "dataset/bad.jsonl", root=project).code in (0, 1)
    told = bbjspec("import", "dataset/bad.jsonl", "--to", "out.jsonl", root=project)
    assert told.code in (0, 1) and len(told.lines) == told.code


def test_a_gzip_bomb(project: Path) -> None:
    """A gigabyte of blanks in a megabyte: one line that is too long, in the memory of one that is not."""
    with gzip.open(project / "dataset/bomb.jsonl.gz", "wb", compresslevel=9) as stream:
        for _ in range(64):
            stream.write(b" " * 4_000_000)
    told = bbjspec("audit", "dataset/bomb.jsonl.gz", root=project)
    assert told.lines == ["dataset/bomb.jsonl.gz:1: json: 256,000,000 bytes long; at most 8,000,000 are a row"]


PROMPTS = {
    "brackets": ("[" * 100_000, "not JSON as meant here: nested too deeply"),
    "digits": ('{"id": ' + "9" * 10_000 + "}", "not JSON as meant here: Exceeds the limit"),
    "a field twice": ('{"id": "a", "id": "b"}', "not JSON as meant here: 'id' is given twice"),
    "a megabyte": ('"' + "x" * 1_000_001 + '"', "longer than 1,000,000 bytes"),
}


@pytest.mark.parametrize(("line", "said"), PROMPTS.values(), ids=PROMPTS)
def test_prompts(project: Path, line: str, said: str) -> None:
    with (project / "eval/prompts/print.jsonl").open("a") as stream:
        stream.write(line + "\n")
    told = bbjspec("check", root=project)
    assert told.code == 1 and told.lines[0].startswith(f"eval/prompts/print.jsonl:25: {said}"), told.err


NAMES = [
    "../x", "..", ".", ".hidden", "a/b", "a b", " a", "a\n", "a\nb", "a\tb", "'a'", '"a"', "$(touch x)", "`touch x`",
    "a;b", "a|b", "a&b", "a*b", "a?", "[a]", "{a}", "a\\b", "-rf", "--cores", "V1", "é", "v\N{CYRILLIC SMALL LETTER A}",
    "ａ", "a\u200b", "a\u202eb", "a\0b", "~", "#a", "a:b", "a=b", "a,b", "a%b", "a.", "all", "con", "nul.x", "com1", "",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names(project: Path, name: str) -> None:
    """Of experiments, new ones, parents and references: letters, digits, “.”, “_”, “-”."""
    assert not is_name(name)
    before = sorted(project.rglob("*"))
    made = bbjspec("new", "--from", "v1", "--", name, root=project)
    assert made.code in (1, 2) and made.err.isascii() | ("“" in made.err) and len(made.lines) == 1, made
    assert made.err.rstrip("\n").isprintable()
    assert sorted(project.rglob("*")) == before
    extending = refused(project, SPEC + f"extends: {json.dumps(name)}\n")
    assert extending.startswith(":24:10: extends: "), extending
    reference = f'  k: [1, 2]\n  references: [{{name: {json.dumps(name)}, server: "http://h/v1", model: m}}]\n'
    said = refused(project, SPEC.replace("  k: [1, 2]\n", reference))
    assert ":22:" in said and "reference's name" in said, said


def test_names_of_files(project: Path) -> None:
    """A spec of such a name is told, has no target and reaches no shell; the good one beside it goes on."""
    bad = [name for name in NAMES if name and "/" not in name and "\0" not in name and not name.startswith(".")]
    for name in bad:
        (project / f"experiments/{name}.yaml").write_text(SPEC)
    told = bbjspec("check", root=project)
    assert told.code == 1 and len(told.lines) == len(bad) and all(line.isprintable() for line in told.lines)
    assert bbjspec("check", "v1", root=project).out == "1 good: v1\n"
    compiled = bbjspec("compile", "--to", "make", root=project)
    (project / "Makefile.bbjspec").write_text(compiled.out)
    assert "touch x" not in compiled.out
    phony = next(line for line in compiled.out.splitlines() if line.startswith(".PHONY"))
    assert phony.split()[1:] == ["all", "v1"]
    for command in (["make", "-f", "Makefile.bbjspec", "-n"], ["snakemake", "--cores", "1", "--dry-run", "v1"]):
        done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert not list(project.glob("x*"))


PRETENCE = """#!/bin/bash
[ -f "$4" ] && : > "$(dirname "$4")/done"
"""


@pytest.mark.parametrize("engine", ["make", "snakemake"])
def test_nothing_of_a_spec_reaches_a_shell(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Stages of a plan full of shell, through real shells: what runs a stage is a pretence that makes its marker."""
    for folder, names in (("dataset", ["rows.jsonl"]), ("eval", ["prompts/print.jsonl"])):
        (project / folder / SHELL).mkdir()
        for name in names:
            shutil.move(project / folder / name, project / folder / SHELL / f"-{SHELL}.jsonl")
    shutil.copy(project / "templates/MODEL_CARD.md.j2", project / "templates" / f"{SHELL}.j2")
    (project / "base;touch x4").mkdir()
    (project / "experiments/v1.yaml").write_text(
        SPEC.replace("dataset/rows.jsonl", json.dumps(f"dataset/{SHELL}/-{SHELL}.jsonl"))
        .replace("eval/prompts/*.jsonl", json.dumps(f"eval/{SHELL}/*.jsonl"))
        .replace("the smallest whole way", json.dumps(SHELL))
        .replace("base: pico-qwen2", 'base: "./base;touch x4"')
        + f"card: {{template: {json.dumps(f'templates/{SHELL}.j2')}}}\n"
    )
    assert bbjspec("check", root=project).code == 0
    site = tmp_path / "a $(touch x5) site"
    site.mkdir()
    (site / "python").write_text(PRETENCE)
    (site / "python").chmod(0o755)
    (site / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(site / 'python')!r}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    if engine == "make":
        compiled = subprocess.run(
            ["bbjspec", "compile", "--to", "make"], cwd=project, env=environment(), capture_output=True, text=True
        )
        assert compiled.returncode == 0 and SHELL not in compiled.stdout, compiled.stderr
        (project / "Makefile.bbjspec").write_text(compiled.stdout)
        command = ["make", "-f", "Makefile.bbjspec"]
        done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, timeout=120)
    else:
        done = snakemake(project, "--printshellcmds")
        assert "touch x1" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(project.glob("build/*/*/done"))) > 10
    assert not list(project.rglob("x[1-5]*"))


def test_a_dataset_of_any_name_is_split(project: Path) -> None:
    """The same by the real stages: a name is a name."""
    shutil.move(project / "dataset/rows.jsonl", project / f"dataset/{SHELL}.jsonl")
    (project / "experiments/v1.yaml").write_text(
        SPEC.replace("dataset/rows.jsonl", json.dumps(f"dataset/{SHELL}.jsonl"))
    )
    roles = read_plan(project).experiments["v1"].roles
    for role in ("tokenizer", "split"):
        store.run(store.prepare(project, roles[role]), console=False)
    assert (project / roles["split"].directory / "train.jsonl").stat().st_size
    assert not list(project.rglob("x[1-5]*"))


def test_what_make_is_told() -> None:
    assert escape("echo $(touch x) $HOME") == "echo $$(touch x) $$HOME"


def outside(root: Path, file: Path) -> str:
    shutil.move(file, root.parent / "rows.jsonl")
    file.symlink_to(root.parent / "rows.jsonl")
    return ""


def itself(root: Path, file: Path) -> str:
    file.unlink()
    file.symlink_to(file.name)
    return "Too many levels of symbolic links"


def dangling(root: Path, file: Path) -> str:
    file.unlink()
    file.symlink_to("nowhere")
    return "No such file or directory"


def pipe(root: Path, file: Path) -> str:
    file.unlink()
    os.mkfifo(file)
    return "not a file, but a pipe or a device"


def device(root: Path, file: Path) -> str:
    file.unlink()
    file.symlink_to("/dev/zero")
    return "not a file, but a pipe or a device"


def folder(root: Path, file: Path) -> str:
    file.unlink()
    file.mkdir()
    return "Is a directory"


@pytest.mark.parametrize("change", [outside, itself, dangling, pipe, device, folder])
def test_a_dataset_that_is_no_plain_file(project: Path, change: Callable[[Path, Path], str]) -> None:
    """A link to a file outside is that file, whose bytes are hashed; what is no file is told, and not opened."""
    why = change(project, project / "dataset/rows.jsonl")
    checked = bbjspec("check", root=project)
    audited = bbjspec("audit", "dataset/rows.jsonl", root=project)
    if not why:
        assert (checked.code, audited.code) == (0, 0)
        return
    assert checked.lines == ["experiments/v1.yaml:4:14: data.path: dataset/rows.jsonl: no such file"]
    assert audited.code == 1 and audited.lines == [f"dataset/rows.jsonl: cannot be read: {why}"]
    imported = bbjspec("import", "dataset/rows.jsonl", "--to", "out.jsonl", root=project)
    assert imported.code == 1 and len(imported.lines) == 1 and not (project / "out.jsonl").exists()


@pytest.mark.parametrize("change", [itself, dangling, pipe, device, folder])
@pytest.mark.parametrize("name", ["experiments/v1.yaml", "eval/prompts/print.jsonl", "templates/MODEL_CARD.md.j2"])
def test_a_source_that_is_no_plain_file(project: Path, name: str, change: Callable[[Path, Path], str]) -> None:
    change(project, project / name)
    told = bbjspec("check", root=project)
    assert told.code == 1 and len(told.lines) == 1, told


INJECTION = """Sure: {{ 7 * 7 }} {% for x in y %}

`````bbj
print (((
</code></pre><script>alert(1)</script>
![x](javascript:alert(1)) | a | b |
{{ config.items() }} {% raw %} @EXPERIMENT@ @PARENT@
\x1b[2J\u202ercs
~~~
````
# A heading
"""


def test_what_a_model_says_is_shown_and_does_nothing(project: Path) -> None:
    """From generations through the score stage to what the card shows of a failure: one fence, and all of it inside."""
    suite, made = project / "eval/prompts/print.jsonl", project / "generate"
    made.mkdir()
    how = {"model": {"base": "b"}, "sampling": SAMPLING, "backend": "transformers", "finish_reason": "stop"}
    rows = [{"task_id": p.id, "sample_idx": 0, "completion": INJECTION, **how} for p in load_prompts([suite])]
    (made / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = project / "score"
    out.mkdir()
    config = {"compiler": {"name": "builtin", "version": None}, "k": [1], "n": 1}
    score.run(StageRun("score", "0" * 16, project, out, config, {"generate": made}, {"prompts": [suite]}))
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    prompts = {row["task_id"]: {"input": "q", "strict": 0, "n": 1} for row in scores}
    (first, *_) = cardtext.failures(scores, prompts)
    assert "<script>" in first["code"] and first["error"] is not None
    shown = inert(first["code"])
    (block,) = blocks(f"Before.\n\n{shown}\n\n# After\n")
    assert block.closed and "{{ config.items() }}" in block.code and "# A heading" in block.code
    assert "@EXPERIMENT@" not in shown and "@PARENT@" not in shown and "\x1b" not in shown and "\u202e" not in shown
    assert f"{shown}\n".count("\n") == block.after - block.line
    assert all("\n" not in inert(first["error"][part], inline=True) for part in ("source", "message"))
    assert read_side("tuned", out / "results.json", out / "scores.jsonl").failures
