"""The embedded base as a GGUF file, as llama.cpp's converter would write it if it knew the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tensor_name(name: str) -> str:
    """A tensor's name in GGUF: `model.layers.0.mlp.up_proj.weight` is `blk.0.ffn_up.weight`."""
    if name in NAMES:
        return NAMES[name]
    number, _, rest = name.removeprefix("model.layers.").partition(".")
    stem, _, part = rest.rpartition(".")
    return f"blk.{number}.{NAMES[rest]}" if rest in NAMES else f"blk.{number}.{NAMES[stem]}.{part}"


def write_gguf(model: Path, tokenizer: Path, target: Path, *, add_bos: bool = False, vocab_only: bool = False) -> Path:
    """Write an embedded base (`model/`) and its tokenizer (`tokenizer/`) as `target`, in float32 and with tied head.

    `add_bos` is the flag that makes llama.cpp put a beginning of sequence before every text. With `vocab_only` there
    are no weights in it.
    """
    from gguf import GGUFWriter, LlamaFileType, TokenType
    from safetensors.numpy import load_file

    config = json.loads((model / "config.json").read_text())
    words = json.loads((tokenizer / "tokenizer.json").read_text())
    special = json.loads((tokenizer / "tokenizer_config.json").read_text())
    writer = GGUFWriter(str(target), "qwen2")
    writer.add_name("tiny")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    ids = dict(words["model"]["vocab"]) | {token["content"]: token["id"] for token in words["added_tokens"]}
    controls = {token["id"] for token in words["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    assert [ids[token] for token in tokens] == list(range(config["vocab_size"]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if at in controls else TokenType.NORMAL for at in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in words["model"]["merges"]])
    writer.add_eos_token_id(ids[special["eos_token"]])
    writer.add_pad_token_id(ids[special["pad_token"]])
    if special.get("bos_token"):
        writer.add_bos_token_id(ids[special["bos_token"]])
    writer.add_add_bos_token(add_bos)
    if (tokenizer / "chat_template.jinja").is_file():
        writer.add_chat_template((tokenizer / "chat_template.jinja").read_text())
    for name, tensor in ({} if vocab_only else load_file(model / "model.safetensors")).items():
        writer.add_tensor(tensor_name(name), tensor.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
