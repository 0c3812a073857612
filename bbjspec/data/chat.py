"""Chat rows as token ids, by the base's own tokenizer and template: one way to count, for every stage that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.bbj.extract import Fences
from bbjspec.data.rows import Row
from bbjspec.errors import BadInput, Finding


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a `tokenizer` stage. Raises BadInput when it has no chat template."""
    return open_tokenizer(directory / "tokenizer", "model.base")


def open_tokenizer(directory: Path, shown: str) -> Any:
    """The tokenizer whose files are in the directory. Raises BadInput when it does not load or has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # transformers raises whatever its parsers raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput([Finding(shown, 0, 0, "", f"its tokenizer does not load: {first}")]) from error
    if not tokenizer.chat_template:
        raise BadInput([Finding(shown, 0, 0, "", "has no chat template; use an instruct model")])
    return tokenizer


def messages(row: Row) -> list[dict[str, str]]:
    """The three messages of a row."""
    return [
        {"role": "system", "content": row.system},
        {"role": "user", "content": row.question},
        {"role": "assistant", "content": row.answer},
    ]


def prompt_and_full_ids(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """Token ids of the prompt alone (up to where the answer begins), and of the whole row."""
    chat = messages(row)
    return _ids(tokenizer, chat[:2], generation=True), _ids(tokenizer, chat, generation=False)


def _ids(tokenizer: Any, chat: Sequence[Mapping[str, str]], *, generation: bool) -> list[int]:
    text = tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=generation)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def token_counts(tokenizer: Any, row: Row) -> tuple[int, int]:
    """Tokens of the row, and those of them that are learned: the answer and its end of turn."""
    prompt, full = prompt_and_full_ids(tokenizer, row)
    return len(full), len(full) - len(prompt)


def cut_to(tokenizer: Any, row: Row, max_length: int) -> Row | None:
    """The row with its answer cut behind the last line with which it has at most `max_length` tokens.

    A fence that is open there is closed. None when not even the answer's first line fits.
    """
    lines = row.answer.split("\n")

    def cut(count: int) -> Row:
        text = "\n".join(lines[:count]).rstrip()
        reader = Fences()
        for line in text.split("\n"):
            reader.feed(line)
        return row.replaced(answer=f"{text}\n{reader.fence}" if reader.fence else text)

    fits, too_many = 0, len(lines)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if token_counts(tokenizer, cut(middle))[0] <= max_length:
            fits = middle
        else:
            too_many = middle
    if not fits:
        return None
    shorter = cut(fits)
    return shorter if shorter.answer.strip() else None
