"""What an edit makes run, and what it does not: one table, asked of Snakemake and of Make."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bbjspec.digest import FileHashes
from bbjspec.plan import read_plan
from tests.harness import clone, make_would_run, would_run

Runs = dict[str, int]
NOTHING: Runs = {}
PUBLISH = {"publish": 1}
CARD = {"card": 1, **PUBLISH}
EXPORT = {"gguf": 1, "generate": 1, "score": 1, "release": 1, **CARD}
COMPARE = {"compare": 1, **CARD}
SCORE = {"score": 2, **COMPARE}
GENERATE = {"generate": 2, **SCORE}
TRAIN = {"train": 1, "generate": 1, "score": 1, **COMPARE}
MODEL = {"train": 1, **GENERATE}
SPLIT = {"split": 1, "contamination": 1, **TRAIN}
DATASET = {"audit": 1, **SPLIT}
ALL = {"tokenizer": 1, "base": 1, **DATASET, "generate": 2, "score": 2}

V1, ROWS, PROMPTS = "experiments/v1.yaml", "dataset/rows.jsonl", "eval/prompts/print.jsonl"
TEMPLATE = "templates/MODEL_CARD.md.j2"
Do = Callable[[Path], object]


class Edit(NamedTuple):
    """What is done to a finished project, and how many stages of which kinds then run."""

    what: str
    do: Do
    runs: Runs
    refresh: bool = False


def text(file: str, old: str, new: str) -> Do:
    """Replace a text that must be there."""

    def do(root: Path) -> None:
        before = (root / file).read_text()
        assert old in before
        (root / file).write_text(before.replace(old, new, 1))

    return do


def spec(old: str, new: str) -> Do:
    return text(V1, old, new)


def add(line: str) -> Do:
    """One more section, or one more line at the end of the last."""
    return lambda root: (root / V1).write_text((root / V1).read_text() + line + "\n")


def lines(file: str, edit: Callable[[list[str]], list[str]]) -> Do:
    """Other lines, or the lines in another order."""
    return lambda root: (root / file).write_text("".join(edit((root / file).read_text().splitlines(True))))


def all_of(*edits: Do) -> Do:
    return lambda root: [edit(root) for edit in edits]


def another(name: str, body: str | None = None) -> Do:
    """Another experiment: a copy, or what `body` says."""
    return lambda root: (root / f"experiments/{name}.yaml").write_text(body or (root / V1).read_text())


def second(old: str, new: str) -> Do:
    """A second experiment, with one difference."""
    return all_of(another("v2"), text("experiments/v2.yaml", old, new))


def move(old: str, new: str) -> Do:
    return lambda root: (root / old).rename(root / new)


def remove(*patterns: str) -> Do:
    def do(root: Path) -> None:
        for path in [path for pattern in patterns for path in root.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def touch(pattern: str, hours: int) -> Do:
    def do(root: Path) -> None:
        for path in root.glob(pattern):
            os.utime(path, (time.time() + 3600 * hours,) * 2)

    return do


def newer(kind: str) -> Do:
    """The stage of that kind as a later bbjspec has it."""
    code = "import bbjspec.stage as s, dataclasses as d\n"
    code += f"s.KINDS[{kind!r}] = d.replace(s.KINDS[{kind!r}], version=99)\n"
    return lambda root: (root / "site/sitecustomize.py").write_text(code)


def newer_checker(root: Path) -> None:
    code = "import bbjspec.bbj.checker as c\nc.BUILTIN_VERSION = 99\n"
    (root / "site/sitecustomize.py").write_text(code)


K = spec("k: [1, 2]", "k: [1]")
PER_DEVICE = spec("per_device_train_batch_size: 8", "per_device_train_batch_size: 2")
CHECKPOINTING = spec("gradient_checkpointing: false", "gradient_checkpointing: auto")
GPUS = all_of(spec("gpu: 0", "gpu: 4"), PER_DEVICE)
GATE = "k: [1, 2]\n  gate: {min_effect: 0.2}"
LIMITS = text(TEMPLATE, "## Limits", "## What this does not say")
PROMPT = text(PROMPTS, "Show 100 on the screen.", "Let me see 100.")
CHECK = text(PROMPTS, r"print\\s+100\\b", r"print\\s*100\\b")
EDITS = [
    # What a spec says without saying something else.
    Edit("nothing at all", lambda root: None, NOTHING),
    Edit("a comment", spec("# One line", "# Another line"), NOTHING),
    Edit("the order of keys", spec("{r: 4, lora_alpha: 8,", "{lora_alpha: 8, r: 4,"), NOTHING),
    Edit("the order of sections", lines(V1, lambda all_lines: all_lines[-1:] + all_lines[:-1]), NOTHING),
    Edit("a number's format", spec("1e-3", "0.001"), NOTHING),
    Edit("a default written out", spec("max_length: 160", "max_length: 160\n  weight_decay: 0"), NOTHING),
    Edit("the description", spec("the smallest", "the shortest"), NOTHING),
    # What is no part of any result.
    Edit("tracking", add("tracking: {wandb: {project: bbj}}"), NOTHING),
    Edit("export.ollama.num_ctx, of nothing", spec("gguf: []", "gguf: [], ollama: {num_ctx: 8192}"), NOTHING),
    Edit("export.dir, of nothing", spec("gguf: []", "gguf: [], dir: /srv/models"), NOTHING),
    Edit("export.gguf", spec("gguf: []", "gguf: [q8_0]"), EXPORT),
    Edit("resources.gpu", spec("gpu: 0", "gpu: 1"), NOTHING),
    Edit("resources of a cluster", spec("gpu: 0", "gpu: 0, mem_mb: 300, runtime: 9, cpus_per_task: 3"), NOTHING),
    Edit("resources.gpu above the engine's", GPUS, CARD),
    Edit("resources.gpu above the engine's, and lora.r", all_of(GPUS, spec("r: 4", "r: 8")), TRAIN),
    Edit("card.template renamed", all_of(move(TEMPLATE, "t.j2"), add("card: {template: t.j2}")), NOTHING),
    # Names.
    Edit("the experiment renamed", move(V1, "experiments/v2.yaml"), PUBLISH),
    Edit("a copy under another name", another("v2"), PUBLISH),
    Edit("an heir that changes nothing", another("v2", "extends: v1\n"), PUBLISH),
    Edit("the spec removed", remove(V1), NOTHING),
    Edit("the dataset renamed", all_of(move(ROWS, "dataset/other.jsonl"), spec("rows.jsonl", "other.jsonl")), CARD),
    Edit("a prompt file renamed", move(PROMPTS, "eval/prompts/other.jsonl"), NOTHING),
    Edit("the pattern of the same prompts", spec("*.jsonl", "print.jsonl"), CARD),
    # model
    Edit("model.base", spec("pico-qwen2", "tiny-qwen2"), ALL),
    Edit("model.dtype", spec("dtype: float32", "dtype: bfloat16"), MODEL),
    Edit("model.load_in_4bit", spec("dtype: float32", "dtype: float32, load_in_4bit: false"), MODEL),
    Edit("model.attn_implementation", spec("dtype: float32", "dtype: float32, attn_implementation: eager"), MODEL),
    # data
    Edit("data.seed", spec("rows.jsonl", "rows.jsonl, seed: 7"), SPLIT),
    Edit("data.val_size", spec("rows.jsonl", "rows.jsonl, val_size: 0.2"), SPLIT),
    Edit("data.filters", spec("rows.jsonl", "rows.jsonl, filters: {require_code: true}"), SPLIT),
    Edit("data.filters.where", spec("rows.jsonl", "rows.jsonl, filters: {where: {kind: code-generation}}"), SPLIT),
    # lora, training
    Edit("lora.r", spec("r: 4", "r: 8"), TRAIN),
    Edit("lora.target_modules", spec("r: 4", "r: 4, target_modules: [q_proj]"), TRAIN),
    Edit("training.learning_rate", spec("1e-3", "2e-3"), TRAIN),
    Edit("training.global_train_batch_size", spec("global_train_batch_size: 8", "global_train_batch_size: 16"), TRAIN),
    Edit("training.seed", spec("max_length: 160", "max_length: 160\n  seed: 1"), TRAIN),
    Edit("training.per_device_train_batch_size", PER_DEVICE, CARD),
    Edit("training.gradient_checkpointing", CHECKPOINTING, CARD),
    Edit("training.save_total_limit", spec("max_length: 160", "max_length: 160\n  save_total_limit: 1"), CARD),
    Edit("training.max_length", spec("max_length: 160", "max_length: 170"), DATASET),
    # eval
    Edit("eval.sampling.max_new_tokens", spec("max_new_tokens: 12", "max_new_tokens: 13"), GENERATE),
    Edit("eval.sampling.batch_size", spec("batch_size: 24", "batch_size: 12"), GENERATE),
    Edit("eval.sampling.system_prompt", spec("n: 2", "n: 2, system_prompt: You write BBj."), GENERATE),
    Edit("eval.compiler", spec("{name: builtin}", '{name: bbjcpl, version: "26.03"}'), {"audit": 1, **SCORE}),
    Edit("eval.k", K, SCORE),
    Edit("eval.gate", spec("k: [1, 2]", GATE), COMPARE),
    # Files that specs name.
    Edit("a row of the dataset", text(ROWS, "Print 3 for ", "Now print 3 for "), DATASET),
    Edit("a row removed", lines(ROWS, lambda rows: rows[1:]), DATASET),
    Edit("the dataset's time", touch(ROWS, 1), NOTHING),
    Edit("a prompt", PROMPT, {"contamination": 1, **GENERATE}),
    Edit("a prompt's check", CHECK, SCORE),
    Edit("a prompt's category", text(PROMPTS, '"category": "print"', '"category": "show"'), SCORE),
    Edit("the order of prompts", lines(PROMPTS, lambda rows: rows[::-1]), NOTHING),
    Edit("the template", LIMITS, CARD),
    # Experiments share what is equal.
    Edit("a second experiment, with a rate of its own", second("1e-3", "2e-3"), TRAIN),
    Edit("a second experiment, with a gate of its own", second("k: [1, 2]", GATE), COMPARE),
    # bbjspec itself changes: shown, never rebuilt without being asked.
    Edit("a newer score stage", newer("score"), NOTHING),
    Edit("a newer score stage, refreshed", newer("score"), SCORE, refresh=True),
    Edit("a newer train stage, refreshed", newer("train"), TRAIN, refresh=True),
    Edit("a newer embedded checker", newer_checker, NOTHING),
    Edit("a newer embedded checker, refreshed", newer_checker, {"audit": 1, **SCORE}, refresh=True),
    # What is in build/ and adapters/.
    Edit("every time there is", touch("**/*", 1), NOTHING),
    Edit("every time there is, long ago", touch("**/*", -9999), NOTHING),
    Edit("upstream removed", remove("build/base", "build/tokenizer", "build/split"), NOTHING),
    Edit("upstream removed, and k", all_of(remove("build/base", "build/train"), K), {**SCORE, "train": 1}),
    Edit("markers removed", remove("build/*/*/done"), NOTHING),
    Edit("markers removed, and k", all_of(remove("build/*/*/done"), K), SCORE),
    Edit("logs removed", remove("build/*/*/*.log"), NOTHING),
    Edit("an output removed, and the template", all_of(remove("build/compare/*/comparison.json"), LIMITS), COMPARE),
    Edit("build/ removed", remove("build"), NOTHING),
    Edit("the lock file removed", remove("adapters/v1/lock.json"), PUBLISH),
    Edit("what is published removed", remove("adapters/v1", "eval/baselines"), PUBLISH),
]  # fmt: skip


def asked(root: Path, *, refresh: bool = False) -> tuple[Runs, Runs]:
    """What Snakemake and Make would run. Neither dry run may change the other's answer."""
    of_snakemake = would_run(root, *(["--config", "refresh=1"] if refresh else []))
    of_make = make_would_run(root, *(["--refresh"] if refresh else []))
    return dict(of_snakemake), dict(of_make)


@pytest.fixture
def site(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project whose `site/` every Python process reads first."""
    (small / "site").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(small / "site"), os.environ.get("PYTHONPATH", "")]))
    return small


@pytest.mark.parametrize("edit", EDITS, ids=[edit.what for edit in EDITS])
def test_an_edit_runs_exactly_what_it_must(site: Path, edit: Edit) -> None:
    edit.do(site)
    assert asked(site, refresh=edit.refresh) == (edit.runs, edit.runs)


# On a fresh clone build/ is empty: what is published is copied back (adopted) where a stage that runs wants it.
ADOPTED = {"audit": 1, "contamination": 1, "train": 1, "generate": 2, "score": 2, "compare": 1}
CLONE_EDITS = [
    (Edit("nothing at all", lambda root: None, NOTHING), set[str]()),
    (Edit("the template", LIMITS, {**ADOPTED, **CARD}), set(ADOPTED)),
    (Edit("the experiment renamed", move(V1, "experiments/v2.yaml"), {**ADOPTED, **CARD}), set(ADOPTED)),
    (Edit("a prompt", PROMPT, ALL), {"audit", "train"}),
    (Edit("a prompt's check", CHECK, {**ADOPTED, **CARD}), {"audit", "contamination", "train", "generate"}),
]


@pytest.mark.parametrize(("edit", "adopted"), CLONE_EDITS, ids=[edit.what for edit, _ in CLONE_EDITS])
def test_an_edit_on_a_fresh_clone_never_trains(small: Path, tmp_path: Path, edit: Edit, adopted: set[str]) -> None:
    fresh = clone(small, tmp_path / "clone")
    assert not (fresh / "build").exists()
    edit.do(fresh)
    assert asked(fresh) == (edit.runs, edit.runs)
    documents = [json.loads(path.read_text()) for path in fresh.glob("build/*/*/stage.json")]
    assert {document["kind"] for document in documents if document.get("adopt")} == adopted
    assert not any(document["kind"] == "train" and not document["adopt"] for document in documents)


def test_a_permission_is_in_no_digest(small: Path) -> None:
    """An embedded base needs none, so this is asked of the plan alone."""
    pinned = f"base: org/model, revision: {'0123456789' * 3}abcdef0123"
    text(V1, "base: pico-qwen2", pinned)(small)
    another("v2")(small)
    text("experiments/v2.yaml", pinned, f"{pinned}, allow_unpinned: true")(small)
    another("v3")(small)
    text("experiments/v3.yaml", pinned, "base: org/model, revision: main, allow_unpinned: true")(small)
    plan = read_plan(small, FileHashes())
    assert plan.findings() == []
    v1, v2, v3 = (plan.experiments[name].roles for name in ("v1", "v2", "v3"))
    assert [stage.digest for stage in v1.values()] == [stage.digest for stage in v2.values()]
    assert not {stage.digest for stage in v1.values()} & {stage.digest for stage in v3.values()}
