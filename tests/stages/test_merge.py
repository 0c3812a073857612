"""Merging real, tiny adapters into real, tiny bases, against PEFT's own merge; and everything that can be wrong."""

from __future__ import annotations

import errno
import json
import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bbjspec.errors import BadInput, EnvironmentLacks, StageFailed
from bbjspec.stages import merge as module
from bbjspec.stages.merge import ADAPTER, ADAPTER_CONFIG, INDEX, JOURNAL, SINGLE, merge

LOG = logging.getLogger("test")
Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Q_B = Q_A.replace("lora_A", "lora_B")
Q = "model.layers.0.self_attn.q_proj.weight"


def make_base(folder: Path, *, tied: bool = True, dtype: str = "bfloat16", shards: bool = False) -> Path:
    """A Qwen2 of 2 layers with random weights and biases, as transformers saves it."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="60KB" if shards else "5GB")
    return folder


def make_adapter(folder: Path, base: Path, *, rslora: bool = False, round_to: Any = torch.bfloat16) -> Path:
    """A LoRA of rank 4 on all linear layers, with a B that is not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        use_rslora=rslora,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    tensors = load_file(folder / ADAPTER)
    save_file({name: tensor.to(round_to) for name, tensor in tensors.items()}, folder / ADAPTER)
    change_config(folder, base_model_name_or_path="tiny", init_lora_weights=True)
    return folder


def change_config(adapter: Path, **fields: Any) -> None:
    path = adapter / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_tensors(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied base in several shards, one in a single file, and an adapter; tests copy what they change."""
    root = tmp_path_factory.mktemp("made")
    make_base(root / "base", shards=True)
    make_base(root / "whole")
    make_adapter(root / "adapter", root / "base")
    return root


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The same, to be broken."""
    for name in ("base", "adapter"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def merged(root: Path, out: Path, base: str = "base", **options: Any) -> Path:
    options = {"base_weights": "bf16", "double_quant": True, "log": LOG, "name": "tiny"} | options
    merge(root / base, root / "adapter", out, **options)
    return out


def tensors_of(folder: Path) -> dict[str, Any]:
    """All tensors of a model directory, read shard by shard."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def steps_apart(one: Any, other: Any) -> int:
    """How many bfloat16 values lie between two tensors where they differ most."""
    ordered = [t.to(torch.bfloat16).view(torch.int16).int() for t in (one, other)]
    ordered = [torch.where(bits < 0, -32768 - bits, bits) for bits in ordered]
    return int((ordered[0] - ordered[1]).abs().max())


def by_peft(base: Path, adapter: Path, out: Path) -> dict[str, Any]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(out)
    return tensors_of(out)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [True, False])
@pytest.mark.parametrize("rslora", [True, False])
def test_merging_equals_pefts(tmp_path: Path, tied: bool, shards: bool, rslora: bool) -> None:
    base = make_base(tmp_path / "base", tied=tied, shards=shards)
    make_adapter(tmp_path / "adapter", base, rslora=rslora)
    assert (len(list(base.glob("*.safetensors"))) > 3) == shards
    ours = tensors_of(merged(tmp_path, tmp_path / "out"))
    theirs = by_peft(base, tmp_path / "adapter", tmp_path / "peft")
    assert ours.keys() == theirs.keys()
    assert ("lm_head.weight" in ours) is not tied
    assert "model.layers.0.self_attn.q_proj.bias" in ours
    assert max(steps_apart(ours[name], theirs[name]) for name in ours) <= 1
    assert {tensor.dtype for tensor in ours.values()} == {torch.bfloat16}
    before = tensors_of(base)
    assert not torch.equal(ours[Q], before[Q]), "something was merged"
    assert torch.equal(ours["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


def test_a_merged_model_computes_what_base_and_adapter_compute(made: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = merged(made, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(made / "base", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(made / "adapter"))
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        apart = (model.float()(ids).logits - adapted(ids).logits).abs().max()
        moved = (adapted(ids).logits - adapted.get_base_model()(ids).logits).abs().max()
    assert apart < 0.05, (apart, moved)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_floats_are_merged_and_rounded_once(tmp_path: Path, dtype: str) -> None:
    base = make_base(tmp_path / "base", dtype=dtype)
    make_adapter(tmp_path / "adapter", base)
    ours = tensors_of(merged(tmp_path, tmp_path / "out"))
    before, lora = tensors_of(base), load_file(tmp_path / "adapter" / ADAPTER)
    expected = before[Q].float() + 2.0 * (lora[Q_B].float() @ lora[Q_A].float())
    assert torch.equal(ours[Q], expected.to(torch.bfloat16))
    assert torch.equal(ours["model.norm.weight"], before["model.norm.weight"].to(torch.bfloat16))


def test_blocks_are_seams_that_nobody_sees(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tensors_of(merged(made, tmp_path / "one"))
    monkeypatch.setattr(module, "BLOCK", 200)
    other = tensors_of(merged(made, tmp_path / "other"))
    assert max(steps_apart(one[name], other[name]) for name in one) <= 1


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize(
    ("stored", "dtype"), [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float32", "bfloat16")]
)
def test_nf4_weights_are_those_that_training_saw(tmp_path: Path, double_quant: bool, stored: str, dtype: str) -> None:
    import bitsandbytes as bnb
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    base = make_base(tmp_path / "base", tied=False, dtype=stored)
    make_adapter(tmp_path / "adapter", base)
    ours = tensors_of(merged(tmp_path, tmp_path / "out", base_weights="nf4", double_quant=double_quant, dtype=dtype))
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=getattr(torch, dtype),
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=double_quant,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        ),
        device_map={"": "cpu"},
    )
    lora, before = load_file(tmp_path / "adapter" / ADAPTER), tensors_of(base)
    quantized = 0
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        weight = layer.weight
        if isinstance(layer, bnb.nn.Linear4bit):
            quantized += 1
            weight = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
            a, b = (lora[f"base_model.model.{name}.lora_{side}.weight"].float() for side in "AB")
            weight = (b @ a) * 2.0 + weight
        assert torch.equal(ours[f"{name}.weight"], weight.to(torch.bfloat16)), name
    assert quantized == 14
    assert torch.equal(ours["lm_head.weight"], before["lm_head.weight"].to(torch.bfloat16))


def test_the_files_around_the_weights(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "base", tmp_path / "base")
    shutil.copytree(made / "adapter", tmp_path / "adapter")
    (tmp_path / "base" / "tokenizer.json").write_text("{}")
    (tmp_path / "base" / "README.md").write_text("not taken")
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps(config | {"dtype": "float32", "torch_dtype": "float32"}))
    out = merged(tmp_path, tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    assert (config["dtype"], config.get("torch_dtype"), config["hidden_size"]) == ("bfloat16", None, 64)
    shards = {file.name for file in (made / "base").glob("*.safetensors")}
    others = {"config.json", "generation_config.json", "tokenizer.json", INDEX, JOURNAL}
    assert {file.name for file in out.iterdir()} == shards | others
    index = json.loads((out / INDEX).read_text())
    assert index["weight_map"] == json.loads((made / "base" / INDEX).read_text())["weight_map"]
    assert index["metadata"]["total_size"] == sum(2 * tensor.numel() for tensor in tensors_of(out).values())
    (tmp_path / "words").mkdir()
    (tmp_path / "words/tokenizer.json").write_text("[]")
    (tmp_path / "words/chat_template.jinja").write_text("…")
    merged(tmp_path, out, tokenizer=tmp_path / "words")
    assert (out / "tokenizer.json").read_text() == "[]" and (out / "chat_template.jinja").exists()
    with safe_open(out / sorted(shards)[0], framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.name != JOURNAL}


class Killed(BaseException):
    """As a signal would."""


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_merge_goes_on_at_the_next_shard(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = contents(merged(made, tmp_path / "undisturbed"))
    shards = sorted(name for name in undisturbed if name.endswith(".safetensors"))
    real, written = module._blocks, []

    def blocks(*arguments: Any) -> Any:
        yield from real(*arguments)
        if len(list((tmp_path / "out").glob("*.safetensors"))) == after:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, "_blocks", blocks)
        with pytest.raises(Killed):
            merged(made, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").glob("*.safetensors*")) == shards[:after]
    assert not (tmp_path / "out" / "config.json").exists()
    real_write = module._write
    monkeypatch.setattr(
        module, "_write", lambda target, *rest: written.append(target.name) or real_write(target, *rest)
    )
    with caplog.at_level(logging.INFO):
        merged(made, tmp_path / "out")
    assert written == shards[after:]
    assert [f"{name} is whole already ({i} of {len(shards)})" in caplog.text for i, name in enumerate(shards, 1)] == [
        i < after for i in range(len(shards))
    ]
    assert contents(tmp_path / "out") == undisturbed


def test_what_is_kept_is_told_by_its_bytes_and_by_what_it_was_made_of(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = merged(own, own / "out")
    undisturbed = contents(out)
    shards = [name for name in undisturbed if name.endswith(".safetensors")]
    real, written = module._write, []
    monkeypatch.setattr(module, "_write", lambda target, *rest: written.append(target.name) or real(target, *rest))

    def again() -> list[str]:
        written.clear()
        merged(own, out)
        return list(written)

    assert again() == []
    data = bytearray((out / shards[2]).read_bytes())
    data[-1] ^= 1  # a shard of the right name and size, but for a bit
    (out / shards[2]).write_bytes(data)
    (out / shards[1]).write_bytes((out / shards[1]).read_bytes()[:-8])
    (out / f"{shards[0]}.tmp").write_bytes(b"half")
    (out / "model-99999-of-99999.safetensors").write_bytes(b"of another merge")
    assert again() == shards[1:3]
    assert contents(out) == undisturbed
    change_config(own / "adapter", lora_alpha=16)
    assert again() == shards
    assert contents(out) != undisturbed
    change_tensors(own / "adapter" / ADAPTER, lambda tensors: tensors[Q_B].mul_(2))
    assert again() == shards
    (out / JOURNAL).write_text("{")
    assert again() == shards


def refused(root: Path, error: type[Exception], message: str, base: str = "base", **options: Any) -> None:
    """The merge fails with this message, and leaves nothing."""
    with pytest.raises(error) as caught:
        merged(root, root / "out", base=base, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (root / "out").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, "adapter_config.json: use_dora is true, which cannot be merged; train without"),
        ({"rank_pattern": {"q_proj": 8}}, 'rank_pattern is {"q_proj": 8}, which cannot be merged'),
        ({"alpha_pattern": {"q_proj": 8}}, 'alpha_pattern is {"q_proj": 8}, which cannot be merged'),
        ({"modules_to_save": ["lm_head"]}, 'modules_to_save is ["lm_head"], which cannot be merged'),
        ({"bias": "lora_only"}, 'bias is "lora_only", which cannot be merged'),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is true, which cannot be merged"),
        ({"lora_bias": True}, "lora_bias is true, which cannot be merged"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights is "pissa", which cannot be merged'),
        ({"of_next_year": {"x": 1}}, 'of_next_year is {"x": 1}, which cannot be merged'),
        ({"peft_type": "IA3"}, "adapter_config.json is missing, or is none of a LoRA adapter"),
        (
            {"base_model_name_or_path": "Qwen/Qwen2.5-Coder-7B"},
            "the adapter was trained on Qwen/Qwen2.5-Coder-7B, not on tiny; merge it into its own base",
        ),
    ],
)
def test_what_an_adapters_config_may_say(own: Path, fields: dict[str, Any], message: str) -> None:
    change_config(own / "adapter", **fields)
    refused(own, StageFailed, message)


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.pop(name)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put(Q_A, torch.ones(4, 63)),
            f"adapter tensor {Q_A} has shape [4, 63], but r 4 on {Q} [64, 64] of tiny takes [4, 64]",
        ),
        (
            put(Q_B, torch.ones(64, 8)),
            f"adapter tensor {Q_B} has shape [64, 8], but r 4 on {Q} [64, 64] of tiny takes [64",
        ),
        (drop(Q_B), f"adapter tensor {Q_A} has no counterpart for {Q.removesuffix('.weight')}"),
        (put(Q_A, torch.full((4, 64), float("nan"))), f"adapter tensor {Q_A} holds NaN or infinity; lower training."),
        (put(Q_B, torch.full((64, 4), float("inf"))), f"adapter tensor {Q_B} holds NaN or infinity"),
        (
            lambda tensors: tensors.update(
                {name.replace("layers.0", "layers.7"): tensors[name].clone() for name in (Q_A, Q_B)}
            ),
            f"adapter tensor {Q_A.replace('layers.0', 'layers.7')} would go unused: tiny has no "
            f"{Q.replace('layers.0', 'layers.7')}; it was trained on another base",
        ),
        (
            put("base_model.model.lm_head.weight", torch.ones(320, 64)),
            "adapter tensor base_model.model.lm_head.weight is none of LoRA on a linear layer; it cannot be merged",
        ),
        (
            put("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", torch.ones(64)),
            "q_proj.lora_magnitude_vector is none of LoRA on a linear layer",
        ),
        (lambda tensors: tensors.clear(), "adapter_model.safetensors holds no tensor"),
    ],
)
def test_every_tensor_of_the_adapter_must_fit(
    own: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change_tensors(own / "adapter" / ADAPTER, change)
    refused(own, StageFailed, message)


def test_a_tied_head_takes_no_adapter(own: Path) -> None:
    shard = min((own / "base").glob("*.safetensors"))
    index = json.loads((own / "base" / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = shard.name
    (own / "base" / INDEX).write_text(json.dumps(index))
    change_tensors(shard, put("lm_head.weight", torch.ones(320, 64)))
    head = "base_model.model.lm_head.lora_A.weight"
    change_tensors(own / "adapter" / ADAPTER, put(head, torch.ones(4, 64)))
    change_tensors(own / "adapter" / ADAPTER, put(head.replace("_A", "_B"), torch.ones(320, 4)))
    refused(own, StageFailed, f"adapter tensor {head} adapts a head that is the embedding; merged, it is lost")


def test_an_adapter_that_is_cut_short(own: Path) -> None:
    file = own / "adapter" / ADAPTER
    file.write_bytes(file.read_bytes()[:-10])
    refused(own, StageFailed, "adapter_model.safetensors is missing, cut short or damaged")
    file.unlink()
    refused(own, StageFailed, "adapter_model.safetensors is missing, cut short or damaged")
    (own / "adapter" / ADAPTER_CONFIG).unlink()
    refused(own, StageFailed, "adapter_config.json is missing, or is none of a LoRA adapter")


def edit_index(base: Path, change: Callable[[dict[str, str]], Any]) -> None:
    index = json.loads((base / INDEX).read_text())
    change(index["weight_map"])
    (base / INDEX).write_text(json.dumps(index))


def cut(base: Path, shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def cut_header(base: Path, shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:20])


def lose_shard(base: Path, shard: Path) -> None:
    shard.unlink()


def lose_index(base: Path, shard: Path) -> None:
    (base / INDEX).unlink()


def lose_entry(base: Path, shard: Path) -> None:
    edit_index(base, lambda listed: listed.pop("model.embed_tokens.weight"))


def list_too_much(base: Path, shard: Path) -> None:
    edit_index(base, lambda listed: listed.update({"model.extra.weight": shard.name}))


def list_elsewhere(base: Path, shard: Path) -> None:
    edit_index(base, lambda listed: listed.update({"model.embed_tokens.weight": "../model.safetensors"}))


def break_index(base: Path, shard: Path) -> None:
    (base / INDEX).write_text("{")


def quantize(base: Path, shard: Path) -> None:
    change_tensors(shard, put("model.embed_tokens.weight", torch.ones(320, 64, dtype=torch.uint8)))


def declare_quantized(base: Path, shard: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))


def lose_config(base: Path, shard: Path) -> None:
    (base / "config.json").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "tiny/{shard}: cut short or damaged ("),
        (cut_header, "tiny/{shard}: cut short or damaged ("),
        (lose_shard, "tiny: {shard}, which model.safetensors.index.json lists, is not there; fetch it again"),
        (
            lose_index,
            "tiny: neither model.safetensors nor model.safetensors.index.json is there; fetch the index of the",
        ),
        (lose_entry, "tiny/{shard}: holds model.embed_tokens.weight, which model.safetensors.index.json does not list"),
        (
            list_too_much,
            "tiny/{shard}: does not hold model.extra.weight, which model.safetensors.index.json lists there",
        ),
        (
            list_elsewhere,
            "model.embed_tokens.weight is said to be in '../model.safetensors', which is no name of a shard",
        ),
        (break_index, "tiny/model.safetensors.index.json: has no weight_map; fetch it again"),
        (quantize, "tiny/{shard}: model.embed_tokens.weight is U8; merge into weights of BF16, F16 or F32"),
        (declare_quantized, "tiny: config.json has a quantization_config; merge into the weights before quantization"),
        (lose_config, "tiny: no config.json there, or it is no JSON"),
    ],
)
def test_a_base_that_is_not_whole(own: Path, change: Callable[[Path, Path], None], message: str) -> None:
    name = json.loads((own / "base" / INDEX).read_text())["weight_map"]["model.embed_tokens.weight"]
    change(own / "base", own / "base" / name)
    refused(own, BadInput, message.format(shard=name))


def test_the_base_and_the_adapter_are_never_written_over(own: Path) -> None:
    for name in ("base", "adapter"):
        before = contents(own / name)
        with pytest.raises(ValueError, match="is what is merged"):
            merged(own, own / name)
        assert contents(own / name) == before


def test_the_disk_is_checked_first(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil._ntuple_diskusage(10**9, 10**9, 10_000_000)  # type: ignore[attr-defined]
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(EnvironmentLacks) as caught:
        merged(made, tmp_path / "out")
    assert str(caught.value) == (
        f"merging tiny needs 0.01 GB in {tmp_path / 'out'}, where 0.01 GB are free; free the space, or build on a "
        "larger disk"
    )
    assert not list((tmp_path / "out").iterdir())


def test_a_disk_that_fills_up_under_way(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files is met in the middle of a shard, as a full disk is; then there is room again."""
    undisturbed = contents(merged(made, tmp_path / "undisturbed"))
    sizes = {name: len(data) for name, data in undisturbed.items() if name.endswith(".safetensors")}
    shards = sorted(sizes)
    biggest = max(shards, key=lambda name: sizes[name])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[biggest] - 64, hard))
    try:
        with pytest.raises(EnvironmentLacks) as caught:
            merged(made, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = str(caught.value)
    assert said.startswith(f"merging tiny: the disk of {tmp_path / 'out'} is full (File too large); ")
    assert said.endswith("are free; free the space and run again: whole shards are kept")
    kept = shards[: shards.index(biggest)]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*kept, *([JOURNAL] if kept else [])}
    assert contents(merged(made, tmp_path / "out")) == undisturbed


def test_a_full_tmpfs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing, where it may be mounted: the check beforehand is passed over, as if another filled the disk."""
    (tmp_path / "small").mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path / "small")], capture_output=True
    )
    if mount.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        real = shutil.disk_usage
        large = shutil._ntuple_diskusage(10**12, 0, 10**12)  # type: ignore[attr-defined]
        answers = iter([large])
        monkeypatch.setattr("shutil.disk_usage", lambda path: next(answers, None) or real(path))
        with pytest.raises(EnvironmentLacks, match=r"is full \(No space left on device\); 0.01 GB are still needed"):
            merged(made, tmp_path / "small" / "out")
        left = {file.name for file in (tmp_path / "small" / "out").iterdir()}
        assert left and not any(name.endswith(".tmp") or name == "config.json" for name in left)
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def test_an_error_that_is_not_the_disks_is_not_called_so(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Mapping[str, Any]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "_write", broken)
    with pytest.raises(OSError, match="Input/output error"):
        merged(made, tmp_path / "out")


def test_merging_without_nf4_loads_no_library_of_models(made: Path, tmp_path: Path) -> None:
    """Memory is the tensor's, not transformers'."""
    code = (
        "import logging, sys; from pathlib import Path; from bbjspec.stages.merge import merge\n"
        f"merge(Path({str(made / 'whole')!r}), Path({str(made / 'adapter')!r}), Path({str(tmp_path / 'out')!r}), "
        "base_weights='bf16', double_quant=True, log=logging.getLogger())\n"
        "print(sorted({'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert (tmp_path / "out" / SINGLE).is_file() and not (tmp_path / "out" / INDEX).exists()
