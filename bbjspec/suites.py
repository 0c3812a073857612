"""`bbjspec check --suite`: which suites a project has, and what their self-tests say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bbjspec.bbj.compiler import COMPILERS, open_compiler
from bbjspec.errors import BadInput, Finding, UsageError
from bbjspec.selftest import self_test
from bbjspec.sources import find_files
from bbjspec.spec import load_experiment
from bbjspec.spec.eval import EvalSpec


@dataclass(frozen=True)
class Suite:
    """Prompt files that are judged together, and the datasets of the experiments that use them; relative paths."""

    name: str
    files: tuple[str, ...]
    datasets: tuple[str, ...] = ()


def project_suites(root: Path) -> list[Suite]:
    """The suite of each good spec, and the default one where its files are there; equal ones once.

    The default is held against the datasets of all specs. What is wrong with a spec is `bbjspec check`'s to say.
    """
    default = tuple(EvalSpec.model_fields["prompts"].default)
    asked: dict[tuple[str, ...], list[str]] = {}
    every: list[str] = []
    for path in sorted((root / "experiments").glob("*.yaml")):
        try:
            spec = load_experiment(path, f"experiments/{path.name}")
            find_files(root, spec.eval.prompts, path.name, "eval.prompts")
            data = find_files(root, [spec.data.path], path.name, "data.path")
        except BadInput:
            continue
        asked.setdefault(tuple(spec.eval.prompts), []).extend(data)
        every.extend(data)
    if default not in asked and all(any(root.glob(pattern)) for pattern in default):
        asked[default] = every
    return [
        Suite(", ".join(prompts), find_files(root, prompts, "", ""), tuple(dict.fromkeys(data)))
        for prompts, data in asked.items()
    ]


def check(root: Path, files: Sequence[str], data: Sequence[Path], compiler: str) -> Iterator[str]:
    """Test the files as one suite, or every suite of the project; yields what there is to say of each.

    Raises BadInput with all findings of all suites, UsageError for a compiler that nobody knows.
    """
    if compiler not in COMPILERS:
        raise UsageError(f"--compiler {compiler}: write one of {', '.join(COMPILERS)}")
    judge = open_compiler(compiler, None)
    suites = [Suite(", ".join(files), tuple(files))] if files else project_suites(root)
    if not suites:
        raise UsageError("no suite here: no good spec, and no files eval/prompts/syntax/*.jsonl; name the prompt files")
    findings: list[Finding] = []
    for suite in suites:
        datasets = {path.as_posix(): path for path in (*map(Path, () if data else suite.datasets), *data)}
        try:
            report = self_test([Path(name) for name in suite.files], judge, datasets)
        except BadInput as error:
            findings += error.findings
            continue
        findings += report.findings
        said = "sound" if not report.findings else f"{len(report.findings)} to mend"
        against = f", held against {', '.join(datasets)}" if datasets else ""
        judged = f"{report.answers} answers judged by {judge.name}{against}"
        yield f"{suite.name}: {report.prompts} prompts, {judged}: {said}"
        yield from (f"  note: {note}" for note in report.notes)
    if findings:
        raise BadInput(dict.fromkeys(findings))
