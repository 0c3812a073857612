"""The `tokenizer` stage on a directory: which bases it refuses, and how what it takes is padded."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bbjspec import store
from bbjspec.embedded.tokenizer import CHAT_TEMPLATE
from bbjspec.errors import BadInput
from bbjspec.stage import Stage, StageRun
from bbjspec.stages import models, tokenizer
from tests import small_tokenizer
from tests.harness import run

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def made(root: Path) -> StageRun:
    """A run of the stage, and then a stage that reads it."""
    log = logging.getLogger("test")
    config = {"base": "./mine", "revision": None}
    directory = root / "made"
    directory.mkdir()
    tokenizer.run(StageRun("tokenizer", "0" * 16, root, directory, config, {}, {}, log=log))
    return StageRun("train", "0" * 16, root, root / "train", {}, {"tokenizer": directory}, {}, log=log)


def refused(root: Path) -> str:
    with pytest.raises(BadInput) as error:
        made(root)
    return str(error.value)


def test_a_base_without_chat_template(tmp_path: Path) -> None:
    small_tokenizer.write(tmp_path / "mine", SPECIAL, template=None, eos_token="<|im_end|>")
    assert refused(tmp_path) == "./mine: has no chat template; use an instruct model"


def test_a_base_without_chat_template_by_the_command(tmp_path: Path) -> None:
    small_tokenizer.write(tmp_path / "mine", SPECIAL, template=None, eos_token="<|im_end|>")
    path = store.prepare(tmp_path, Stage("tokenizer", {"base": "./mine", "revision": None, "recipe": None}))
    done = run(tmp_path, "bbjspec", "run", str(path))
    name = f"tokenizer {path.parent.name[:8]}"
    assert done.stderr.splitlines()[-1] == f"{name}: ./mine: has no chat template; use an instruct model"
    assert (done.returncode, done.stdout) == (1, "") and "Traceback" not in done.stderr
    assert not store.is_whole(path.parent)


def test_a_base_without_end_of_turn(tmp_path: Path) -> None:
    small_tokenizer.write(tmp_path / "mine", SPECIAL)
    assert refused(tmp_path) == (
        "./mine: its tokenizer names no end-of-turn (eos) token; set it in the base's tokenizer_config.json"
    )


def test_a_template_that_ends_no_turn(tmp_path: Path) -> None:
    template = CHAT_TEMPLATE.replace("+ '<|im_end|>\\n'", "+ '\\n'")
    small_tokenizer.write(tmp_path / "mine", SPECIAL, template=template, eos_token="<|im_end|>")
    assert refused(tmp_path) == (
        "./mine: its chat template does not end a turn with <|im_end|>, the tokenizer's eos token; take the instruct "
        "variant of this model"
    )


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert refused(tmp_path) == "./mine: no tokenizer files there; a base needs at least tokenizer.json"


@pytest.mark.parametrize("named", [{}, {"pad_token": "<|im_end|>"}])
def test_padding_is_never_the_end_of_turn(named: dict[str, str], tmp_path: Path) -> None:
    small_tokenizer.write(tmp_path / "mine", SPECIAL, eos_token="<|im_end|>", **named)
    reader = made(tmp_path)
    kept = (reader.input("tokenizer") / "tokenizer/tokenizer_config.json").read_bytes()
    assert kept == (tmp_path / "mine/tokenizer_config.json").read_bytes(), "the base's files are kept as they are"
    for side in ("left", "right"):
        loaded = models.load_tokenizer(reader, side)
        assert (loaded.pad_token, loaded.padding_side) == ("<|endoftext|>", side)
        assert loaded(["print", "print the number"], padding=True)["input_ids"][0].count(0) > 0


def test_nothing_to_pad_with(tmp_path: Path) -> None:
    template = CHAT_TEMPLATE.replace("<|im_start|>", "[").replace("<|im_end|>", "</s>")
    small_tokenizer.write(tmp_path / "mine", ("</s>",), template=template, eos_token="</s>", pad_token="</s>")
    assert refused(tmp_path).startswith("./mine: its tokenizer has no token to pad with: ")
