"""Prompt parity on a GGUF of the embedded base: what is equal passes, and each way to differ is told."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.data.chat import load_tokenizer
from bbjspec.embedded.tokenizer import CHAT_TEMPLATE
from bbjspec.errors import BadInput, StageFailed
from bbjspec.generation.prompts import encoded
from bbjspec.spec.eval import SamplingSpec
from bbjspec.stages.modelfile import rendered
from bbjspec.stages.parity import PROBES, Vocabulary, cases, check
from bbjspec.suite import Prompt, load_prompts
from tests.stages import tiny
from tests.tiny_gguf import write_gguf

ROOT = Path(__file__).parents[2]
SAMPLING = SamplingSpec().model_dump(mode="json")
SYSTEM = SAMPLING["system_prompt"]


@pytest.fixture(scope="module")
def suite() -> tuple[Prompt, ...]:
    return load_prompts(sorted((ROOT / "eval/prompts").rglob("*.jsonl")))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer and GGUF of the smallest embedded base, with its weights."""
    directory = tmp_path_factory.mktemp("parity")
    tiny.models(directory)
    write_gguf(directory / "base/model", directory / "tokenizer/tokenizer", directory / "f32.gguf")
    return directory


@pytest.fixture(scope="module")
def vocabulary(root: Path) -> Iterator[Vocabulary]:
    opened = Vocabulary(root / "f32.gguf")
    yield opened
    opened.close()


def prompt(text: str) -> Prompt:
    return Prompt("t/1", "syntax", "print", "basic", "all", text, "")


def changed(
    root: Path, directory: Path, edit: Callable[[Path], None], *, both: bool = False, **options: Any
) -> tuple[Any, Path]:
    """The base's tokenizer, and a GGUF without weights of an edited copy; `both`: the edited tokenizer too."""
    shutil.copytree(root / "tokenizer/tokenizer", directory / "tokenizer")
    edit(directory / "tokenizer")
    gguf = write_gguf(root / "base/model", directory / "tokenizer", directory / "x.gguf", vocab_only=True, **options)
    return load_tokenizer(directory if both else root / "tokenizer"), gguf


def template(text: str) -> Callable[[Path], None]:
    return lambda directory: (directory / "chat_template.jinja").write_text(text) and None


def with_bos(directory: Path) -> None:
    """`<|endoftext|>` begins every conversation, as the template writes it."""
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": "<|endoftext|>"}))
    template("{{- bos_token -}}\n" + CHAT_TEMPLATE)(directory)


def fewer_merges(directory: Path) -> None:
    words = json.loads((directory / "tokenizer.json").read_text())
    words["model"]["merges"] = [pair for pair in words["model"]["merges"] if "".join(pair) != "print"]
    (directory / "tokenizer.json").write_text(json.dumps(words))


def test_the_whole_suite_is_equal(root: Path, suite: tuple[Prompt, ...]) -> None:
    tokenizer = load_tokenizer(root / "tokenizer")
    found = check(tokenizer, root / "f32.gguf", suite, SAMPLING, num_ctx=4096)
    evaluated = [case for case in cases(suite, SYSTEM) if case.id in {prompt.id for prompt in suite}]
    lengths = [len(encoded(tokenizer, case.messages)[1]) for case in evaluated]
    assert found == {
        "prompts": len(suite),
        "checked": [
            *("evaluation prompts", "without a system message", "empty system message", "several turns"),
            *("quotes", "unicode", "code fence", "blanks"),
        ],
        "longest_prompt": max(lengths),
    }


def test_every_prompt_is_asked_with_and_without_a_system_message(suite: tuple[Prompt, ...]) -> None:
    asked = list(cases(suite, SYSTEM))
    assert len({case.id for case in asked}) == len(asked) == 2 * len(suite) + 2 * len(PROBES) + 2
    alone = [case for case in asked if case.messages[0]["role"] == "user"]
    assert len(alone) == len(suite) and not any(case.served for case in alone)
    # What Ollama makes of a question alone is what was evaluated: SYSTEM stands in.
    assert rendered(alone[0].messages, SYSTEM) == rendered(asked[0].messages)


def test_qwens_default_never_comes_in(root: Path) -> None:
    question = [{"role": "user", "content": "Who are you?"}]
    assert "Alibaba" in encoded(load_tokenizer(root / "tokenizer"), question)[0]
    assert "Alibaba" not in rendered(question) and rendered(question).startswith("<|im_start|>system\n<|im_end|>\n")


texts = st.text(
    st.characters(codec="utf-8") | st.sampled_from("aAzZ019 \n\r\t'sStTdDlLrRvVeE.,;\"{}<|>_ſ½"), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_any_text_is_equal(root: Path, vocabulary: Vocabulary, system: str, question: str) -> None:
    system, question = (unicodedata.normalize("NFC", text) for text in (system, question))
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    text, ids = encoded(_tokenizer(root), messages)
    assert vocabulary.ids(vocabulary.rendered(messages)) == vocabulary.ids(rendered(messages)) == list(ids), text


_opened: dict[Path, Any] = {}


def _tokenizer(root: Path) -> Any:
    if root not in _opened:
        _opened[root] = load_tokenizer(root / "tokenizer")
    return _opened[root]


def test_special_tokens_in_a_prompt_are_special_everywhere(root: Path) -> None:
    check(_tokenizer(root), root / "f32.gguf", [prompt("<|im_end|>\n<|im_start|>user\n<|endoftext|>")], SAMPLING)


def test_a_template_that_adds_a_bos(root: Path, tmp_path: Path) -> None:
    tokenizer, gguf = changed(root, tmp_path, with_bos, both=True)
    with pytest.raises(StageFailed) as error:
        check(tokenizer, gguf, [prompt("Print 1.")], SAMPLING)
    assert str(error.value) == (
        "t/1: token 1 differs: the base's chat template has '<|endoftext|>'; the GGUF's has '<|endoftext|>'; the "
        "Modelfile's has '<|im_start|>'. A beginning-of-sequence token comes first by the base's chat template and by "
        "the GGUF's alone; use a base whose chat template adds none, such as Qwen2.5-Coder"
    )


def test_a_gguf_whose_template_alone_adds_a_bos(root: Path, tmp_path: Path) -> None:
    tokenizer, gguf = changed(root, tmp_path, with_bos)
    with pytest.raises(StageFailed, match=r"A beginning-of-sequence token comes first by the GGUF's alone; use a base"):
        check(tokenizer, gguf, [prompt("Print 1.")], SAMPLING)


def test_a_gguf_whose_flag_adds_a_bos(root: Path, tmp_path: Path) -> None:
    tokenizer, gguf = changed(root, tmp_path, with_bos, add_bos=True)
    with pytest.raises(StageFailed) as error:
        check(tokenizer, gguf, [prompt("Print 1.")], SAMPLING)
    assert str(error.value) == (
        "x.gguf: its add_bos_token makes llama.cpp and Ollama begin every prompt with '<|endoftext|>' (beginning of "
        "sequence), which the evaluation did not; convert it with tokenizer.ggml.add_bos_token: false"
    )


def test_a_vocabulary_that_splits_otherwise(root: Path, tmp_path: Path) -> None:
    tokenizer, gguf = changed(root, tmp_path, fewer_merges)
    with pytest.raises(StageFailed) as error:
        check(tokenizer, gguf, [prompt("Say print.")], SAMPLING | {"system_prompt": "-"})
    said = str(error.value)
    assert said.startswith("t/1: token ") and "the base's chat template has 'print'; the GGUF's has 'pr'" in said
    assert said.endswith("splits the same text otherwise than the base's tokenizer; convert it with this tokenizer")


@pytest.mark.parametrize(
    ("edit", "both", "said"),
    [
        (template(CHAT_TEMPLATE.replace("Alibaba Cloud", "us")), False, "without a system message: token "),
        (template(CHAT_TEMPLATE.replace("Alibaba Cloud", "us")), False, "another chat template than the base's"),
        (template(CHAT_TEMPLATE.replace("['content']", "['content'] | trim")), True, "probe “code fence”: token "),
        (
            template("{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}"),
            True,
            "is not the plain ChatML that",
        ),
        (template("{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}"), True, "'['; the G"),
        (template("{{ raise_exception('no  system') }}"), False, "t/1: a chat template refuses it (no system)"),
        (template("{% if %}"), False, "x.gguf: its chat template is broken (Expected an expression, got "),
        (template(""), False, "x.gguf: has no chat template in it"),
        (template("{{ '' }}"), True, "token 1 differs: the base's chat template has none; the GGUF's has none; the M"),
        (lambda directory: (directory / "chat_template.jinja").unlink(), False, "x.gguf: has no chat template in it"),
    ],
)
def test_another_template(root: Path, tmp_path: Path, edit: Callable[[Path], None], both: bool, said: str) -> None:
    tokenizer, gguf = changed(root, tmp_path, edit, both=both)
    with pytest.raises(StageFailed) as error:
        check(tokenizer, gguf, [prompt("Print 1.")], SAMPLING)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_prompt_that_is_not_normalized(root: Path) -> None:
    """The base's tokenizer composes e and its accent, llama.cpp does not."""
    with pytest.raises(StageFailed) as error:
        check(_tokenizer(root), root / "f32.gguf", [prompt("Print cafe\u0301.")], SAMPLING)
    assert str(error.value).startswith("t/1: token ") and "not in Unicode's NFC" in str(error.value)


def test_a_context_without_room(root: Path) -> None:
    one = [prompt("Print 1. " * 200)]
    longest = check(_tokenizer(root), root / "f32.gguf", one, SAMPLING)["longest_prompt"]
    assert check(_tokenizer(root), root / "f32.gguf", one, SAMPLING, longest + 1024)["longest_prompt"] == longest
    with pytest.raises(BadInput) as error:
        check(_tokenizer(root), root / "f32.gguf", one, SAMPLING, longest + 1023)
    assert str(error.value) == (
        f"export.ollama.num_ctx: {longest + 1023} has no room for t/1, {longest} tokens, and an answer of "
        f"eval.sampling.max_new_tokens, 1024; write at least {longest + 1024}"
    )


def test_a_file_that_is_none(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF? no")
    with pytest.raises(BadInput, match=r"^x\.gguf: llama\.cpp cannot load it; make it again$"):
        check(_tokenizer(root), file, [prompt("Print 1.")], SAMPLING)
