"""The back ends on the smallest embedded base: the same tokens, the same answers twice, and again after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from bbjspec import store
from bbjspec.data.leakage import leaks
from bbjspec.data.rows import load_rows
from bbjspec.errors import BadInput
from bbjspec.generation import llama_cpp, transformers
from bbjspec.plan import ExperimentPlan, read_plan
from bbjspec.stage import Stage, StageRun
from bbjspec.suite import load_prompts
from tests.harness import SPEC, SYSTEM, environment, write_project
from tests.tiny_gguf import write_gguf

SAMPLING = "sampling: {n: 2, max_new_tokens: 24, batch_size: 4, stop: [qqq]}"
GGUF = "models/tiny.gguf"
WORDS = (
    "apple brook cedar delta ember frost grove hazel ivory jewel koala lemon maple north ocean pearl quilt raven "
    "stone thorn urban velvet willow xenon yellow zebra amber birch coral dusk"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose tokenizer, base and split are whole, with the base as a GGUF file too."""
    root = tmp_path_factory.mktemp("generation") / "project"
    write_project(root)
    with (root / "dataset/rows.jsonl").open("w") as rows:
        for i, word in enumerate(WORDS.split()):
            chat = [("system", SYSTEM), ("user", f"{word} {word[::-1]} {i}?"), ("assistant", f"```bbj\nprint {i}\n```")]
            messages = [{"role": role, "content": content} for role, content in chat]
            rows.write(json.dumps({"id": f"r{i:03}", "kind": "code-generation", "messages": messages}) + "\n")
    made = planned(root)
    for role in ("tokenizer", "base", "split"):
        store.run(store.prepare(root, made.roles[role]), console=False)
    (root / "models").mkdir()
    base, tokenizer = (root / made.roles[role].directory for role in ("base", "tokenizer"))
    write_gguf(base / "model", tokenizer / "tokenizer", root / GGUF)
    spec = SPEC.replace("sampling: {n: 2, max_new_tokens: 12, batch_size: 24}", SAMPLING)
    references = f"  few_shot: 2\n  references: [{{name: tiny, gguf: {GGUF}}}]\n"
    (root / "experiments/v1.yaml").write_text(spec.replace("  k: [1, 2]\n", "  k: [1, 2]\n" + references))
    return root


def planned(root: Path) -> ExperimentPlan:
    plan = read_plan(root)
    assert not plan.bad, plan.findings()
    return plan.experiments["v1"]


def stage_run(root: Path, stage: Stage, out: Path, **sampling: Any) -> StageRun:
    out.mkdir(parents=True, exist_ok=True)
    return StageRun(
        kind=stage.kind,
        digest=stage.digest,
        root=root,
        directory=out,
        config={**stage.config, "sampling": {**stage.config["sampling"], **sampling}},
        inputs={role: root / upstream.directory for role, upstream in stage.inputs.items()},
        sources={role: [root / name for name in source.files] for role, source in stage.sources.items()},
        resources=stage.resources,
    )


@pytest.mark.parametrize("role", ["base_generate", "few_shot_generate", "tiny_generate"])
def test_a_run_that_was_killed_and_went_on_equals_an_undisturbed_one(project: Path, role: str) -> None:
    stage = planned(project).roles[role]
    document, directory = store.prepare(project, stage), project / stage.directory
    journal = directory / "work/batches.jsonl"
    command = [sys.executable, "-m", "bbjspec", "run", str(document)]
    with subprocess.Popen(command, cwd=project, env=environment(), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= 3):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it must be in the middle when it is killed"
    kept = journal.read_bytes().splitlines()
    with journal.open("ab") as stream:
        stream.write(b'{"cells": [["t/')  # as a kill in the middle of a write leaves it
    store.run(document, console=False)
    assert f"going on after {len(kept)} of " in (directory / "stage.log").read_text()
    resumed = (directory / "generations.jsonl").read_bytes()
    shutil.rmtree(directory)
    store.run(store.prepare(project, stage), console=False)
    assert "going on after" not in (directory / "stage.log").read_text()
    assert (directory / "generations.jsonl").read_bytes() == resumed
    record = json.loads((directory / "generation_record.json").read_text())
    assert record["load_time_s"] >= 0 and record["preflight"]["eos_ends_turn"] is True


def test_llama_cpp_takes_the_same_tokens_and_is_as_greedy(project: Path, tmp_path: Path) -> None:
    roles = planned(project).roles
    ours = transformers.open(stage_run(project, roles["base_generate"], tmp_path / "t"))
    theirs = llama_cpp.open(stage_run(project, roles["tiny_generate"], tmp_path / "l"))
    try:
        assert [task.ids for task in ours.tasks] == [task.ids for task in theirs.tasks]
        assert [task.prompt_hash for task in ours.tasks] == [task.prompt_hash for task in theirs.tasks]
        assert theirs.model["quantization"] == "F32" and theirs.preflight["greedy_same_at_batch_1_and_n"] is None
        same = sum(ours._sampler.greedy([task.ids], 24)[0] == theirs.greedy(task.ids, 24) for task in ours.tasks)
        # llama.cpp keeps keys and values in float16: a near tie may fall otherwise.
        assert same >= 0.9 * len(ours.tasks)
        drawn = [theirs.sample(theirs.tasks[:4], seed) for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]
        assert theirs.sample(theirs.tasks[2:3], 3) == theirs.sample(theirs.tasks[:3], 1)[2:], "whatever came before"
    finally:
        theirs.close()


def test_a_stop_text_ends_an_answer_and_is_cut_off(project: Path, tmp_path: Path) -> None:
    stage = planned(project).roles["tiny_generate"]
    plain = llama_cpp.open(stage_run(project, stage, tmp_path))
    text = plain.sample(plain.tasks[:1], 1)[0]["completion"]
    plain.close()
    stop = text[5:8]
    stopped = llama_cpp.open(stage_run(project, stage, tmp_path, stop=[stop]))
    answer = stopped.sample(stopped.tasks[:1], 1)[0]
    stopped.close()
    assert answer["completion"] == text[: text.find(stop)] and answer["finish_reason"] == "stop"
    assert answer["n_tokens"] < 24


@pytest.mark.parametrize(("what", "said"), [("other", "this prompt, pico-qwen2 makes"), ("none", "cannot load it")])
def test_a_gguf_that_is_not_the_bases_is_refused(project: Path, tmp_path: Path, what: str, said: str) -> None:
    roles, file = planned(project).roles, tmp_path / "x.gguf"
    if what == "none":
        file.write_bytes(b"GGUF? no")
    else:
        tokenizer = tmp_path / "tokenizer"
        shutil.copytree(project / roles["tokenizer"].directory / "tokenizer", tokenizer)
        words = json.loads((tokenizer / "tokenizer.json").read_text())
        words["model"]["merges"] = words["model"]["merges"][:100]
        (tokenizer / "tokenizer.json").write_text(json.dumps(words))
        write_gguf(project / roles["base"].directory / "model", tokenizer, file)
    run = stage_run(project, roles["tiny_generate"], tmp_path / "out")
    run.sources["gguf"][:] = [file]
    with pytest.raises(BadInput, match=said):
        llama_cpp.open(run)


def test_examples_are_training_rows_that_give_nothing_away(project: Path, tmp_path: Path) -> None:
    roles = planned(project).roles
    stage = roles["few_shot_generate"]
    plain = transformers.open(stage_run(project, roles["base_generate"], tmp_path / "a"))
    shown = transformers.open(stage_run(project, stage, tmp_path / "b"))
    rows = {row.id: row for row in load_rows(project / roles["split"].directory / "train.jsonl", "train.jsonl")}
    ids = shown.record()["few_shot"]
    assert len(set(ids)) == 2 and not leaks(
        load_prompts([project / "eval/prompts/print.jsonl"]), [rows[i] for i in ids]
    )
    for task, bare in zip(shown.tasks, plain.tasks, strict=True):
        turns = [(turn, getattr(rows[i], turn)) for i in ids for turn in ("question", "answer")]
        assert [message["content"] for message in task.messages[1:-1]] == [content for _, content in turns]
        assert [message["role"] for message in task.messages] == ["system", *["user", "assistant"] * 2, "user"]
        assert task.messages[-1] == bare.messages[-1] and len(task.ids) > len(bare.ids)
    # A prompt that is one of the rows' questions takes that row out, and the seed decides.
    prompts = tmp_path / "prompts.jsonl"
    prompt = json.loads((project / "eval/prompts/print.jsonl").read_text().splitlines()[0])
    prompts.write_text(json.dumps({**prompt, "input": rows[ids[0]].question}) + "\n")
    run = stage_run(project, stage, tmp_path / "c")
    run.sources["prompts"][:] = [prompts]
    assert ids[0] not in transformers.open(run).record()["few_shot"]
    assert transformers.open(stage_run(project, stage, tmp_path / "d", seed=1)).record()["few_shot"] != ids
    run = stage_run(project, stage, tmp_path / "e")
    run.config["few_shot"]["n"] = 500
    with pytest.raises(BadInput, match=r"eval\.few_shot: 500 examples are asked for, but \d+ training rows"):
        transformers.open(run)


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    """llama-cpp-python's own server, with the tiny GGUF."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", GGUF, "--model_alias", "tiny", "--n_ctx", "512"]
    log = (project / "server.log").open("wb")
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=project,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=log,
        stderr=log,
    )
    try:
        for _ in range(600):
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/v1/models")
                assert b"tiny" in connection.getresponse().read()
                break
            except OSError:
                assert process.poll() is None, (project / "server.log").read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def test_a_real_server(project: Path, server: str, tmp_path: Path) -> None:
    from bbjspec.stages import generate

    made = planned(project)
    sampling = {**made.roles["tiny_generate"].config["sampling"], "n": 1, "temperature": 0.0, "stop": []}
    known = {"url": server, "concurrency": 3, "timeout": 60.0, "api_key_env": None}
    config = {"backend": "openai", "model": "tiny", "digest": "volatile", "sampling": sampling}
    stage = Stage("generate", config, {}, made.roles["tiny_generate"].sources, {"gpu": 0, "server": known})
    texts = []
    for name in ("one", "two"):
        run = stage_run(project, stage, tmp_path / name)
        generate.run(run)
        rows = [json.loads(line) for line in (run.directory / "generations.jsonl").read_text().splitlines()]
        texts.append([row["completion"] for row in rows])
        assert {row["finish_reason"] for row in rows} <= {"stop", "length"} and len(rows) == 24
        assert all(1 <= row["n_tokens"] <= 24 for row in rows)
    assert texts[0] == texts[1]
    direct = llama_cpp.open(stage_run(project, made.roles["tiny_generate"], tmp_path / "direct", temperature=0.0))
    ours = {task.id: direct.sample([task], 0)[0]["completion"] for task in direct.tasks}
    direct.close()
    # The server leaves out bytes that are no text, and may evaluate a prompt in other portions.
    same = sum(ours[name].replace("�", "") == text for name, text in zip(sorted(ours), texts[0], strict=True))
    assert same >= 0.8 * len(ours), "the server's own template and tokenizer give the same prompt"


def test_a_servers_digest_is_refused_where_it_reports_none(project: Path, server: str, tmp_path: Path) -> None:
    from bbjspec.generation import openai

    known = {"url": server, "concurrency": 1, "timeout": 60.0, "api_key_env": None}
    prompts = planned(project).roles["tiny_generate"]
    config = {**prompts.config, "backend": "openai", "model": "tiny", "digest": "sha256:" + "0" * 64}
    with pytest.raises(BadInput, match="reports no digest of tiny"):
        openai.open(stage_run(project, Stage("generate", config, {}, prompts.sources, {"server": known}), tmp_path))


def test_the_whole_way_with_references(project: Path, server: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(project, root)
    file = root / "experiments/v1.yaml"
    served = f'{{name: served, server: "{server}", model: tiny, concurrency: 2}}'
    text = (
        file.read_text()
        .replace("max_steps: 48", "max_steps: 4")
        .replace(f"gguf: {GGUF}}}", f"gguf: {GGUF}}}, {served}")
    )
    file.write_text(text)
    plan = read_plan(root)
    made = plan.experiments["v1"]
    for stage in plan.needed(made):
        store.run(store.prepare(root, stage), console=False)
    store.write_json(root / made.publish_directory / store.STAGE, made.publish_document)
    store.run(root / made.publish_directory / store.STAGE, console=False)
    card = (root / "adapters/v1/MODEL_CARD.md").read_text()
    section = card.partition("### References")[2].partition("## Instructive failures")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and all(line.count("|") == rows[0].count("|") for line in rows), section
    assert "`tiny`" in rows[2] and "`tiny.gguf`, `F32`" in rows[2] and "`llama_cpp`" in rows[2]
    assert "(volatile)" in rows[3] and "`openai`" in rows[3] and "They decide nothing" in section
    assert "may mean another model today" in section and server not in card
    for name, volatile in (("tiny", False), ("served", True)):
        results = json.loads((root / f"adapters/v1/references/{name}/eval_results.json").read_text())
        assert results["volatile"] is volatile and results["env"]["batch_size"] == 1
        assert set(results["preflight"]) == {
            "bos_at_most_one",
            "eos_ends_turn",
            "greedy_same_at_batch_1_and_n",
            "fell_back_to_batch_1",
        }
    ours = json.loads((root / "adapters/v1/eval_results.json").read_text())
    assert ours["preflight"]["fell_back_to_batch_1"] is False and ours["volatile"] is False
    assert read_plan(root).experiment_state(made) == "published"
