"""Rows as token ids, all at once; and a token to pad with that is never the end of turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bbjspec.data.chat import all_token_counts, messages, open_tokenizer, padded, prompts_and_rows, token_counts
from bbjspec.embedded.tokenizer import CHAT_TEMPLATE
from bbjspec.errors import BadInput
from tests import small_tokenizer
from tests.rows import row

IM = ("<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    special = ("<|endoftext|>", *IM)
    folder = small_tokenizer.write(
        tmp_path_factory.mktemp("tokenizer"), special, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    return open_tokenizer(folder, "here")


def with_template(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, template: str) -> Any:
    monkeypatch.setattr(tokenizer, "chat_template", template)
    return tokenizer


def test_many_rows_are_what_each_is_alone(tokenizer: Any) -> None:
    rows = [row(i, f"What is {i}?", "print\n" * (i % 7) + str(i), f"system {i % 3}") for i in range(1, 1204)]
    found = prompts_and_rows(tokenizer, rows)
    assert len(found) == len(rows)
    for one, (prompt, whole) in zip(rows[::100], found[::100], strict=True):
        chat = messages(one)
        assert prompt == tokenizer.apply_chat_template(chat[:2], add_generation_prompt=True)["input_ids"]
        assert whole == tokenizer.apply_chat_template(chat)["input_ids"]
        assert token_counts(tokenizer, one) == (len(whole), len(whole) - len(prompt))
    assert all(whole[: len(prompt)] == prompt for prompt, whole in found)
    assert all_token_counts(tokenizer, rows) == [(len(whole), len(whole) - len(prompt)) for prompt, whole in found]
    assert prompts_and_rows(tokenizer, []) == []


def test_an_answer_that_would_melt_into_the_prompt_stays_behind_it(tokenizer: Any) -> None:
    asked, melts = row(1, "What?", "print 1"), row(2, "What?", "\nprint 1")
    (prompt, _), (same, whole) = prompts_and_rows(tokenizer, [asked, melts])
    text = tokenizer.apply_chat_template(messages(melts), tokenize=False)
    joined = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert joined[: len(prompt)] != prompt, "the two line breaks are one token"
    assert same == prompt == whole[: len(prompt)] and len(whole) == len(joined) + 1
    assert tokenizer.decode(whole) == text


def test_a_template_that_writes_the_prompt_otherwise_before_an_answer(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinks = with_template(
        tokenizer, monkeypatch, CHAT_TEMPLATE.replace("assistant\\n' -}}", "assistant\\n<think>' -}}")
    )
    with pytest.raises(BadInput) as error:
        prompts_and_rows(thinks, [row(7, "What?"), row(8, "What else?")], "rows.jsonl")
    assert str(error.value) == (
        "rows.jsonl:7: r7: the base's chat template renders the prompt otherwise when an answer follows, so that the "
        "model would be trained on another prompt than it is asked; use another base"
    )


def test_a_template_that_refuses_is_told_with_the_row(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = "{%- if messages[0]['content'] == 'no' -%}{{ raise_exception('System role not supported') }}{%- endif -%}"
    picky = with_template(tokenizer, monkeypatch, refuses + CHAT_TEMPLATE)
    rows = [row(1, "a"), row(2, "b"), row(3, "c", system="no"), row(4, "d", system="no")]
    assert len(prompts_and_rows(picky, rows[:2])) == 2
    with pytest.raises(BadInput) as error:
        prompts_and_rows(picky, rows, "rows.jsonl")
    assert str(error.value) == (
        "rows.jsonl:3: r3: the base's chat template refuses it: System role not supported; use another base"
    )


@pytest.mark.parametrize(
    ("special", "named", "pad"),
    [
        (("<|endoftext|>", *IM), {}, "<|endoftext|>"),
        (("<|endoftext|>", *IM), {"pad_token": "<|im_end|>"}, "<|endoftext|>"),
        (("<|endoftext|>", *IM), {"pad_token": "<|im_start|>"}, "<|im_start|>"),  # odd, but the base's own
        (("<unk>", "<pad>", *IM), {"unk_token": "<unk>"}, "<pad>"),
        (("<|endoftext|>", "<|pad_id|>", *IM), {"bos_token": "<|endoftext|>"}, "<|pad_id|>"),
        ((*IM, "<unk>"), {"unk_token": "<unk>"}, "<unk>"),
        (
            ("<s>", *IM, "<|reserved|>"),
            {"bos_token": "<s>"},
            "<|reserved|>",
        ),  # rather than one that the template writes
        (("<s>", *IM), {"bos_token": "<s>"}, "<|im_start|>"),
    ],
)
def test_padding_is_a_special_token_that_is_there(
    special: tuple[str, ...], named: dict[str, str], pad: str, tmp_path: Path
) -> None:
    small_tokenizer.write(tmp_path, special, eos_token="<|im_end|>", **named)
    tokenizer = open_tokenizer(tmp_path, "here")
    before = len(tokenizer), tokenizer.get_vocab()
    assert padded(tokenizer) is tokenizer
    assert tokenizer.pad_token == pad and tokenizer.pad_token_id == special.index(pad)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert (len(tokenizer), tokenizer.get_vocab()) == before
    rows = tokenizer(["print", "print the number"], padding=True)
    assert rows["input_ids"][0][-1] == tokenizer.pad_token_id and rows["attention_mask"][0][-1] == 0


@pytest.mark.parametrize("named", [{}, {"pad_token": "</s>"}, {"pad_token": "</s>", "unk_token": "</s>"}])
def test_no_token_to_pad_with(named: dict[str, str], tmp_path: Path) -> None:
    small_tokenizer.write(tmp_path, ("<s>", "</s>"), bos_token="<s>", eos_token="</s>", **named)
    with pytest.raises(BadInput) as error:
        padded(open_tokenizer(tmp_path, "org/base"), "org/base")
    assert str(error.value) == (
        "org/base: its tokenizer has no token to pad with: no special token is free of being the end of turn, </s>, or "
        "the beginning; as pad_token in its tokenizer_config.json, name a token of its vocabulary that no text uses, "
        "or use another base"
    )
