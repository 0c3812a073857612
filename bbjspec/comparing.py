"""`bbjspec compare v2 v3`: two experiments, paired on the same prompts, from what is whole in build/ or published.

What the spec says today comes first; where that has not been run, what is published under `adapters/` under that name.
Nothing is run and nothing decided by it: `verdict` becomes the exit code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bbjspec import terminal
from bbjspec.errors import UsageError
from bbjspec.markdown import inert
from bbjspec.pairing import Side, compare_two, read_leaks, read_side
from bbjspec.parent import published_side
from bbjspec.plan import Plan
from bbjspec.spec.difference import as_data, differences, warnings
from bbjspec.spec.names import no_such
from bbjspec.store import is_whole

EXIT = {"better": 0, "worse": 1, "not told apart": 5}
WORST = 5  # prompts shown with their errors
LISTED = 20  # prompts listed with their rates
STYLES = {"better": "green", "worse": "red"}


@dataclass(frozen=True)
class Found:
    """An experiment's results: where they are, and which prompts its training data gives away."""

    side: Side
    leaked: set[str]
    where: str


def find(plan: Plan, name: str) -> Found:
    """The results of an experiment. Raises UsageError for a name that nobody has, and for one without results."""
    experiment = plan.experiments.get(name)
    try:
        if experiment is not None:
            score, contamination = (experiment.roles[role] for role in ("score", "contamination"))
            directory = plan.root / score.directory
            if is_whole(directory) and is_whole(plan.root / contamination.directory):
                side = read_side(name, directory / "results.json", directory / "scores.jsonl")
                leaked = read_leaks(name, plan.root / contamination.directory / "contamination.json")
                return Found(side, leaked, score.directory)
        published = published_side(plan.root, name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if published is not None:
        current = experiment is not None and experiment.roles["score"].digest in plan.published.stages
        return Found(*published, f"adapters/{name}" + ("" if current else ", published before its spec changed"))
    if experiment is None and f"{name}.yaml" not in plan.bad:
        raise UsageError(no_such(name, {*plan.experiments, *plan.published.cards}))
    if experiment is None:
        raise UsageError(f"{name} has no results, and its spec has errors; run bbjspec check {name}")
    raise UsageError(f"{name} has no results yet; run snakemake --cores 8 {name} --resources gpu=1")


def compare_experiments(plan: Plan, first: str, second: str) -> dict[str, Any]:
    """The comparison as data: `a` is the first, `b` the second. Raises UsageError when they are not comparable."""
    one, other = find(plan, first), find(plan, second)
    try:
        document = compare_two(one.side, other.side, one.leaked | other.leaked)
    except ValueError as error:
        raise UsageError(f"{first} and {second} cannot be compared: {error}") from error
    return {**document, "where": {"a": one.where, "b": other.where}, "specs": _specs(plan, first, second)}


def _specs(plan: Plan, first: str, second: str) -> dict[str, Any] | None:
    """What the two specs say differently, and what that will not tell; None where one of them cannot be read."""
    if first not in plan.experiments or second not in plan.experiments:
        return None
    found = differences(plan.experiments[first].spec, plan.experiments[second].spec)
    return {"changes": as_data(found), "warnings": warnings(found)}


def lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The comparison for people behind its table, a line and its style at a time."""
    a, b = document["a"]["role"], document["b"]["role"]
    low, high = document["ci"]
    judge = document["compiler"]
    yield (
        f"{b} is {_said(document['verdict'], a)}: strict {document['metric']} {document['diff']:+.3f} "
        f"[{low:+.3f}, {high:+.3f}], {document['n_prompts']} prompts × {document['n_samples']} samples",
        STYLES.get(document["verdict"], "yellow"),
    )
    if judge["name"] == "builtin":
        yield "provisional: the builtin checker judged, not bbjcpl", "dim"
    yield f"from {document['where']['a']} and {document['where']['b']}", "dim"
    if document["excluded"]:
        yield f"left out, given away by training data: {', '.join(document['excluded'])}", "dim"
    for note in document["notes"]:
        yield f"not made alike: {note}", "yellow"
    yield _specs_line(document["specs"]), ""
    for warning in (document["specs"] or {}).get("warnings", ()):
        yield f"warning: {warning}", "yellow"
    for title, style in (("regressions", "red"), ("improvements", "green")):
        yield "", ""
        yield from _changes(document, title, style, a, b)


def _said(verdict: str, a: str) -> str:
    return f"not told apart from {a}" if verdict == "not told apart" else f"{verdict} than {a}"


def _specs_line(specs: Mapping[str, Any] | None) -> str:
    if specs is None:
        return "changed: not known, a spec is missing or has errors"
    said = [f"{c['field']} {_value(c['a'])} → {_value(c['b'])}" for c in specs["changes"]]
    more = f" and {len(said) - 6} more (bbjspec diff)" if len(said) > 6 else ""
    return f"changed: {', '.join(said[:6])}{more}" if said else "changed: nothing that the specs say"


def _value(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
    return text if len(text) <= 40 else text[:39] + "…"


def _changes(document: Mapping[str, Any], title: str, style: str, a: str, b: str) -> Iterator[tuple[str, str]]:
    found = document[title]
    yield f"{len(found)} {'worse' if title == 'regressions' else 'better'}", f"bold {style}"
    width = max((len(change["id"]) for change in found[:LISTED]), default=0)
    for index, change in enumerate(found[:LISTED]):
        yield f"  {change['id']:<{width}}  {change['a']:.2f} → {change['b']:.2f}", ""
        if index < WORST:
            for which, name in (("a", a), ("b", b)):
                if failure := change["failures"][which]:
                    yield f"      {name}: {_failure(failure)}", "dim"
    if len(found) > LISTED:
        yield f"  and {len(found) - LISTED} more (--json has all)", ""


def _failure(failure: Mapping[str, Any]) -> str:
    """The first compiler error of a prompt, else how its first failed sample failed."""
    if failure["line"] is None:
        return f"sample {failure['sample']}: {failure['outcome']}"
    said = f" ({inert(failure['message'], True).strip('`')})" if failure["message"] else ""
    return f"sample {failure['sample']}, line {failure['line']}: {inert(failure['source'], True)}{said}"


def show(document: Mapping[str, Any]) -> None:
    """Print the table and the lines: with colour on a terminal, plain and unfolded elsewhere."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, show_edge=False)
    table.add_column("metric")
    for title in (document["a"]["role"], document["b"]["role"], "difference", "95 % interval", "exact p"):
        table.add_column(title, justify="right")
    for name, figures in document["metrics"].items():
        low, high = figures["ci"]
        table.add_row(
            name,
            f"{figures['a']['value']:.3f}",
            f"{figures['b']['value']:.3f}",
            f"{figures['diff']:+.3f}",
            f"[{low:+.3f}, {high:+.3f}]",
            f"{figures['p']:.2g}",
        )
    terminal.console().print(table)
    terminal.show(lines(document))
