"""The embedded models' tokenizer: byte-level BPE in Qwen2's manner, and a ChatML template like Qwen2.5's."""

from __future__ import annotations

import re
from pathlib import Path

from bbjspec.digest import sha256_bytes
from bbjspec.embedded import Recipe
from bbjspec.embedded.corpus import text
from bbjspec.errors import StageFailed

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# As Qwen2.5's stock template treats plain messages: a conversation that opens without a system message gets this one.
# The line break after the end of turn is part of every turn, so it is supervised together with it.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}\n"
    "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' -}}\n"
    "{%- endif -%}\n"
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|im_start|>assistant\\n' -}}\n"
    "{%- endif -%}\n"
)


def corpus_text(recipe: Recipe) -> str:
    """The fixed corpus. Raises StageFailed when it is not the one that the recipe names."""
    corpus = text()
    if sha256_bytes(corpus.encode()) != recipe.corpus_sha256:
        raise StageFailed(
            "bbjspec/embedded/corpus.py: its text is not the one that the recipes name; restore the file, "
            "or write the new SHA-256 into bbjspec/embedded/__init__.py and raise the recipes' version"
        )
    return corpus


def build(recipe: Recipe, directory: Path) -> None:
    """Train the tokenizer of `recipe` and save what AutoTokenizer loads into `directory`.

    The vocabulary holds the 256 bytes, the three special tokens and `vocab_size - 259` merges. Words are trained
    without the blank before them, so that one is the same tokens behind a blank and at the start of a line: a model
    this small copies tokens, but does not learn 2,000 pairs of them that mean the same. Raises StageFailed when the
    corpus has changed.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(re.split(r" (?=\S)|\n\n", corpus_text(recipe)), trainer=trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        model_max_length=recipe.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)
