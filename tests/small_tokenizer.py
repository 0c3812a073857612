"""Real tokenizers of some 300 tokens, with the special tokens that a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bbjspec.embedded.tokenizer import CHAT_TEMPLATE

TEXTS = ["print the number\n\n", "what is it?\n\n", "print\n\n"]


def write(directory: Path, special: Sequence[str], *, template: str | None = CHAT_TEMPLATE, **named: str) -> Path:
    """Save a byte-level BPE that knows two line breaks as one token; `named` are its eos_token, pad_token, ….

    The tokens of `special` come first in the vocabulary, in that order.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 9, trainer=trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    if template is not None:
        fast.chat_template = template
    fast.save_pretrained(directory)
    return directory
