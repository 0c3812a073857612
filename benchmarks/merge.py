"""What merging takes, against PEFT: peak memory and time, each in a process of its own, on the same files.

    python benchmarks/merge.py [--folder DIR]

Generates a Qwen2 of Qwen2.5-1.5B's shapes with random bfloat16 weights in several shards (3.1 GB) and a LoRA of rank 32
on all linear layers, in a temporary folder, and merges it twice: as the stage does, and by PEFT's merge_and_unload and
save_pretrained, as its documentation has it. Both are checked to agree; both run three times, in turns, and the best
time of each counts. The seconds include starting Python and its imports; CPU time says more on a machine that others
use.

For 32B, the peak is computed from the largest tensors, and measured on a model of one of Qwen2.5-32B's 64 layers with
its embedding and head: merging holds one tensor at a time, so the other 63 add none. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"

# hidden, intermediate, layers, heads, kv heads, vocabulary, tied: Qwen2.5's (arXiv:2412.15115)
SIZES = {"1.5B": (1536, 8960, 28, 12, 2, 151_936, True), "32B": (5120, 27648, 1, 40, 8, 152_064, False)}
SHARD, RANK = 600_000_000, 32
GOALS = {"memory": 0.25, "time": 1.0, "32B": 8.0}
# Bytes an element while bitsandbytes quantizes on the CPU, beside the weight in bfloat16 and in its file: the float32
# copy, its scaled form, and codes in 32 bits, with what the operators between them need. Seen, rounded up.
NF4_BYTES = 16


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a Qwen2 as its checkpoints name them."""
    hidden, intermediate, layers, heads, kv, vocabulary, tied = SIZES[size]
    narrow = hidden // heads * kv
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(layers):
        block = f"model.layers.{i}"
        for name, width in (("q", hidden), ("k", narrow), ("v", narrow)):
            found[f"{block}.self_attn.{name}_proj.weight"] = (width, hidden)
            found[f"{block}.self_attn.{name}_proj.bias"] = (width,)
        found[f"{block}.self_attn.o_proj.weight"] = (hidden, hidden)
        found[f"{block}.mlp.gate_proj.weight"] = found[f"{block}.mlp.up_proj.weight"] = (intermediate, hidden)
        found[f"{block}.mlp.down_proj.weight"] = (hidden, intermediate)
        found[f"{block}.input_layernorm.weight"] = found[f"{block}.post_attention_layernorm.weight"] = (hidden,)
    found["model.norm.weight"] = (hidden,)
    return found if tied else found | {"lm_head.weight": (vocabulary, hidden)}


def total_bytes(size: str) -> int:
    """Of all tensors in bfloat16."""
    return 2 * sum(math.prod(shape) for shape in shapes(size).values())


def make(folder: Path, size: str) -> None:
    """Base and adapter of a size in `folder`."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import Qwen2Config

    hidden, intermediate, layers, heads, kv, vocabulary, tied = SIZES[size]
    base, adapter = folder / "base", folder / "adapter"
    Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        tie_word_embeddings=tied,
        dtype="bfloat16",
    ).save_pretrained(base)
    pool = torch.empty(1 << 22).normal_(std=0.02, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)

    def random(*shape: int) -> Any:
        count = math.prod(shape)
        return pool.repeat(-(-count // len(pool)))[:count].reshape(shape).clone()

    listed: dict[str, str] = {}
    shard: dict[str, Any] = {}
    lora: dict[str, Any] = {}

    def write() -> None:
        file = f"model-{len(set(listed.values())) + 1:05d}.safetensors"
        save_file(shard, base / file, metadata={"format": "pt"})
        listed.update(dict.fromkeys(shard, file))
        shard.clear()

    for name, shape in shapes(size).items():
        if shard and 2 * sum(tensor.numel() for tensor in shard.values()) + 2 * math.prod(shape) > SHARD:
            write()
        shard[name] = random(*shape)
        if name.endswith("_proj.weight"):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            lora[f"{module}.lora_A.weight"] = random(RANK, shape[1])
            lora[f"{module}.lora_B.weight"] = random(shape[0], RANK)
    write()
    index = {"metadata": {"total_size": total_bytes(size)}, "weight_map": listed}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        task_type="CAUSAL_LM",
        base_model_name_or_path="base",
    ).save_pretrained(adapter)
    save_file(lora, adapter / "adapter_model.safetensors", metadata={"format": "pt"})


def merge_ours(folder: Path, out: Path, base_weights: Any) -> None:
    """As the stage does."""
    import logging

    from bbjspec.stages.merge import merge

    log = logging.getLogger("benchmark")
    merge(folder / "base", folder / "adapter", out, base_weights=base_weights, double_quant=True, log=log)


def merge_peft(folder: Path, out: Path) -> None:
    """As PEFT's documentation does."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, str(folder / "adapter")).merge_and_unload().save_pretrained(out)


def measured(folder: Path, out: str, way: str) -> dict[str, float]:
    """What a process took that merges in this way: seconds, CPU seconds, and at most so many GB (10^9 bytes) of memory.

    What earlier ways wrote is brought to the disk first, so that none pays for another.
    """
    os.sync()
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--one", str(folder), str(folder / out), way], check=True)
    return {"seconds": time.perf_counter() - began, **json.loads((folder / "took.json").read_text())}


def agree(one: Path, other: Path) -> tuple[int, int]:
    """Tensors that are equal bit by bit, and all. Raises SystemExit where one is a bfloat16 step or more off."""
    import torch
    from safetensors import safe_open

    def places(folder: Path) -> dict[str, Path]:
        found = {}
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                found |= dict.fromkeys(opened.keys(), file)
        return found

    left, right, same = places(one), places(other), 0
    if left.keys() != right.keys():
        raise SystemExit(f"the two hold different tensors: {sorted(left.keys() ^ right.keys())[:3]}")
    for name in left:
        with safe_open(left[name], framework="pt") as a, safe_open(right[name], framework="pt") as b:
            bits = [opened.get_tensor(name).view(torch.int16).int() for opened in (a, b)]
        bits = [torch.where(values < 0, -32768 - values, values) for values in bits]
        apart = int((bits[0] - bits[1]).abs().max())
        if apart > 1:
            raise SystemExit(f"{name}: {apart} steps of bfloat16 apart")
        same += apart == 0
    return same, len(left)


def computed(size: str, start: float) -> dict[str, float]:
    """Peak GB of merging a model of these shapes, by base weights, given what a process holds that has done nothing.

    bf16: one block of rows, as the map of its file and in float32, once more rounded, and the matrices A and B in both
    types. nf4: the largest linear weight as bitsandbytes quantizes it. What further libraries take is not in it.
    """
    from bbjspec.stages.merge import BLOCK

    linear = [shape for name, shape in shapes(size).items() if name.endswith("_proj.weight")]
    pair = max(RANK * sum(shape) * (4 + 2) for shape in linear)
    rows = BLOCK * (2 + 4 + 2)
    largest = max(map(math.prod, linear))
    return {"bf16": start + (rows + pair) / 1e9, "nf4": start + largest * (2 + NF4_BYTES) / 1e9}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where the temporary folder is made: 14 GB")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, out, way = Path(options.one[0]), Path(options.one[1]), options.one[2]
        import bbjspec.stages.merge  # noqa: F401  torch with it

        if way in SIZES:
            make(folder, way)
        elif way == "peft":
            merge_peft(folder, out)
        elif way != "nothing":
            merge_ours(folder, out, way)
        # Of this program alone: getrusage's peak takes in the process that started it.
        status = Path("/proc/self/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
        used = resource.getrusage(resource.RUSAGE_SELF)
        (folder / "took.json").write_text(json.dumps({"gb": peak, "cpu": used.ru_utime + used.ru_stime}))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name).resolve()
        measured(folder, "base", "1.5B")
        count = len(list((folder / "base").glob("*.safetensors")))
        start = measured(folder, "none", "nothing")["gb"]
        runs = []
        for turn, way in enumerate(("bf16", "peft", "peft", "bf16", "bf16", "peft")):
            runs.append((way, measured(folder, f"{way}-{turn}", way)))
            print(f"{way}: {runs[-1][1]}", file=sys.stderr)
            if turn > 1:
                shutil.rmtree(folder / f"{way}-{turn}")
        same, tensors = agree(folder / "bf16-0", folder / "peft-1")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name).resolve()
        measured(folder, "base", "32B")
        largest = {way: measured(folder, way, way)["gb"] for way in ("bf16", "nf4")}
    cpu = {way: min(run["cpu"] for other, run in runs if other == way) for way in ("bf16", "peft")}
    seconds = {way: min(run["seconds"] for other, run in runs if other == way) for way in ("bf16", "peft")}
    peak = {way: max(run["gb"] for other, run in runs if other == way) for way in ("bf16", "peft")}
    made = f"{total_bytes('1.5B') / 1e9:.2f} GB in {count} shards"
    print(f"{made}; {same} of {tensors} tensors equal PEFT's bit by bit, the others to a step")
    print(
        "all runs: "
        + ", ".join(f"{way} {run['seconds']:.1f} s (CPU {run['cpu']:.1f} s) {run['gb']:.2f} GB" for way, run in runs)
    )
    print("| what | bbjspec | PEFT | times | goal |\n|---|---|---|---|---|")
    for what, ours, theirs, unit, goal in (
        ("peak memory", peak["bf16"], peak["peft"], "GB", GOALS["memory"]),
        ("time", seconds["bf16"], seconds["peft"], "s", GOALS["time"]),
        ("CPU time", cpu["bf16"], cpu["peft"], "s", None),
    ):
        times = ours / theirs
        said = "" if goal is None else f"{goal} at most" if times <= goal else f"{goal} at most, **missed**"
        print(f"| {what} | {ours:.2f} {unit} | {theirs:.2f} {unit} | {times:.2f} | {said} |")
    print(f"\nA process that has done nothing but its imports: {start:.2f} GB")
    print("\n| 32B, merged into | computed | one layer, measured | goal |\n|---|---|---|---|")
    for way, amount in computed("32B", start).items():
        met = "" if max(amount, largest[way]) <= GOALS["32B"] else ", **missed**"
        print(f"| {way} | {amount:.2f} GB | {largest[way]:.2f} GB | {GOALS['32B']:g} GB at most{met} |")


if __name__ == "__main__":
    main()
