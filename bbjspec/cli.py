"""The command line: parse, call, print. Only `entry` catches errors, and only here become they exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bbjspec import __version__
from bbjspec.errors import BadInput, BbjspecError, UsageError

if TYPE_CHECKING:
    from bbjspec.spec import Experiment

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="One YAML spec an experiment: check it, plan it, let Snakemake run it, read its card.",
)

LOOP = """bbjspec: one YAML spec an experiment
  edit    experiments/v3.yaml
  check   bbjspec check
  plan    bbjspec plan
  run     snakemake --cores 8 v3 --resources gpu=1
  read    adapters/v3/MODEL_CARD.md"""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bbjspec {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Without a command: the daily loop."""
    if context.invoked_subcommand is None:
        print(LOOP)


def _root() -> Path:
    root = Path.cwd()
    if not (root / "experiments").is_dir():
        raise UsageError("no folder experiments/ here; run bbjspec at the top of the project")
    return root


def _named(specs: list[str] | None) -> set[str] | None:
    return {Path(spec).name.removesuffix(".yaml") for spec in specs} if specs else None


@app.command()
def check(
    specs: Annotated[list[str] | None, typer.Argument(help="Names or files; all when none is given.")] = None,
) -> None:
    """Every error of every spec in one go. Example: bbjspec check v3"""
    from bbjspec.plan import read_plan

    plan = read_plan(_root())
    names = _named(specs)
    known = set(plan.experiments) | {file.removesuffix(".yaml") for file in plan.bad}
    if names and names - known:
        raise UsageError(
            f"no such experiment: {', '.join(sorted(names - known))}; there are {', '.join(sorted(known))}"
        )
    if findings := plan.findings(names):
        raise BadInput(findings)
    good = [name for name in plan.experiments if names is None or name in names]
    print(f"{len(good)} good: {', '.join(good)}" if good else "no experiments yet: write experiments/<name>.yaml")


@app.command()
def plan(
    specs: Annotated[list[str] | None, typer.Argument(help="Names or files; all when none is given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False,
) -> None:
    """Each experiment's stages, and what is to run. Example: bbjspec plan v3"""
    from bbjspec.plan import read_plan

    compiled = read_plan(_root())
    names = _named(specs)
    document: dict[str, dict[str, Any]] = {}
    for name, experiment in compiled.experiments.items():
        if names is not None and name not in names:
            continue
        needed = {stage.digest for stage in compiled.needed(experiment)}
        document[name] = {
            "state": compiled.experiment_state(experiment),
            "stages": [
                {
                    "role": role,
                    "kind": s.kind,
                    "digest": s.digest,
                    "state": compiled.state(s),
                    "runs": s.digest in needed,
                }
                for role, s in experiment.roles.items()
            ],
        }
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for name, entry in document.items():
            print(f"{name}: {entry['state']}")
            for stage in entry["stages"]:
                print(
                    f"  {stage['role']:<14} {stage['digest']}  {stage['state']:<9}{'  runs' if stage['runs'] else ''}"
                )
    if findings := compiled.findings(names):
        raise BadInput(findings)


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
    (stem, parent) = (Path(spec or "").name.removesuffix(".yaml") for spec in (name, source or extends))
    new_spec(_root() / "experiments", stem, source=parent, extends=extends is not None, changes=changes or [])
    print(f"experiments/{stem}.yaml")


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Name or file.")], new: Annotated[str, typer.Argument(help="Name or file.")]
) -> None:
    """What two specs say differently, by section. Example: bbjspec diff v2 v3"""
    from bbjspec.spec.difference import differences, report, warnings

    changes = differences(_spec(old), _spec(new))
    print(report(changes))
    for warning in warnings(changes):
        print(f"warning: {warning}", file=sys.stderr)


@app.command()
def schema() -> None:
    """The JSON Schema of specs, for editors. Example: bbjspec schema > experiments/schema.json"""
    from bbjspec.spec.schema import schema_text

    print(schema_text(), end="")


def _spec(spec: str) -> Experiment:
    """The experiment of that name, or in that file."""
    from bbjspec.spec import load_experiment

    path = Path(spec) if spec.endswith(".yaml") and Path(spec).is_file() else None
    path = path or _root() / "experiments" / f"{Path(spec).name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        raise UsageError(
            f"no such experiment: {spec}; there are {', '.join(sorted(p.stem for p in path.parent.glob('*.yaml')))}"
        )
    return load_experiment(path, spec if path == Path(spec) else f"experiments/{path.name}")


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
        app()
    except BbjspecError as error:
        if "--debug" in sys.argv:
            raise
        if "run" not in sys.argv[1:2]:  # a stage has said it already, on the terminal and in its log
            for line in str(error).splitlines():
                print(f"bbjspec: {line}" if not isinstance(error, BadInput) else line, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
