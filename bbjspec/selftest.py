"""The suite's self-test: does every prompt accept its own answer and reject what is none?

Answers are judged by the rules that score (`bbjspec.stages.verdicts`). A syntax prompt must pass with its reference and
with no degenerate answer of `degenerate`; a factual one must pass with each of its `pass_examples`, fail with each of
its `fail_examples`, and its `must` alone must reject what answers another item. No prompt may be given away by the
dataset. A few references answer a second prompt rightly (a prompt asks for less than another's reference does): up to
OTHERS are told as notes, more mean that the patterns ask for too little.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bbjspec.bbj.compiler import Compiler, Verdict
from bbjspec.bbj.extract import blocks
from bbjspec.bbj.parallel import compile_all
from bbjspec.data.leakage import leaks
from bbjspec.data.rows import Row, read_rows
from bbjspec.errors import BadInput, Finding, StageFailed
from bbjspec.selftasks import general_findings, realistic_findings
from bbjspec.stages.programs import significant_statements, stripped
from bbjspec.stages.verdicts import Judged, Sample, collapse, judge_answer, judge_program, solution_of
from bbjspec.suite import Prompt, load_prompts

OTHERS = 2  # references of other prompts that may pass at one prompt

_PROSE = (
    "To do this in BBj you first choose the variables, then you use the statement that fits, and at the end you show "
    "what came out. Do not forget to handle errors. Let me know if anything is not clear."
)
_PYTHON = "import sys\n\ndef main(path):\n    with open(path) as f:\n        for line in f:\n            print(line)\n"
_JAVA = (
    'public class Main {\n    public static void main(String[] args) {\n        System.out.println("Done");\n    }\n}\n'
)
_JSON = '{"language": "bbj", "code": ["print 1", "print 2"], "done": true}\n'


@dataclass(frozen=True)
class Report:
    """What a self-test found: `findings` are to be mended, `notes` to be known. `answers` were judged."""

    prompts: int
    answers: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def degenerate(prompt: Prompt) -> dict[str, tuple[str, str]]:
    """Answers that answer nothing, by name: (completion, finish_reason)."""
    given = blocks(prompt.input)
    asked = " ".join(prompt.input.split())
    lines = prompt.reference.splitlines()
    half = "\n".join(lines[: len(lines) // 2])
    quoted = "".join('print "' + line.replace('"', "'") + '"\n' for line in lines)
    return {
        "an empty answer": ("", "stop"),
        "white space": (" \n\t\n\n", "stop"),
        "an empty fence": (_fenced("\n"), "stop"),
        "a comment": (_fenced(f"rem {asked}\n"), "stop"),
        "the prompt": (prompt.input, "stop"),
        "the prompt's code": (_fenced(given[0].code if given else prompt.input), "stop"),
        "one PRINT repeated": (_fenced('print "done"\n' * 40), "stop"),
        "one literal PRINT": (_fenced(f"print {json.dumps(prompt.category)}\n"), "stop"),
        "prose": (_PROSE, "stop"),
        "Python": (_fenced(_PYTHON, "python"), "stop"),
        "Python without a tag": (_fenced(_PYTHON, ""), "stop"),
        "Java without a tag": (_fenced(_JAVA, ""), "stop"),
        "JSON": (_fenced(_JSON, ""), "stop"),
        "an unclosed fence around prose": (f"```bbj\n{_PROSE}", "stop"),
        "three fences without an answer": (
            f"Say:\n{_fenced('print 1')}or:\n{_fenced('rem nothing')}or:\n{_fenced(_PROSE)}",
            "stop",
        ),
        "the reference, cut at the token limit": (f"```bbj\n{prompt.reference}", "length"),
        "half the reference, cut at the token limit": (f"```bbj\n{half}", "length"),
        "half the reference": (_fenced(half), "stop"),
        "the reference in comments": (_fenced("".join(f"rem {line}\n" for line in lines)), "stop"),
        "the reference in PRINTs": (_fenced(quoted), "stop"),
        "labels": (_fenced("".join(f"step{i}:\n" for i in range(20))), "stop"),
        "END alone": (_fenced("end\n"), "stop"),
    }


def _fenced(code: str, tag: str = "bbj") -> str:
    return f"```{tag}\n{code}" + ("" if code.endswith("\n") else "\n") + "```\n"


def self_test(paths: Sequence[Path], compiler: Compiler, datasets: Mapping[str, Path]) -> Report:
    """Test one suite. `datasets` are files of training rows by the name that findings give them.

    Raises BadInput for files that are no prompts and for a dataset that cannot be read, StageFailed where the compiler
    gives no verdict.
    """
    prompts = load_prompts(paths)
    places = _places(paths)
    judge = _Judge(compiler)
    found: list[tuple[Prompt, str]] = []
    notes: list[str] = []
    syntax = [prompt for prompt in prompts if prompt.tier == "syntax"]
    factual = [prompt for prompt in prompts if prompt.tier == "factual"]
    found += _syntax(syntax, judge)
    found += _template(syntax, judge)
    for prompt, others in _answered_by_others(syntax, judge):
        said = f"the references of {', '.join(others)} pass"
        if len(others) > OTHERS:
            found.append((prompt, f"{said}: add a pattern for what this prompt asks and they lack"))
        else:
            notes.append(f"{prompt.id}: {said} too")
    for prompt in factual:
        found += ((prompt, message) for message in _factual(prompt, factual))
    found += general_findings([prompt for prompt in prompts if prompt.tier == "general"])
    found += realistic_findings([prompt for prompt in prompts if prompt.tier == "realistic"], compiler)
    for shown, path in datasets.items():
        found += _leaked(prompts, shown, path)
    findings = [Finding(*places[prompt.id], 0, prompt.id, message) for prompt, message in found]
    return Report(len(prompts), judge.answers, tuple(sorted(findings)), tuple(notes))


class _Judge:
    """Judges answers by the rules that score, many at a time."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._verdicts: dict[str, Verdict] = {}
        self.answers = 0

    def __call__(self, answers: Iterable[tuple[Prompt, str, str]]) -> list[Judged]:
        """(prompt, completion, finish_reason) -> what scoring finds, without its look across prompts."""
        samples = [Sample(prompt, 0, completion, finish) for prompt, completion, finish in answers]
        taken = [(sample, solution_of(sample)) for sample in samples]
        new = sorted({e.code for _, e in taken if e.code.strip()} - self._verdicts.keys())
        self._verdicts |= zip(new, compile_all(self._compiler, new), strict=True)
        for code in new:
            if self._verdicts[code].verdict == "infra_error":
                why = self._verdicts[code].errors[0].message
                raise StageFailed(f"{self._compiler.name} gave no verdict: {why}; see to it and run again")
        self.answers += len(samples)
        return [judge_program(sample, e, self._verdicts.get(e.code)) for sample, e in taken]


def _syntax(prompts: Sequence[Prompt], judge: _Judge) -> Iterator[tuple[Prompt, str]]:
    """Each reference passes, each degenerate answer fails, and no prompt asks for more than its reference has."""
    for one in judge((prompt, _fenced(prompt.reference), "stop") for prompt in prompts):
        prompt = one.sample.prompt
        if not one.strict_pass:
            yield prompt, f"the reference does not pass: {_why(one)}; mend the reference or what the checks ask"
        assert prompt.checks is not None
        if prompt.checks.min_statements > (most := max(1, significant_statements(prompt.reference))):
            yield prompt, f"checks.min_statements is {prompt.checks.min_statements}; write {most} or less"
    named = [(p, name, text, finish) for p in prompts for name, (text, finish) in degenerate(p).items()]
    for (prompt, name, *_), one in zip(named, judge((p, text, end) for p, _, text, end in named), strict=True):
        if one.strict_pass:
            yield prompt, f"{name} passes: raise checks.min_statements, or add a pattern that only an answer meets"


def _why(one: Judged) -> str:
    if one.outcome == "compile_error" and one.verdict:
        first = one.verdict.errors[0]
        return f"{one.outcome}, line {first.line}: {first.source.strip()[:80]}"
    told = one.checks["missing"] or one.checks["forbidden"]
    return one.outcome + (f" {', '.join(map(repr, told))}" if told else "")


def _template(prompts: Sequence[Prompt], judge: _Judge) -> Iterator[tuple[Prompt, str]]:
    """One program for all prompts, the reference that has most statements: it passes nowhere, not where it is right."""
    if len(prompts) < 2:
        return
    longest = max(prompts, key=lambda prompt: (significant_statements(prompt.reference), prompt.id))
    for one in collapse(judge((prompt, _fenced(longest.reference), "stop") for prompt in prompts)):
        if one.strict_pass:
            yield one.sample.prompt, f"the reference of {longest.id}, given to every prompt, passes"


def _answered_by_others(prompts: Sequence[Prompt], judge: _Judge) -> Iterator[tuple[Prompt, list[str]]]:
    """Prompts at which references of other prompts pass, with the ids of these."""
    plain = {prompt.id: stripped(prompt.reference) for prompt in prompts}
    for prompt in prompts:
        assert prompt.checks is not None
        need, never = prompt.checks.require, prompt.checks.forbid
        near = [
            other
            for other in prompts
            if other is not prompt
            and all(re.search(pattern, plain[other.id], re.IGNORECASE) for pattern in need)
            and not any(re.search(pattern, plain[other.id], re.IGNORECASE) for pattern in never)
        ]
        judged = judge((prompt, _fenced(other.reference), "stop") for other in near)
        if passing := [other.id for other, one in zip(near, judged, strict=True) if one.strict_pass]:
            yield prompt, passing


def _factual(prompt: Prompt, prompts: Sequence[Prompt]) -> Iterator[str]:
    """What is wrong with one factual item."""

    def passes(answer: str, item: Prompt = prompt) -> bool:
        return judge_answer(Sample(item, 0, answer, "stop")).strict_pass

    for index, answer in enumerate((prompt.reference, *prompt.pass_examples)):
        if not passes(answer):
            name = f"pass_examples[{index - 1}]" if index else "the reference"
            yield f"{name} fails ({judge_answer(Sample(prompt, 0, answer, 'stop')).outcome}): widen must, or mend it"
    for index, answer in enumerate(prompt.fail_examples):
        if passes(answer):
            yield f"fail_examples[{index}] passes: narrow must, or add to must_not what it says wrongly"
    for name, answer in {
        "an empty answer": "",
        "white space": " \n",
        "the question": prompt.input,
        "an answer that knows nothing": "I do not know.",
        "the reference over and over": (prompt.reference + " ")
        * ((prompt.max_chars or 0) // len(prompt.reference) + 2),
    }.items():
        if passes(answer):
            yield f"{name} passes: narrow must, or lower max_chars"
    lenient = replace(prompt, must_not=(), max_chars=None)  # `must` alone has to tell them apart
    for other in prompts:
        if other is not prompt and any(passes(answer, lenient) for answer in (other.reference, *other.pass_examples)):
            yield f"an answer to {other.id} passes: narrow must"


def _leaked(prompts: Sequence[Prompt], shown: str, path: Path) -> Iterator[tuple[Prompt, str]]:
    """Prompts that rows of the dataset give away; lines that are no rows are the audit's business."""
    try:
        rows = [row for row in read_rows(path) if isinstance(row, Row)]
    except OSError as error:
        raise BadInput([Finding(shown, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    known = {prompt.id: prompt for prompt in prompts}
    lines = {row.id: row.line for row in reversed(rows)}
    for leak in leaks(prompts, rows):
        row = leak["train_id"]
        said = f"{shown}:{lines[row]} ({row}) gives it away ({leak['rule']}: {leak['evidence'][:60]!r})"
        yield known[leak["id"]], f"{said}: take the row out, or ask for something else"


def _places(paths: Sequence[Path]) -> dict[str, tuple[str, int]]:
    """File and line of each prompt, by id; the files have been read and are good."""
    found = {}
    for path in paths:
        for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if text.strip():
                found[json.loads(text)["id"]] = (str(path), line)
    return found
