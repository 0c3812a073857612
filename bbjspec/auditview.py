"""`bbjspec audit`: opens what judges a dataset, audits it, prints, and writes or applies a review."""

from __future__ import annotations

import glob
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bbjspec.errors import BadInput, Finding, UsageError
from bbjspec.terminal import show

if TYPE_CHECKING:
    from bbjspec.data.audit import Judges
    from bbjspec.spec import Experiment


@dataclass(frozen=True)
class Options:
    """What the command line says of the judges. What it names goes before what the spec names."""

    spec: Experiment | None = None
    suite: tuple[str, ...] = ()
    compiler: str | None = None
    tokenizer: Path | None = None
    max_length: int | None = None


def run(dataset: Path, options: Options, *, as_json: bool, export: Path | None) -> None:
    """Audit and print; with `export` write a review too. Raises BadInput for what would break training."""
    from bbjspec.data import review
    from bbjspec.data.audit import audit
    from bbjspec.data.report import lines
    from bbjspec.data.rows import finding, read_rows, unreadable
    from bbjspec.data.statistics import document

    shown = str(dataset)
    if export is not None and export.exists():
        raise UsageError(f"{export} exists, and may hold somebody's decisions; move it away, or name another file")
    judges = _judges(options)
    try:
        found = audit(read_rows(dataset), judges)
    except OSError as error:
        raise unreadable(shown, error) from error
    if not found.rows and not found.bad:
        raise BadInput([Finding(shown, 0, 0, "", "has no rows")])
    result = document(found, judges.max_length)
    if judges.compiler is not None:
        result["compiler"] = {"name": judges.compiler.name, "version": judges.compiler.version}
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        show(lines(result, shown))
    if export is not None:
        try:
            count = review.export(found, dataset, export, shown)
        except OSError as error:
            raise _not_written(export, error) from error
        print(f"{export}: {count:,} rows to keep, mend, edit or drop", file=sys.stderr if as_json else sys.stdout)
    if found.bad:
        raise BadInput(finding(bad, shown) for bad in found.bad)


def apply(dataset: Path, review_file: Path, to: Path, *, overwrite: bool) -> None:
    """Write the dataset as reviewed. Raises UsageError for a target that exists, BadInput for a wrong review."""
    from bbjspec.data.apply import apply as carry_out
    from bbjspec.data.reviewed import read_review
    from bbjspec.data.rows import unreadable

    if to.exists() and not overwrite:
        raise UsageError(f"{to} exists; name another file, or say --overwrite")
    review = read_review(review_file)
    try:
        with dataset.open("rb"):
            pass
    except OSError as error:
        raise unreadable(str(dataset), error) from error
    try:
        done = carry_out(review, dataset, to, str(dataset))
    except OSError as error:
        raise _not_written(to, error) from error
    dropped = sum(change["action"] == "drop" for change in done.changes)
    changed = len(done.changes) - dropped
    print(f"{to}: {done.after:,} of {done.before:,} rows, {changed:,} changed, {dropped:,} dropped")
    print(f"{to}.changes.json says which")


def _not_written(path: Path, error: OSError) -> BadInput:
    return BadInput([Finding(str(path), 0, 0, "", f"cannot be written: {error.strerror or error}")])


def _judges(options: Options) -> Judges:
    """Opens compiler, tokenizer and suite. Raises UsageError, EnvironmentLacks and BadInput."""
    from bbjspec.bbj.compiler import open_compiler
    from bbjspec.data.audit import Judges
    from bbjspec.data.chat import open_tokenizer
    from bbjspec.suite import load_prompts

    spec = options.spec
    if options.compiler is not None or spec is None:
        compiler = open_compiler(options.compiler or "builtin", None)
    else:
        judge = spec.eval.compiler
        compiler = open_compiler(judge.name, judge.version, judge.path)
    judges = Judges(compiler, max_length=options.max_length or (spec.training.max_length if spec else None))
    if options.tokenizer is not None:
        if not options.tokenizer.is_dir():
            raise UsageError(f"--tokenizer: no such folder: {options.tokenizer}")
        below = options.tokenizer / "tokenizer"
        folder = below if below.is_dir() else options.tokenizer
        judges = replace(judges, tokenizer=open_tokenizer(folder, str(options.tokenizer)))
    elif spec is not None:
        judges = replace(judges, tokenizer=_tokenizer_of(spec))
    elif options.max_length is not None:
        raise UsageError("--max-length counts tokens: give --tokenizer DIR too, or --spec")
    patterns = options.suite or (spec.eval.prompts if spec else ())
    if patterns:
        judges = replace(judges, prompts=load_prompts(_files(patterns)))
    return judges


def _files(patterns: Sequence[str]) -> list[Path]:
    found: set[str] = set()
    for pattern in patterns:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207  a pattern may be absolute
        if not names:
            raise UsageError(f"--suite: no such file: {pattern}")
        found.update(names)
    return [Path(name) for name in sorted(found)]


def _tokenizer_of(spec: Experiment) -> Any:
    """The tokenizer of the spec's base where it needs no network: embedded, a folder, or built already; else None."""
    from bbjspec.data.chat import open_tokenizer
    from bbjspec.embedded import recipe, source_of
    from bbjspec.embedded.tokenizer import build

    base = spec.model.base
    source = source_of(base)
    if source == "embedded":
        with tempfile.TemporaryDirectory() as folder:
            build(recipe(base), Path(folder))
            return open_tokenizer(Path(folder), base)
    if source == "local":
        return open_tokenizer(Path(base), base)
    built = _built(spec)
    return None if built is None else open_tokenizer(built, base)


def _built(spec: Experiment) -> Path | None:
    """The tokenizer of a base on the Hub, where its stage was run here."""
    from bbjspec.plan import read_plan

    plan = read_plan(Path.cwd())
    for experiment in plan.experiments.values():
        if experiment.spec.model == spec.model:
            folder = Path(experiment.roles["tokenizer"].directory, "tokenizer")
            return folder if folder.is_dir() else None
    return None
