"""The gguf stage on the smallest embedded model, tuned: files that llama.cpp takes and that answer as the model does.

The one export that the tests look at was killed between two of its files, and run again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bbjspec.digest import sha256_file
from bbjspec.errors import EnvironmentLacks, StageFailed
from bbjspec.generation.llama_cpp import LlamaCpp
from bbjspec.spec.eval import SamplingSpec
from bbjspec.spec.export import ExportSpec
from bbjspec.stage import StageRun
from bbjspec.stages import converter, gguf
from tests.stages import tiny

REPOSITORY = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("test")
TYPES = ["f16", "q8_0", "q4_k_m"]
LIMIT = 64  # tokens of a greedy answer
NEAR = 0.01  # logits: closer than this half precision may choose the other; the second best is 0.03 behind (median)
INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from bbjspec.stages import converter, gguf
from tests.stages import test_gguf
whole = converter.quantize
def quantize(source, out, name, log):
    if name == "q8_0":
        os.kill(os.getpid(), signal.SIGKILL)
    whole(source, out, name, log)
converter.quantize = quantize
gguf.run(test_gguf.export(Path(sys.argv[1])))
"""


def export(root: Path, out: Path | None = None, **config: Any) -> StageRun:
    """The stage over what is trained in `root`."""
    fields = {"model": tiny.MODEL, "types": TYPES, "base_weights": "bf16", "llama_cpp": converter.VERSION} | config
    inputs = {role: root / role for role in ("base", "tokenizer", "train")}
    return tiny.stage("gguf", out or root, fields, **inputs)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer, base, and an adapter as training wrote it, with larger numbers in it: whatever it is trained on, this
    base answers every prompt with one token over and over, which any file could."""
    built = tiny.build(tmp_path_factory.mktemp("gguf"))
    tiny.trained(built, built, max_steps=2, save_steps=2)
    file, chance = built / "train/adapter/adapter_model.safetensors", torch.Generator().manual_seed(1)
    drawn = {name: 0.2 * torch.randn(old.shape, generator=chance) for name, old in sorted(load_file(file).items())}
    save_file(drawn, file, metadata={"format": "pt"})
    return built


@pytest.fixture(scope="module")
def left(root: Path) -> dict[str, int]:
    """What a killed run left: the inode of each file. The root is whole after that."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(root)], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    found = {file.name: file.stat().st_ino for file in (root / "gguf/work").glob("*.gguf*")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(converter, "convert", lambda *_: pytest.fail("converted again"))
        gguf.run(export(root))
    return found


@pytest.fixture(scope="module")
def made(root: Path, left: dict[str, int]) -> dict[str, Any]:
    """gguf.json."""
    return dict(json.loads((root / "gguf/gguf.json").read_text()))


@pytest.fixture(scope="module")
def merged(root: Path) -> Path:
    from bbjspec.stages.merge import merge

    adapter, tokens = root / "train/adapter", root / "tokenizer/tokenizer"
    fields: dict[str, Any] = {"base_weights": "bf16", "double_quant": True, "tokenizer": tokens, "log": LOG}
    merge(root / "base/model", adapter, root / "merged", **fields)
    return root / "merged"


@pytest.fixture
def backend(root: Path, made: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LlamaCpp]:
    """The back end with the file of one type, over 20 prompts."""
    prompts = tmp_path / "prompts.jsonl"
    with prompts.open("w") as rows:
        for number in range(20):
            checks = {"require": ["print"], "forbid": [], "min_statements": 1, "mode": "write"}
            facts = {"category": "print", "difficulty": "basic", "generation": "all", "reference": f"print {number}\n"}
            text = {"id": f"t/print/{number:02}", "tier": "syntax", "input": f"Print “{number}” — ünïcode,\n\tplease."}
            rows.write(json.dumps({**text, **facts, "checks": checks}) + "\n")
    sampling = SamplingSpec(n=1, max_new_tokens=LIMIT, batch_size=1).model_dump(mode="json")
    config = {"backend": "llama_cpp", "base": "pico-qwen2", "gguf": request.param, "llama_cpp": converter.VERSION}
    inputs = {"gguf": root / "gguf", "tokenizer": root / "tokenizer"}
    opened = LlamaCpp(
        tiny.stage("generate", tmp_path, {**config, "sampling": sampling}, {"prompts": [prompts]}, **inputs)
    )
    yield opened
    opened.close()


# -- what is made ------------------------------------------------------------------------------------------------------


def test_a_kill_between_two_files_loses_none(root: Path, left: dict[str, int], made: dict[str, Any]) -> None:
    assert sorted(left) == ["bf16.gguf", "f16.gguf"]
    assert (root / "gguf/gguf/f16.gguf").stat().st_ino == left["f16.gguf"], "not made again"
    assert sorted(file.name for file in (root / "gguf/gguf").iterdir()) == ["f16.gguf", "q4_k_m.gguf", "q8_0.gguf"]
    assert not (root / "gguf/work/merged").exists() and not (root / "gguf/work/bf16.gguf").exists()


def test_the_record_says_what_each_file_is(root: Path, made: dict[str, Any]) -> None:
    assert list(made["files"]) == sorted(TYPES)
    for name, told in made["files"].items():
        file = root / "gguf" / told["file"]
        assert told == {"file": f"gguf/{name}.gguf", "size": file.stat().st_size, "sha256": sha256_file(file)}
    assert made["files"]["q4_k_m"]["size"] < made["files"]["q8_0"]["size"] < made["files"]["f16"]["size"]
    assert (made["base"], made["base_weights"], made["llama_cpp"]) == ("pico-qwen2", "bf16", converter.VERSION)
    assert made["adapter_sha256"] == sha256_file(root / "train/adapter/adapter_model.safetensors")


@pytest.mark.parametrize("backend", TYPES, indirect=True)
def test_llama_cpp_loads_each_type_and_answers(root: Path, backend: LlamaCpp, made: dict[str, Any]) -> None:
    """Opening it compares the token ids of every prompt with the tokenizer's."""
    kind = str(backend.model["quantization"]).lower()
    assert backend.model == {
        "base": "pico-qwen2",
        "revision": None,
        "adapter_sha256": made["adapter_sha256"],
        "quantization": kind.upper(),
        "gguf_sha256": made["files"][kind]["sha256"],
    }
    assert all(answer["n_tokens"] >= 1 for answer in backend.sample(backend.tasks[:2], 1))
    told = backend._llama.metadata
    assert {key: told[key] for key in made["metadata"]} == {key: str(it) for key, it in made["metadata"].items()}
    assert told["general.name"] == "pico-qwen2, tuned for BBj" and told["tokenizer.ggml.pre"] == "qwen2"
    trained = json.loads((root / "train/training_config.json").read_text())
    assert told["bbjspec.dataset_sha256"] == trained["data"]["train.jsonl"]
    assert not [key for key in told if key.startswith("general.sampling")]


@pytest.mark.parametrize("backend", ["f16"], indirect=True)
def test_f16_is_as_greedy_as_the_merged_model_in_float32(root: Path, backend: LlamaCpp, merged: Path) -> None:
    """Position by position, each after the same tokens: one choice in some hundred is a near-tie for random numbers,
    after which answers part. Whole answers are a measure only for a model that has learned something."""
    answers = [(task.ids, backend.greedy(task.ids, LIMIT)) for task in backend.tasks]
    total = sum(len(answer) for _, answer in answers)
    assert len({tuple(answer) for _, answer in answers}) == 20, "a model that always says the same proves nothing"
    behind = shortfall(merged, answers)
    same, others = int((behind == 0).sum()), behind[behind > 0].tolist()
    print(f"greedy tokens equal: {same} of {total}, {same / total:.1%}; the others by {others} logits")
    assert same / total >= 0.95 and all(gap < NEAR for gap in others)
    untuned = shortfall(root / "base/model", answers)
    assert int((untuned == 0).sum()) / total < 0.05, "the base without the adapter must not pass"


def shortfall(model: Path, answers: list[tuple[tuple[int, ...], list[int]]]) -> torch.Tensor:
    """For each token of the answers, how many logits it is behind the one that transformers would choose there."""
    from transformers import AutoModelForCausalLM

    loaded, found = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval(), []
    for prompt, answer in answers:
        with torch.inference_mode():
            logits = loaded(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.max(-1).values - logits[torch.arange(len(answer)), torch.tensor(answer)])
    return torch.cat(found)


def test_a_type_that_was_not_made_is_named(root: Path, made: dict[str, Any], tmp_path: Path) -> None:
    from bbjspec.generation.llama_cpp import _file

    stage = tiny.stage("generate", tmp_path, {"gguf": "q6_k"}, gguf=root / "gguf")
    with pytest.raises(StageFailed, match=r"^no GGUF of type q6_k was made, but f16, q4_k_m, q8_0; plan again$"):
        _file(stage)


# -- what stops it -----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_with_numbers_before_any_work(root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gguf.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 30_000_000}))
    with pytest.raises(EnvironmentLacks) as raised:
        gguf.run(export(root, tmp_path))
    assert str(raised.value) == (
        "GGUFs of 0.00 billion parameters need 0.1 GB in build/gguf at a time, and 0.0 GB are free: merged weights and "
        "their bf16 file take 0.0 GB each, then f16 0.0, q8_0 0.0, q4_k_m 0.0; free some, or write fewer types in "
        "export.gguf"
    )
    assert list((tmp_path / "gguf").rglob("*.gguf")) == []


def test_another_library_than_was_planned_for(root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(StageFailed, match=rf"^planned for llama-cpp-python 0\.0\.1, but {converter.VERSION} is inst"):
        gguf.run(export(root, tmp_path, llama_cpp="0.0.1"))
    installed = export(root, tmp_path)
    monkeypatch.setattr(converter, "VERSION", "9.9.9")
    with pytest.raises(EnvironmentLacks) as raised:
        gguf.run(installed)
    assert str(raised.value) == (
        f"llama-cpp-python {installed.config['llama_cpp']} is installed, and the converter that is known here is of "
        "9.9.9; run: pip install llama-cpp-python==9.9.9"
    )


def test_every_type_of_a_spec_has_a_size_and_a_file_type() -> None:
    import llama_cpp

    names = set(ExportSpec.model_fields["gguf"].annotation.__args__[0].__args__)  # type: ignore[union-attr]
    assert names == set(gguf.BITS)
    known = {name.removeprefix("LLAMA_FTYPE_").partition("_")[2].lower() for name in vars(llama_cpp)}
    assert names <= known
    billions = 32_763_876_352
    assert gguf.size(billions, "q4_k_m") == pytest.approx(20.1e9, rel=0.01)
    assert gguf.disk(billions, ("q4_k_m",)) == 2 * gguf.size(billions, "bf16")


# -- the converter -----------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own, in which nothing is set up."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return converter.home()


def archive(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Path:
    """A source archive with a converter of ours in it, and what is not needed."""
    import tarfile

    tree = folder / f"llama_cpp_python-{converter.VERSION}/vendor/llama.cpp"
    for name, text in {
        "convert_hf_to_gguf.py": program,
        "conversion/__init__.py": "",
        "conversion/base.py": "class TextModel: pass\n",
        "gguf-py/gguf/__init__.py": "class Metadata:\n    def __init__(self, **_): pass\n",
        "ggml/big.c": "int main;",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    packed = folder / "source.tar.gz"
    with tarfile.open(packed, "w:gz") as out:
        out.add(tree.parents[1], tree.parents[1].name)
    monkeypatch.setattr(converter, "SHA256", hashlib.sha256(packed.read_bytes()).hexdigest())
    return packed


def test_the_version_is_the_lock_s() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text().splitlines()
    assert f"llama_cpp_python=={converter.VERSION}" in lock
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"llama-cpp-python=={converter.VERSION}" in project["dependencies"]


def test_a_missing_converter_is_told_with_the_command(home: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks) as raised:
        gguf.run(export(root, tmp_path))
    assert str(raised.value) == (
        f"llama.cpp's converter of llama-cpp-python {converter.VERSION} is not here; "
        "run: python -m bbjspec.stages.converter"
    )


def test_an_archive_of_another_hash_is_not_unpacked(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"no archive")
    with pytest.raises(EnvironmentLacks, match=r"^other\.tar\.gz: its SHA-256 is [0-9a-f]{16}…, not 832db0699007f1be…"):
        converter.install(other)
    assert list(home.parent.iterdir()) == []


def test_a_changed_converter_is_named_and_set_up_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = archive(tmp_path, monkeypatch, "def main(): pass\n")
    converter.install(packed)
    assert sorted(file.relative_to(home).as_posix() for file in converter.find().rglob("*.*")) == [
        "conversion/__init__.py",
        "conversion/base.py",
        "convert_hf_to_gguf.py",
        "files.json",
        "gguf-py/gguf/__init__.py",
    ]
    (home / "conversion/base.py").write_text("broken")
    with pytest.raises(
        EnvironmentLacks, match=r"^llama\.cpp's converter: conversion/base\.py is not as it was unpacked"
    ):
        converter.find()
    converter.install(packed)
    assert converter.find() == home and [file.name for file in home.parent.iterdir()] == [home.name]
    monkeypatch.setattr(converter, "SHA256", "0" * 64)
    with pytest.raises(EnvironmentLacks, match="is not here"):
        converter.find()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("def main(): raise ValueError('no\\n  such tensor')\n", "ValueError: no such tensor"),
        (
            "import logging\ndef main():\n    logging.getLogger('x').error('Model X is not supported')\n    exit(1)\n",
            "RuntimeError: Model X is not supported",
        ),
        ("import os\ndef main(): os._exit(7)\n", "it ended with exit code 7"),
    ],
)
def test_what_the_converter_says_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    converter.install(archive(tmp_path, monkeypatch, program))
    with pytest.raises(StageFailed) as raised:
        converter.convert(tmp_path / "m", tmp_path / "out.gguf", "bf16", {"general.name": "m"}, False, LOG)
    assert str(raised.value) == f"llama.cpp's converter cannot convert m: {said}; this stage's log has all it said"
    assert not (tmp_path / "out.gguf").exists()


def test_a_file_that_is_no_gguf_cannot_be_quantized(tmp_path: Path) -> None:
    (tmp_path / "bf16.gguf").write_bytes(b"no GGUF")
    with pytest.raises(StageFailed, match=r"^llama\.cpp cannot make q8_0: RuntimeError: .*failed to quantize"):
        converter.quantize(tmp_path / "bf16.gguf", tmp_path / "q8_0.gguf", "q8_0", LOG)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bf16.gguf"]


def test_a_child_ends_with_whoever_started_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, time\ndef main():\n    print('at', os.getpid(), flush=True)\n    time.sleep(60)\n"
    converter.install(archive(tmp_path, monkeypatch, program))
    job = {"do": "convert", "converter": str(home), "model": "m", "out": "o", "type": "bf16", "embedded": False}
    child = subprocess.Popen(
        [sys.executable, "-P", str(converter._CHILD), json.dumps(job | {"keys": {"general.name": "m"}})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin and child.stdout and child.stdout.readline() == f"at {child.pid}\n"
    began = time.monotonic()
    os.close(child.stdin.fileno())
    assert child.wait(10) == 1 and time.monotonic() - began < 10
