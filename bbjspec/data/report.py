"""An audit in words: a table of the checks, the statistics in a few lines, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bbjspec.data.audit import CHECKS

_LINES = 5  # of each check; audit.json has them all
_NAMES = 6  # of each distribution
_STYLES = {"error": "red", "warning": "yellow", "info": ""}
_ASKS = {
    "compile_error": "no compiler",
    "over_length": "give --spec, or --tokenizer and --max-length",
    "contamination": "give --suite or --spec",
}


def lines(document: Mapping[str, Any], shown: str) -> Iterator[tuple[str, str]]:
    """The report of one `audit.json`, a line and its style at a time."""
    checks = document["checks"]
    flagged = {name: entry for name, entry in checks.items() if entry["count"]}
    yield f"{shown}: {_count(document['rows'], 'row')}", "bold"
    yield "", ""
    yield from _table(flagged)
    clean = [name for name, entry in checks.items() if not entry["count"] and entry.get("checked", True)]
    if clean:
        yield f"nothing found: {', '.join(clean)}", ""
    for name, entry in checks.items():
        if not entry.get("checked", True):
            yield f"not checked: {name} ({_ASKS[name]})", "dim"
    yield "", ""
    yield from ((line, "") for line in _statistics(document["statistics"], document["rows"]))
    yield "", ""
    yield from ((line, "bold") for line in _next(document, flagged, shown))


def _table(flagged: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not flagged:
        return
    width = max(map(len, flagged))
    places = {name: _places(entry["lines"]) for name, entry in flagged.items()}
    wide = max(len("lines"), *(len(place) for place in places.values()))
    yield f"{'check':<{width}}  {'severity':<8}  {'rows':>6}  {'lines':<{wide}}  first example", "bold"
    for name, entry in flagged.items():
        example = entry["examples"][0]["excerpt"] if entry["examples"] else ""
        row = f"{name:<{width}}  {entry['severity']:<8}  {entry['count']:>6,}  {places[name]:<{wide}}  {example[:60]}"
        yield row.rstrip(), _STYLES[entry["severity"]]
    yield "", ""


def _places(found: list[int]) -> str:
    return ", ".join(map(str, found[:_LINES])) + (", …" if len(found) > _LINES else "")


def _statistics(told: Mapping[str, Any], rows: int) -> Iterator[str]:
    yield f"answers         {_spread(told['answer_chars'], 'characters')}; with code {_share(told['with_code'], rows)}"
    yield f"questions       {_spread(told['question_chars'], 'characters')}"
    if told["tokens"]:
        yield f"tokens          {_spread(told['tokens'], 'tokens')}"
    if cut := told["max_length"]:
        yield (
            f"max_length      {cut['tokens_at_most']:,} tokens would cut {_count(cut['rows'], 'row')}: "
            f"{_count(cut['tokens'], 'token')}, {cut['share']:.2%} of all"
        )
    yield f"signs of BBj    {_most(told['signals'])}"
    for name in ("kind", "topic", "generation", "tags"):
        if told[name]:
            guessed = told["inferred"].get(name, 0)
            note = f" (inferred for {_count(guessed, 'row')})" if guessed else ""
            yield f"{name:<15} {_most(told[name])}{note}"
    prompts = told["system_prompts"]
    if prompts["number"]:
        yield f"system prompts  {prompts['number']:,}; the most common stands in {prompts['share']:.1%} of the rows"
    same = told["duplicates"]
    if same["questions"]:
        yield (
            f"duplicates      {_count(same['questions'], 'question')} in {_count(same['rows'], 'row')}, "
            f"{same['conflicting']:,} with differing answers"
        )


def _spread(values: Mapping[str, int], unit: str) -> str:
    if not values:
        return "none"
    least, middle, ninth, most = (f"{values[name]:,}" for name in ("min", "median", "p90", "max"))
    return f"{least} to {most} {unit}, median {middle}, nine of ten up to {ninth}"


def _most(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} {count:,}" for name, count in ordered[:_NAMES])
    return (shown or "none") + (f", {len(ordered) - _NAMES} more" if len(ordered) > _NAMES else "")


def _next(document: Mapping[str, Any], flagged: Mapping[str, Any], shown: str) -> Iterator[str]:
    if not flagged:
        yield "next: nothing to do"
        return
    errors = sum(entry["count"] for entry in flagged.values() if entry["severity"] == "error")
    if errors:
        yield f"next: mend the {_count(errors, 'line')} that training cannot read"
    repairs = [check.repair for name, check in CHECKS.items() if check.repair and name in flagged]
    if repairs:
        count = len({line for name, entry in flagged.items() if CHECKS[name].repair for line in entry["lines"]})
        yield f"next: {', '.join(repairs)} under data.repair in a spec mend {_count(count, 'row')}"
    rows = len({line for entry in flagged.values() for line in entry["lines"]})
    yield f"next: bbjspec audit {shown} --export review.yaml   writes {_count(rows, 'row')} to look at"


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else "0"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
