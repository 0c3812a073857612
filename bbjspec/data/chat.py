"""Chat rows as token ids, by the base's own tokenizer and template: one way to count, for every stage that counts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bbjspec.bbj.extract import Fences
from bbjspec.data.rows import Row
from bbjspec.errors import BadInput, Finding

_AT_ONCE = 1000  # rows in one call of the tokenizer
_OTHERWISE = (
    "the base's chat template renders the prompt otherwise when an answer follows, so that the model would be trained "
    "on another prompt than it is asked; use another base"
)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a `tokenizer` stage. Raises BadInput when it has no chat template."""
    return open_tokenizer(directory / "tokenizer", "model.base")


def open_tokenizer(directory: Path, shown: str) -> Any:
    """The tokenizer whose files are in the directory. Raises BadInput when it does not load or has no chat template.

    `shown` is the base as messages name it.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its parsers raise
        raise BadInput([Finding(shown, 0, 0, "", f"its tokenizer does not load: {_first_line(error)}")]) from error
    if not tokenizer.chat_template:
        raise BadInput([Finding(shown, 0, 0, "", "has no chat template; use an instruct model")])
    tokenizer.model_max_length = sys.maxsize  # lengths are settled by the spec, not warned of here
    return tokenizer


def padded(tokenizer: Any, shown: str = "model.base") -> Any:
    """The tokenizer, with a padding token that is not its end of turn; one that has such a token is left as it is.

    Whoever masks padding by its id would mask the end of turn too where both are one token, and no answer would learn
    to end. The token is one of the special tokens that are there already, so that the vocabulary keeps its size. Raises
    BadInput where there is none; `shown` is the base as messages name it.
    """
    eos = tokenizer.eos_token_id
    if tokenizer.pad_token_id not in (None, eos):
        return tokenizer
    special = {token.content: at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
    if tokenizer.unk_token in tokenizer.get_vocab():
        special[tokenizer.unk_token] = tokenizer.unk_token_id
    free = [token for token, at in special.items() if at not in (eos, tokenizer.bos_token_id)]
    if not free:
        message = (
            f"its tokenizer has no token to pad with: no special token is free of being the end of turn, "
            f"{tokenizer.eos_token}, or the beginning; as pad_token in its tokenizer_config.json, name a token of its "
            "vocabulary that no text uses, or use another base"
        )
        raise BadInput([Finding(shown, 0, 0, "", message)])

    def rank(token: str) -> tuple[int, int]:
        if token == "<|endoftext|>":  # what Qwen's own models pad with
            return 0, 0
        if "pad" in token.lower():
            return 1, special[token]
        if token == tokenizer.unk_token:
            return 2, 0
        return 3 + (token in str(tokenizer.chat_template)), special[token]

    tokenizer.pad_token = min(free, key=rank)
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def messages(row: Row) -> list[dict[str, str]]:
    """The three messages of a row."""
    return [
        {"role": "system", "content": row.system},
        {"role": "user", "content": row.question},
        {"role": "assistant", "content": row.answer},
    ]


def prompts_and_rows(tokenizer: Any, rows: Sequence[Row], shown: str = "data") -> list[tuple[list[int], list[int]]]:
    """Token ids of each row's prompt (up to where its answer begins) and of the whole row, in the order of the rows.

    The prompt's ids are the beginning of the row's. `shown` is the rows' file as messages name it. Raises BadInput for
    the first row that the base's chat template refuses, or whose prompt it writes otherwise when an answer follows.
    """
    return list(_encoded(tokenizer, rows, shown))


def all_token_counts(tokenizer: Any, rows: Iterable[Row], shown: str = "data") -> list[tuple[int, int]]:
    """Tokens of each row, and those of them that are learned: the answer and its end of turn.

    Raises what `prompts_and_rows` raises.
    """
    return [(len(row), len(row) - len(prompt)) for prompt, row in _encoded(tokenizer, rows, shown)]


def token_counts(tokenizer: Any, row: Row) -> tuple[int, int]:
    """The counts of one row."""
    return all_token_counts(tokenizer, [row])[0]


def _encoded(tokenizer: Any, rows: Iterable[Row], shown: str) -> Iterator[tuple[list[int], list[int]]]:
    """Rows go to the tokenizer in chunks: it may use all cores, and no more than a chunk of ids is held at a time."""
    waiting = iter(rows)
    while some := list(islice(waiting, _AT_ONCE)):
        texts = _rendered(tokenizer, some, shown)
        ids = _ids(tokenizer, [text for pair in texts for text in pair])
        for (prompt_text, text), prompt, row in zip(texts, ids[::2], ids[1::2], strict=True):
            if row[: len(prompt)] == prompt:
                yield prompt, row
            else:
                # The prompt's last characters and the answer's first make one token, as two line breaks do. The model
                # is asked with the prompt's own tokens, so what it learns goes on from them.
                yield prompt, prompt + _ids(tokenizer, [text.removeprefix(prompt_text)])[0]


def _rendered(tokenizer: Any, rows: Sequence[Row], shown: str) -> list[tuple[str, str]]:
    """Prompt and whole row as text, the one the beginning of the other. Raises BadInput for the first that will not."""
    chats = [messages(row) for row in rows]
    try:
        prompts = tokenizer.apply_chat_template([c[:2] for c in chats], tokenize=False, add_generation_prompt=True)
        wholes = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=False)
    except Exception as error:  # templates are programs, and raise what they like
        if len(rows) > 1:
            for row in rows:
                _rendered(tokenizer, [row], shown)
        message = f"the base's chat template refuses it: {_first_line(error)}; use another base"
        raise BadInput([Finding(shown, rows[0].line, 0, rows[0].id, message)]) from error
    texts = list(zip(prompts, wholes, strict=True))
    for row, (prompt, whole) in zip(rows, texts, strict=True):
        if not whole.startswith(prompt):
            raise BadInput([Finding(shown, row.line, 0, row.id, _OTHERWISE)])
    return texts


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)
    return list(encoded["input_ids"])


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
