"""Prompt parity: the same tokens from the base's chat template, from the GGUF's own, and from the Modelfile's.

An exported model that answers worse than its adapter has mostly been asked otherwise. Newer versions of Ollama take the
template in the GGUF where it can do more than the Modelfile's (Qwen's can call tools), older ones the Modelfile's, so
all three must agree.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec.errors import BadInput, StageFailed
from bbjspec.generation.base import Message
from bbjspec.generation.prompts import encoded
from bbjspec.stages.modelfile import rendered
from bbjspec.suite import Prompt

# What a template or a vocabulary treats otherwise, if anything.
PROBES = {
    "quotes": "Why is `print \"it's\"` right, and `print '''` or \\\"\\n\\\" not? She said: “both”, {{ .System }}.",
    "unicode": "Größe 5 µm, naïve café, 漢字かな, עברית, हिन्दी, 🙂🏽 and 1²³½.",
    "code fence": 'Mend it:\n\n```bbj\n\tLET A$ = "x" ;  REM  two  blanks\r\n\n\n    PRINT A$,12345.678\n```\n',
    "blanks": "  \n\n leading and trailing \t \n\n\n",
}
_NAMES = ("the base's chat template", "the GGUF's", "the Modelfile's")


@dataclass(frozen=True)
class Case:
    """A conversation to check; `served`: by the Modelfile too."""

    id: str
    messages: tuple[Message, ...]
    served: bool = True


class Vocabulary:
    """Vocabulary and chat template of a GGUF, without its weights: a file of 20 GB opens as fast as a small one."""

    def __init__(self, gguf: Path) -> None:
        """Raises BadInput for a file that llama.cpp cannot load, StageFailed for one that cannot chat."""
        import jinja2
        import llama_cpp
        from llama_cpp._internals import LlamaModel  # Llama itself wants weights to make a context of

        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        try:
            self._model = LlamaModel(path_model=str(gguf), params=parameters, verbose=False)
        except ValueError as error:
            raise BadInput(f"{gguf.name}: llama.cpp cannot load it; make it again") from error
        template = self._model.metadata().get("tokenizer.chat_template")
        if not template:
            self.close()
            raise StageFailed(f"{gguf.name}: has no chat template in it (tokenizer.chat_template); convert it again")
        self.bos = self._model.token_bos()
        self.adds_bos = bool(self._model.add_bos_token())
        special = {"bos_token": self.bos, "eos_token": self._model.token_eos()}
        texts = {name: self.piece(at) if at >= 0 else "" for name, at in special.items()}
        try:
            self._format = llama_cpp.llama_chat_format.Jinja2ChatFormatter(template, **texts)
        except jinja2.TemplateError as error:
            self.close()
            raise StageFailed(f"{gguf.name}: its chat template is broken ({error}); convert it again") from error

    def rendered(self, messages: Sequence[Message]) -> str:
        """The conversation by the GGUF's template, up to where the answer begins, as llama-cpp-python makes it."""
        return str(self._format(messages=list(messages)).prompt)

    def ids(self, text: str) -> list[int]:
        """Token ids as servers make them: special tokens are known by their text, and the file's own flags hold."""
        return list(self._model.tokenize(text.encode(), True, True))

    def piece(self, token: int) -> str:
        """The text of one token, half characters as escapes."""
        return str(self._model.detokenize([token], special=True).decode(errors="backslashreplace"))

    def close(self) -> None:
        """Free what llama.cpp holds."""
        self._model.close()


def check(
    tokenizer: Any, gguf: Path, prompts: Sequence[Prompt], sampling: Mapping[str, Any], num_ctx: int | None = None
) -> dict[str, Any]:
    """Compare the three for all prompts and probes: {"prompts", "checked", "longest_prompt" (tokens)}.

    `tokenizer` is the base's, as transformers loads it; `sampling` the evaluation's. Raises StageFailed for the first
    difference, with the token, and for a beginning of sequence that one of them adds; BadInput for a file that does not
    load, and where the longest prompt and an answer do not fit into `num_ctx`.
    """
    vocabulary = Vocabulary(gguf)
    try:
        if vocabulary.adds_bos:
            raise StageFailed(
                f"{gguf.name}: its add_bos_token makes llama.cpp and Ollama begin every prompt with "
                f"{vocabulary.piece(vocabulary.bos)!r} (beginning of sequence), which the evaluation did not; "
                "convert it with tokenizer.ggml.add_bos_token: false"
            )
        lengths = {
            case.id: _compare(case, tokenizer, vocabulary) for case in cases(prompts, str(sampling["system_prompt"]))
        }
    finally:
        vocabulary.close()
    longest = max((prompt.id for prompt in prompts), key=lengths.__getitem__)
    needed = lengths[longest] + int(sampling["max_new_tokens"])
    if num_ctx is not None and needed > num_ctx:
        raise BadInput(
            f"export.ollama.num_ctx: {num_ctx} has no room for {longest}, {lengths[longest]} tokens, and an answer of "
            f"eval.sampling.max_new_tokens, {sampling['max_new_tokens']}; write at least {needed}"
        )
    checked = ["evaluation prompts", "without a system message", "empty system message", "several turns", *PROBES]
    return {"prompts": len(prompts), "checked": checked, "longest_prompt": lengths[longest]}


def cases(prompts: Sequence[Prompt], system: str) -> Iterator[Case]:
    """Every prompt as it was evaluated and with no system message, then the probes."""
    first = {"role": "system", "content": system}
    for prompt in prompts:
        question = {"role": "user", "content": prompt.input}
        yield Case(prompt.id, (first, question))
        # Ollama never asks so, SYSTEM stands in; other programs that serve the file do.
        yield Case(f"{prompt.id} without a system message", (question,), served=False)
    for name, text in PROBES.items():
        question = {"role": "user", "content": text}
        yield Case(f"probe “{name}”", (first, question))
        yield Case(f"probe “{name}” as system message", ({"role": "system", "content": text}, question))
    question = {"role": "user", "content": "Print 1."}
    yield Case("probe “empty system message”", ({"role": "system", "content": ""}, question))
    yield Case("probe “several turns”", (first, question, {"role": "assistant", "content": "PRINT 1"}, question))


def _compare(case: Case, tokenizer: Any, vocabulary: Vocabulary) -> int:
    """Raise StageFailed where not all are the same tokens; their number."""
    import jinja2

    try:
        text, ids = encoded(tokenizer, case.messages)
        texts = [text, vocabulary.rendered(case.messages)]
    except (jinja2.TemplateError, ValueError) as error:  # what a template's own raise_exception becomes
        raise StageFailed(f"{case.id}: a chat template refuses it ({' '.join(str(error).split())})") from error
    if case.served:
        texts.append(rendered(case.messages))
    made = [list(ids), *map(vocabulary.ids, texts[1:])]
    if all(other == made[0] for other in made[1:]):
        return len(ids)
    at = next(at for at in range(max(map(len, made))) if len({tuple(one[at : at + 1]) for one in made}) > 1)
    readers = [lambda token: str(tokenizer.decode([token])), vocabulary.piece, vocabulary.piece]
    seen = "; ".join(
        f"{name} has {repr(read(one[at])) if at < len(one) else 'none'}"
        for name, read, one in zip(_NAMES, readers, made, strict=False)
    )
    raise StageFailed(f"{case.id}: token {at + 1} differs: {seen}. {_cause(texts, made, tokenizer, vocabulary)}")


def _cause(texts: Sequence[str], made: Sequence[Sequence[int]], tokenizer: Any, vocabulary: Vocabulary) -> str:
    """Why they differ, as far as can be told, and what to do."""
    bos = (tokenizer.bos_token_id, vocabulary.bos)
    begun = [name for name, one in zip(_NAMES, made, strict=False) if one[:1] and one[0] in bos]
    if begun and len(begun) < len(made):
        return (
            f"A beginning-of-sequence token comes first by {' and by '.join(begun)} alone; use a base whose chat "
            "template adds none, such as Qwen2.5-Coder"
        )
    if texts[0] != texts[1]:
        return "The GGUF holds another chat template than the base's tokenizer; convert it with this tokenizer"
    if texts[0] != texts[-1]:
        return (
            "The base's chat template is not the plain ChatML that the Modelfile writes; use a base that has it, such "
            "as Qwen2.5-Coder, or write export.gguf: [] and make GGUF and Modelfile by hand"
        )
    if not unicodedata.is_normalized("NFC", texts[0]):
        return (
            "The text is not in Unicode's NFC, to which the base's tokenizer turns it and llama.cpp does not; write NFC"
        )
    return "The GGUF splits the same text otherwise than the base's tokenizer; convert it with this tokenizer"
