"""The suite's self-test for what is no BBj to be compiled strictly: Python tasks, and scenarios that people rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bbjspec.bbj.compiler import Compiler
from bbjspec.bbj.extract import blocks
from bbjspec.bbj.parallel import compile_all, usable_cpus
from bbjspec.sandbox import Program, run_many
from bbjspec.stages.verdicts import Sample, judge_general, solution_of
from bbjspec.suite import Prompt


def wrong_answers(prompt: Prompt) -> dict[str, str]:
    """Answers that must fail, by what they are: the prompt's own wrong variants, and some that fail at any task."""
    entry = str(prompt.entry)
    return {
        **{f"fail_examples[{i}]": fenced(code) for i, code in enumerate(prompt.fail_examples)},
        "an empty answer": "",
        "prose": "Use a loop over the items and return the result.",
        "the prompt": prompt.input,
        "a function that does nothing": fenced(f"def {entry}(*args, **kwargs):\n    pass\n"),
        "a function that gives its argument back": fenced(f"def {entry}(*args, **kwargs):\n    return args[0]\n"),
        "leaving early": fenced(f"{prompt.reference}\nraise SystemExit(0)\n"),
        "another language": f"```java\n{prompt.reference}```\n",
    }


def fenced(code: str) -> str:
    """A whole answer of that program."""
    return f"```python\n{code}\n```\n"


def general_findings(prompts: Sequence[Prompt]) -> Iterator[tuple[Prompt, str]]:
    """What is wrong with Python tasks: a reference that fails its tests, a wrong answer that passes them.

    Raises EnvironmentLacks where the sandbox cannot be had.
    """
    asked = [(p, "the reference", fenced(p.reference)) for p in prompts]
    asked += [(p, name, text) for p in prompts for name, text in wrong_answers(p).items()]
    samples = [Sample(prompt, 0, text, "stop") for prompt, _, text in asked]
    taken = [solution_of(sample) for sample in samples]
    programs = {
        i: Program(found.code, str(samples[i].prompt.tests), str(samples[i].prompt.entry))
        for i, found in enumerate(taken)
        if found.code.strip()
    }
    outcomes = dict(zip(programs, run_many(list(programs.values()), processes=usable_cpus()), strict=True))
    for i, (prompt, name, _) in enumerate(asked):
        judged = judge_general(samples[i], taken[i], outcomes.get(i))
        if name == "the reference" and not judged.strict_pass:
            why = outcomes[i].detail if i in outcomes else judged.outcome
            yield prompt, f"the reference does not pass its tests: {why}; mend one of the two"
        elif name != "the reference" and judged.strict_pass:
            yield prompt, f"{name} passes the tests: add one that tells it from an answer"


def realistic_findings(prompts: Sequence[Prompt], compiler: Compiler) -> Iterator[tuple[Prompt, str]]:
    """What is wrong with scenarios: code in the sketch of an answer that does not compile."""
    coded = [(p, block.code) for p in prompts for block in blocks(p.reference) if block.tag == "bbj"]
    for (prompt, _), verdict in zip(coded, compile_all(compiler, [code for _, code in coded]), strict=True):
        if verdict.verdict != "valid":
            error = verdict.errors[0]
            yield prompt, f"the reference does not compile, line {error.line}: {error.source.strip()[:80]}; mend it"
