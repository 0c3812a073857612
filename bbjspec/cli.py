"""The command line: parse, call, print. Only `entry` catches errors, and only here become they exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bbjspec import __version__
from bbjspec.errors import BadInput, BbjspecError, Finding, UsageError, one_line
from bbjspec.spec.names import no_such

if TYPE_CHECKING:
    from bbjspec.plan import Plan
    from bbjspec.spec import Experiment

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    suggest_commands=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_JSON = typer.Option("--json", help="As data.")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bbjspec {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One YAML spec an experiment: check it, plan it, let Snakemake run it, read its card. Example: bbjspec"""
    if context.invoked_subcommand is None:
        from bbjspec.loop import loop

        print("\n".join(loop(Path.cwd())))


def _root() -> Path:
    root = Path.cwd()
    if not (root / "experiments").is_dir():
        raise UsageError("no folder experiments/ here; run bbjspec at the top of the project")
    return root


def _data(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _named(specs: list[str] | None) -> set[str] | None:
    return {Path(spec).name.removesuffix(".yaml") for spec in specs} if specs else None


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def _known(plan: Plan, names: set[str] | None) -> None:
    """Raise UsageError for a name that no spec has."""
    known = set(plan.experiments) | {file.removesuffix(".yaml") for file in plan.bad_specs}
    if names and names - known:
        raise UsageError("\n".join(no_such(name, known) for name in sorted(names - known)))


@app.command()
def check(
    specs: Annotated[list[str] | None, typer.Argument(help="Names or files; all when none is given.")] = None,
    suite: Annotated[bool, typer.Option("--suite", help="Test the prompts instead, or these prompt files.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="FILE", help="With --suite: no prompt may be given away here."),
    ] = None,
    compiler: Annotated[str, typer.Option("--compiler", help="With --suite: builtin or bbjcpl.")] = "builtin",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Every error of every spec in one go; with --suite, of the prompts. Example: bbjspec check v3"""
    from bbjspec.plan import read_plan

    if suite:
        from bbjspec import suites

        said: list[str] = []
        bad: BadInput | None = None
        try:
            for line in suites.check(Path() if specs else _root(), specs or (), data or (), compiler):
                said.append(line)
                if not as_json:
                    print(line)
        except BadInput as error:
            bad = error
        if as_json:
            _data({"suites": said, "findings": _findings(bad.findings if bad else ())})
        if bad:
            raise bad
        return
    if data or compiler != "builtin":
        raise UsageError("--data and --compiler belong to --suite: bbjspec check --suite --data FILE")
    plan = read_plan(_root())
    names = _named(specs)
    _known(plan, names)
    findings = plan.findings(names)
    good = [name for name in plan.experiments if names is None or name in names]
    if as_json:
        _data({"good": good, "findings": _findings(findings)})
    if findings:
        raise BadInput(findings)
    if not as_json:
        print(f"{len(good)} good: {', '.join(good)}" if good else "no experiments yet: write experiments/<name>.yaml")


@app.command()
def plan(
    specs: Annotated[list[str] | None, typer.Argument(help="Names or files; all with something to do if none.")] = None,
    as_json: Annotated[bool, _JSON] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="As if what is outdated were to be made anew.")] = False,
    remote: Annotated[
        bool, typer.Option("--check-remote", help="What a cluster's node must see for it, instead.")
    ] = False,
) -> None:
    """Each experiment's stages: what is to run, why, and what it needs. Example: bbjspec plan v3"""
    from bbjspec.plan import read_plan
    from bbjspec.planview import PlanView
    from bbjspec.terminal import show

    compiled, names = read_plan(_root(), refresh=refresh), _named(specs)
    _known(compiled, names)
    if remote:
        from bbjspec.doctor import view as checked
        from bbjspec.remote import checks

        checked.tell(checks(compiled, names), as_json=as_json)
        return
    view = PlanView(compiled, names)
    if as_json:
        _data(view.document())
    else:
        show(view.lines())
    if findings := compiled.findings(names):
        raise BadInput(findings)


@app.command(name="compile")
def compile_plan(
    to: Annotated[str, typer.Option("--to", metavar="make|json", help="What to print.")],
    refresh: Annotated[bool, typer.Option("--refresh", help="Make outdated results again.")] = False,
) -> None:
    """The plan as a Makefile or as data. Example: bbjspec compile --to make > Makefile.bbjspec"""
    from bbjspec.backends import compile_to

    print(compile_to(to, _root(), refresh=refresh), end="")


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """What in build/ no spec needs; nothing is deleted without --delete. Example: bbjspec gc --delete"""
    from bbjspec import gc as garbage

    if as_json:
        garbage.collect_as_data(_root(), delete=delete, tell=_data)
        return
    for line in garbage.collect(_root(), delete=delete):
        print(line)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the new experiment is called.")],
    source: Annotated[str | None, typer.Option("--from", metavar="SPEC", help="Copy this one.")] = None,
    extends: Annotated[str | None, typer.Option("--extends", metavar="SPEC", help="Inherit from this one.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; may be given again.")
    ] = None,
) -> None:
    """A new spec from an old one, comments kept. Example: bbjspec new v4 --from v3 --set lora.r=16"""
    from bbjspec.spec.edit import new_spec

    if (source is None) == (extends is None):
        raise UsageError("say what it starts from: --from SPEC copies one, --extends SPEC inherits from it")
    for spec in (name, source or extends or ""):
        if Path(spec).parent not in (Path(), Path("experiments")):
            raise UsageError(f"{spec!r}: experiments are in experiments/; a name alone is meant")
    (stem, parent) = (Path(spec or "").name.removesuffix(".yaml") for spec in (name, source or extends))
    made = new_spec(_root() / "experiments", stem, source=parent, extends=extends is not None, changes=changes or [])
    print(f"experiments/{stem}.yaml")
    if _spec(str(made)).description == _spec(str(made.with_name(f"{parent}.yaml"))).description != "":
        print(f"note: its description is {parent}'s still; say what this run is to find out", file=sys.stderr)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Name or file.")],
    new: Annotated[str, typer.Argument(help="Name or file.")],
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """What two specs say differently, by section. Example: bbjspec diff v2 v3"""
    from bbjspec.spec.difference import differences, report, warnings

    changes = differences(_spec(old), _spec(new))
    if as_json:
        said = [{"section": c.section, "field": c.path, "old": c.old, "new": c.new} for c in changes]
        _data({"changes": said, "warnings": warnings(changes)})
        return
    print(report(changes))
    for warning in warnings(changes):
        print(f"warning: {warning}", file=sys.stderr)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="What is compared with.")],
    second: Annotated[str, typer.Argument(help="What may be better.")],
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Is the second experiment better? Exit code 0: yes, 1: worse, 5: not told apart. Example: bbjspec compare v2 v3"""
    from bbjspec import comparing
    from bbjspec.plan import read_plan

    names = [Path(name).name.removesuffix(".yaml") for name in (first, second)]
    document = comparing.compare_experiments(read_plan(_root()), *names)
    if as_json:
        _data(document)
    else:
        comparing.show(document)
    raise typer.Exit(comparing.EXIT[document["verdict"]])


@app.command(name="leaderboard")
def board(
    as_json: Annotated[bool, _JSON] = False,
    write: Annotated[bool, typer.Option("--write", help="Into adapters/README.md.")] = False,
) -> None:
    """All published experiments, side by side, and whether to go on. Example: bbjspec leaderboard --write"""
    from bbjspec import leaderboard

    if write:
        print(f"{leaderboard.BOARD}{'' if leaderboard.write(_root()) else ': as it was'}")
    elif as_json:
        _data(leaderboard.read(_root()))
    else:
        print(leaderboard.text(_root(), leaderboard.read(_root())), end="")


@app.command()
def card(
    name: Annotated[str, typer.Argument(help="The experiment.")],
    full: Annotated[bool, typer.Option("--full", help="All of it, not the first screen alone.")] = False,
) -> None:
    """An experiment's published model card: its first screen, or all of it. Example: bbjspec card v3"""
    from bbjspec import cardview

    cardview.show(_root(), Path(name).name.removesuffix(".yaml"), full=full)


@app.command()
def rate(
    name: Annotated[str, typer.Argument(help="The experiment.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="base|SPEC", help="Whose answers stand beside its own.")
    ] = None,
    rater: Annotated[str | None, typer.Option("--rater", metavar="NAME", help="Who rates; git knows it.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="Another address of this machine, for its network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="HTML", help="Write the page for a colleague instead.")
    ] = None,
    take: Annotated[
        Path | None, typer.Option("--import", metavar="JSON", help="Add the votes that came back from it.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="What the votes say; puts it into the card.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --report: as data.")] = False,
) -> None:
    """People say which of two answers is better, blind, on a page in the browser. Example: bbjspec rate v3"""
    from bbjspec.rating import command

    if sum((export is not None, take is not None, report)) > 1 or (as_json and not report):
        raise UsageError("one of --export, --import and --report; --json belongs to --report")
    root, named = _root(), [Path(spec).name.removesuffix(".yaml") for spec in (name, against or "base")]
    asked = command.Asked(named[0], named[1], rater, host, port)
    if as_json:
        _data(command.as_data(root, asked.name, against and asked.against))
    elif report:
        command.report(root, asked.name, against and asked.against)
    elif export is not None:
        command.export(root, asked, export)
    elif take is not None:
        command.take_back(root, asked, take)
    else:
        command.serve(root, asked)


@app.command()
def doctor(
    specs: Annotated[list[str] | None, typer.Argument(help="Names or files; all that is to run if none.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash all that is in build/ and published instead.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """What this machine has and lacks for the experiments. Exit code 3: something lacks. Example: bbjspec doctor v3"""
    root, names = _root(), _named(specs)
    if verify:
        from bbjspec.doctor import verify as verifying

        if names:
            raise UsageError("--verify looks at all there is: bbjspec doctor --verify")
        verifying.run(root, as_json=as_json)
        return
    from bbjspec.doctor import view
    from bbjspec.plan import read_plan

    plan = read_plan(root)
    _known(plan, names)
    view.run(plan, names, as_json=as_json)


@app.command()
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The reference for people: docs/spec-reference.md.")
    ] = False,
) -> None:
    """The JSON Schema of specs, for editors. Example: bbjspec schema > experiments/schema.json"""
    from bbjspec.spec.reference import reference_text
    from bbjspec.spec.schema import schema_text

    print(reference_text() if markdown else schema_text(), end="")


@app.command(name="import")
def import_data(
    sources: Annotated[list[Path], typer.Argument(help="Markdown examples, JSONL files, or folders of them.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where the rows go: .jsonl or .jsonl.gz.")],
    system: Annotated[str | None, typer.Option("--system", help="System prompt of rows that have none.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Sources as one file of ChatML rows. Example: bbjspec import examples/ old.jsonl --to dataset/rows.jsonl"""
    from bbjspec.data import importers

    if system is not None and not system.strip():
        raise UsageError("--system is empty; write the system prompt, or leave it out")
    importers.check_target(to, force=force)
    done = importers.import_rows(sources, system or importers.SYSTEM)
    importers.write_rows(done.rows, to, force=force)
    print(f"{to.as_posix()}: {len(done.rows)} rows from {done.files} files")
    if done.skipped:
        print(f"left out as documentation: {', '.join(done.skipped)}")


@app.command()
def datasheet(
    file: Annotated[Path, typer.Argument(help="The dataset: ChatML rows, .jsonl or .jsonl.gz.")],
    about: Annotated[
        Path | None,
        typer.Option("--about", metavar="YAML", help="Its prose; <stem>.about.yaml beside it if not given."),
    ] = None,
) -> None:
    """What a dataset is, on one page. Example: bbjspec datasheet dataset/dataset.jsonl > dataset/DATASHEET.md"""
    from bbjspec.data.datasheet import TEMPLATE
    from bbjspec.data.datasheet import datasheet as sheet

    _root()
    print(sheet(file, TEMPLATE, about), end="")


def _spec(spec: str) -> Experiment:
    """The experiment of that name, or in that file."""
    from bbjspec.spec import load_experiment

    path = Path(spec) if spec.endswith(".yaml") and Path(spec).is_file() else None
    path = path or _root() / "experiments" / f"{Path(spec).name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        raise UsageError(no_such(spec, (other.stem for other in path.parent.glob("*.yaml"))))
    return load_experiment(path, spec if path == Path(spec) else f"experiments/{path.name}")


@app.command()
def audit(
    dataset: Annotated[Path, typer.Argument(help="ChatML rows: .jsonl or .jsonl.gz.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="As data: what audit.json holds.")] = False,
    spec: Annotated[str | None, typer.Option("--spec", help="Take compiler, tokenizer, length, suite from it.")] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", metavar="GLOB", help="Prompts to look for.")] = None,
    compiler: Annotated[str | None, typer.Option("--compiler", metavar="builtin|bbjcpl", help="Who judges.")] = None,
    tokenizer: Annotated[Path | None, typer.Option("--tokenizer", metavar="DIR", help="Counts tokens.")] = None,
    max_length: Annotated[int | None, typer.Option("--max-length", min=1, help="Tokens of a row at most.")] = None,
    export: Annotated[Path | None, typer.Option("--export", metavar="YAML", help="Write a review.")] = None,
    apply: Annotated[Path | None, typer.Option("--apply", metavar="YAML", help="Apply a review.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where the cleaned dataset goes.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="--to may replace a file.")] = False,
) -> None:
    """What is wrong with a dataset, line by line; a review to decide on it. Example: bbjspec audit rows.jsonl"""
    from bbjspec import auditview

    if (apply is None) != (to is None):
        raise UsageError("--apply REVIEW and --to FILE belong together")
    if apply is not None and to is not None:
        auditview.apply(dataset, apply, to, overwrite=overwrite)
        return
    if compiler not in (None, "builtin", "bbjcpl"):
        raise UsageError(f"--compiler: there is no compiler {compiler}; write builtin or bbjcpl")
    found = _spec(spec) if spec else None
    options = auditview.Options(found, tuple(suite or ()), compiler, tokenizer, max_length)
    auditview.run(dataset, options, as_json=as_json, export=export)


@app.command()
def run(stage_json: Annotated[Path, typer.Argument(help="The stage.json of one stage.")]) -> None:
    """What the engines call: do one stage's work. Example: bbjspec run build/train/0123456789abcdef/stage.json"""
    from bbjspec import store

    store.run(stage_json)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["--help"]}
)
def cpl(context: typer.Context) -> None:
    """The embedded checker with bbjcpl's own command line: [-N] [-t] FILE… | -@LIST. Example: bbjspec cpl -N prog.bbj

    --explain adds the rule and a sentence to each error. --agreement generations.jsonl compares it with a real bbjcpl.
    """
    from bbjspec.bbj.cpl import main as compile_files

    raise typer.Exit(compile_files(context.args))


def entry() -> None:
    """The `bbjspec` command."""
    try:
        code = app(standalone_mode=False, prog_name="bbjspec")
        sys.exit(code if isinstance(code, int) else 0)
    except BbjspecError as error:
        if "--debug" in sys.argv:
            raise
        if not error.told:
            from bbjspec.redact import redacted

            for line in map(one_line, redacted(str(error)).split("\n")):
                print(f"bbjspec: {line}" if not isinstance(error, BadInput) else line, file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        from bbjspec.misuse import told

        print(f"bbjspec: {told(error)}", file=sys.stderr)
        sys.exit(UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
