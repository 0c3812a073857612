"""Files of weights whose headers lie: lengths, offsets, types and names, in safetensors, GGUF and config.json."""

from __future__ import annotations

import json
import logging
import random
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bbjspec.architecture import read
from bbjspec.errors import BadInput, BbjspecError, StageFailed
from bbjspec.generation import llama_cpp as back_end
from bbjspec.needs import Needs
from bbjspec.plan import read_plan
from bbjspec.stages import gguf
from bbjspec.stages.merge import ADAPTER, ADAPTER_CONFIG, INDEX, SINGLE, merge
from tests.harness import REPOSITORY, SPEC, write_project
from tests.reliability.abuse import bbjspec, cases, in_time, mutated
from tests.stages import tiny
from tests.tiny_gguf import write_gguf

LOG = logging.getLogger("test")
Header = dict[str, Any]


# safetensors


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A base of two tensors and an adapter of one pair, which merge."""
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter").mkdir()
    held = {"model.a.weight": torch.zeros(8, 8, dtype=torch.bfloat16), "model.b.weight": torch.zeros(4, 8)}
    save_file(held, tmp_path / "base" / SINGLE, metadata={"format": "pt"})
    (tmp_path / "base/config.json").write_text('{"hidden_size": 8}')
    pair = {f"base_model.model.model.a.lora_{side}.weight": torch.ones(2, 8) for side in "A"}
    pair |= {"base_model.model.model.a.lora_B.weight": torch.ones(8, 2)}
    save_file(pair, tmp_path / "adapter" / ADAPTER)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "x"}
    (tmp_path / "adapter" / ADAPTER_CONFIG).write_text(json.dumps(config))
    return tmp_path


LENGTHS = (0, 1, 7, 99_999_999, 100_000_001, 2**31, 2**32, 2**63, 2**64 - 1)
OFFSETS = ([-1, 3], [8, 136], [0, 2**40], [0, 2**64], [0, 10**400], [0, 1e308], [64, 0], [0], "all", None)
SHAPES = ([], [0], [-1, 8], [2**40, 2**40], [2**63, 2], [8, 8, 1], ["8"], None, [8.5, 8], [1] * 50_000, [0, 2**62])
DTYPES = ("F8", "I64", "BOOL", "F64", "U8", "", "BF16", "F16", 3, None, "F8_E4M3")
NAMES = ("", "../x", "model.a.weight\n\x1b[2J", "\ud800", "x" * 100_000, "a\0b")
METADATA: tuple[Any, ...] = (None, 3, {"a": 3}, {"a": {"b": 1}}, [], {"format": "np"}, {"a": "x" * 1_000_000})
BOMBS = (
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"x":' + b"9" * 100_000 + b"}",
    b"{" + b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(5_000)) + b"}",
)


def lying(chance: random.Random, data: bytes) -> bytes:
    """A safetensors file with one lie in its header."""
    length = int.from_bytes(data[:8], "little")
    header: Header = json.loads(data[8 : 8 + length])
    body, one = data[8 + length :], chance.choice([name for name in header if name != "__metadata__"])
    text, field = (
        b"",
        chance.choice(("offsets", "shape", "dtype", "name", "metadata", "twice", "bomb", "length", "", "")),
    )
    if field == "offsets":
        header[one]["data_offsets"] = chance.choice(OFFSETS)
    elif field == "shape":
        header[one]["shape"] = chance.choice(SHAPES)
    elif field == "dtype":
        header[one]["dtype"] = chance.choice(DTYPES)
    elif field == "name":
        header[chance.choice(NAMES)] = header.pop(one)
    elif field == "metadata":
        header["__metadata__"] = chance.choice(METADATA)
    elif field == "twice":
        text = json.dumps(header).encode()[:-1] + b", " + json.dumps({one: header[one]}).encode()[1:]
    elif field == "bomb":
        text = chance.choice(BOMBS)
    elif field == "length":
        return chance.choice(LENGTHS).to_bytes(8, "little") + data[8:]
    else:
        return chance.choice((mutated(chance, data), data[: chance.randrange(len(data))], data + b"\0" * 9))
    text = text or json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def told(work: Callable[[], Any], *kinds: type[BbjspecError]) -> str:
    """What the work is refused with, in one line, in time; empty where it is done."""
    try:
        with in_time():
            work()
    except BbjspecError as error:
        assert isinstance(error, kinds), error
        assert len(str(error)) < 1_500 or max(map(len, NAMES)) < len(str(error))
        return str(error)
    return ""


@cases(100, 1)
def test_safetensors(weights: Path, numbers: range) -> None:
    base, adapter = weights / "base" / SINGLE, weights / "adapter" / ADAPTER
    good = {file: file.read_bytes() for file in (base, adapter)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number in numbers:
        chance = random.Random(number)
        for file, data in good.items():
            file.write_bytes(data)
        file = chance.choice(list(good))
        file.write_bytes(lying(chance, good[file]))
        shutil.rmtree(weights / "out", ignore_errors=True)

        def merged() -> None:
            options: Any = {"base_weights": "bf16", "double_quant": True, "log": LOG}
            merge(weights / "base", weights / "adapter", weights / "out", **options)

        said = told(merged, BadInput, StageFailed)
        refused += bool(said)
        assert said == "" or not (weights / "out/config.json").exists()
        told(lambda: gguf._parameters(weights / "base"), BadInput)
    assert 50 < refused < len(numbers)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


@cases(100, 1)
def test_indexes_and_configurations(weights: Path, numbers: range) -> None:
    """What stands beside the weights, as JSON."""
    (weights / "base" / SINGLE).rename(weights / "base/model-1.safetensors")
    files = {
        weights / "base" / INDEX: json.dumps(
            {"weight_map": dict.fromkeys(("model.a.weight", "model.b.weight"), "model-1.safetensors")}
        ).encode(),
        weights / "adapter" / ADAPTER_CONFIG: (weights / "adapter" / ADAPTER_CONFIG).read_bytes(),
        weights / "base/config.json": b'{"hidden_size": 8, "tie_word_embeddings": false}',
    }
    for number in numbers:
        chance = random.Random(number)
        for file, data in files.items():
            file.write_bytes(data)
        file = chance.choice(list(files))
        file.write_bytes(chance.choice((*BOMBS[:3], mutated(chance, files[file]))))
        shutil.rmtree(weights / "out", ignore_errors=True)

        def merged() -> None:
            options: Any = {"base_weights": "bf16", "double_quant": True, "log": LOG}
            merge(weights / "base", weights / "adapter", weights / "out", **options)

        told(merged, BadInput, StageFailed)


@cases(100, 1)
def test_sizes_of_a_base(tmp_path: Path, numbers: range) -> None:
    """config.json of a base in a directory, which planning reads for what training will need."""
    root = tmp_path / "project"
    write_project(root)
    (root / "base").mkdir()
    (root / "experiments/v1.yaml").write_text(SPEC.replace("base: pico-qwen2", "base: ./base"))
    config = {
        "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 320, "tie_word_embeddings": True,
    }  # fmt: skip
    odd: tuple[Any, ...] = (0, -1, 2**31, 2**64, 10**300, 1.5, 1e308, True, None, "64", [], {}, [64])
    known = 0
    for number in numbers:
        chance = random.Random(number)
        changed = config | {name: chance.choice(odd) for name in chance.sample(list(config), chance.randint(1, 3))}
        data = json.dumps(changed).encode()
        (root / "base/config.json").write_bytes(chance.choice((data, data, mutated(chance, data), *BOMBS[:3])))
        known += read(root / "base") is not None
        planned = bbjspec("plan", root=root)
        assert planned.code == 0 and planned.err == ""
    assert known
    plan = read_plan(root)
    Needs(plan)


# GGUF


@pytest.fixture(scope="module")
def good_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gguf")
    tiny.models(root)
    return write_gguf(root / "base/model", root / "tokenizer/tokenizer", root / "good.gguf")


WIDTH = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes by GGUF's types of values
STRING, ARRAY = 8, 9


def numbers_in(data: bytes) -> list[tuple[int, int]]:
    """Place and width of the numbers in a GGUF's header: version, counts, lengths, types, shapes and offsets."""
    tensors, pairs = struct.unpack_from("<QQ", data, 8)
    return [(4, 4), (8, 8), (16, 8), *_numbers(data, tensors, pairs)]


def _numbers(data: bytes, tensors: int, pairs: int) -> Iterator[tuple[int, int]]:
    at = 24

    def number(width: int) -> int:
        return int.from_bytes(data[at : at + width], "little")

    for _ in range(pairs):
        yield at, 8
        at += 8 + number(8)
        yield at, 4
        kind, at = number(4), at + 4
        count = 1
        if kind == ARRAY:
            yield at, 4
            yield at + 4, 8
            kind, at = number(4), at + 4
            count, at = number(8), at + 8
        for element in range(count):
            if kind == STRING:
                if element % 50 == 0:
                    yield at, 8
                at += 8 + number(8)
            else:
                if element == 0:
                    yield at, WIDTH[kind]
                at += WIDTH[kind]
    for _ in range(tensors):
        yield at, 8
        at += 8 + number(8)
        yield at, 4
        dimensions, at = number(4), at + 4
        for _ in range(dimensions):
            yield at, 8
            at += 8
        yield at, 4
        yield at + 4, 8
        at += 12


VALUES = (0, 1, 2, 8, 9, 13, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def lying_gguf(chance: random.Random, data: bytes, places: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    end = places[-1][0] + 8
    if chance.random() < 0.1:
        return data[: chance.randrange(end)]
    for _ in range(chance.randint(1, 2)):
        at, width = chance.choice(places) if chance.random() < 0.85 else (chance.randrange(end), 1)
        number = chance.choice((*VALUES, len(data), len(data) - 1))
        changed[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(changed)


@cases(100, 1)
def test_gguf(good_gguf: Path, tmp_path: Path, numbers: range) -> None:
    """llama.cpp refuses what lies, whoever asks: the check of prompts, or a reference."""
    data = good_gguf.read_bytes()
    places = numbers_in(data)
    for number in numbers:
        (tmp_path / f"{number}.gguf").write_bytes(lying_gguf(random.Random(number), data, places))
    found = opened(tmp_path)
    assert len(found) == len(numbers)
    assert {how for one in found.values() for how in one} == {"done", "refused"}


def test_a_gguf_over_which_llama_cpp_ends_its_process(good_gguf: Path, tmp_path: Path) -> None:
    """One layer too many for its tables: an assertion, which no exception comes of."""
    data, file = bytearray(good_gguf.read_bytes()), tmp_path / "layers.gguf"
    at = data.index(b"qwen2.block_count") + len(b"qwen2.block_count") + 4
    data[at : at + 4] = (100_000).to_bytes(4, "little")
    file.write_bytes(data)
    assert opened(tmp_path) == {"layers.gguf": ["done", "exit code -6"]}
    with pytest.raises(BadInput, match=r"^layers.gguf: llama.cpp breaks off over it \(.*ASSERT.*; the file is damaged"):
        back_end.check_file(file)
    back_end.check_file(good_gguf)


def opened(folder: Path) -> dict[str, list[str]]:
    """How the opening of each file ended, for its vocabulary and whole."""
    command = [sys.executable, "-m", "tests.reliability.open_ggufs", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))
