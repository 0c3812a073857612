"""The audit: what is wrong with a dataset, by check, with the lines. Flags rows; never removes or changes one.

Each answer is mended as far as `bbjspec.data.repair` goes; a check of the four defects that a repair mends flags just
the rows that it would change, and what is judged behind them (missing code, programs that do not compile) is judged on
the mended answer, so that one defect is not counted twice.
"""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bbjspec.bbj.compiler import CompileError, Compiler
from bbjspec.bbj.extract import blocks
from bbjspec.data import private
from bbjspec.data.code import bbj_signals, has_code
from bbjspec.data.compiled import first_errors, programs_of
from bbjspec.data.kinds import asks_for_code, inferred_kind, inferred_topic
from bbjspec.data.leakage import leaking_rows
from bbjspec.data.lines import BadLine
from bbjspec.data.repair import REPAIRS, mend
from bbjspec.data.rows import Row, normalise, same_id
from bbjspec.suite import Prompt

EXAMPLES = 5  # shown per check; the lines are all there
EXCERPT = 120  # characters
SHORT_ANSWER, LONG_ANSWER, SHORT_QUESTION = 20, 4000, 10  # characters
NEAR = 0.1  # of the longer question's characters


@dataclass(frozen=True)
class Check:
    """What a check looks for, how bad it is, and which repair mends it, if one does.

    `error`: training cannot read the row. `warning`: it teaches something wrong. `info`: worth knowing.
    """

    severity: str
    what: str
    repair: str = ""


CHECKS: dict[str, Check] = {
    "json": Check("error", "no JSON row"),
    "roles": Check("error", "not the three messages system, user, assistant"),
    "empty": Check("error", "a message without text"),
    "duplicate_id": Check("error", "an id that another row has"),
    "duplicate_question": Check("warning", "the question stands more than once"),
    "conflicting_answer": Check("warning", "one question, differing answers"),
    "near_duplicate": Check("warning", "nearly another row's question"),
    "short_answer": Check("warning", f"answer of less than {SHORT_ANSWER} characters"),
    "long_answer": Check("info", f"answer of more than {LONG_ANSWER:,} characters"),
    "short_question": Check("warning", f"question of less than {SHORT_QUESTION} characters"),
    "literal_escape": Check("warning", r"a written-out \n for a new line in code", "unescape_newlines"),
    "unfenced_code": Check("warning", "code without a fence", "fence_code"),
    "untagged_fence": Check("info", "a fence without a language", "tag_fences"),
    "quoted_code": Check("warning", "code quoted with >", "unquote_code"),
    "no_code": Check("warning", "code is asked for, none is given"),
    "compile_error": Check("warning", "a program that the compiler rejects"),
    "over_length": Check("warning", "more tokens than max_length"),
    "secret": Check("warning", "a password, a token or an e-mail address"),
    "contamination": Check("warning", "gives a prompt of the suite away"),
}
"""Every check by its id, in the order in which they are told."""
_BY_REPAIR = {check.repair: name for name, check in CHECKS.items() if check.repair}


@dataclass(frozen=True)
class Flag:
    """One row that one check flags. The excerpt never holds a secret."""

    check: str
    line: int
    id: str | None
    excerpt: str


@dataclass
class Audit:
    """What was found. `made` are the checks that were made; `rows` are the good rows, `bad` the lines that are none."""

    rows: list[Row] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    flags: dict[str, list[Flag]] = field(default_factory=lambda: defaultdict(list))
    mended: dict[int, str] = field(default_factory=dict)
    repairs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REPAIRS, 0))
    tokens: list[int] = field(default_factory=list)
    with_code: int = 0
    signals: Counter[str] = field(default_factory=Counter)  # rows whose code shows each sign of BBj
    kinds: Counter[str] = field(default_factory=Counter)
    topics: Counter[str] = field(default_factory=Counter)
    made: set[str] = field(default_factory=lambda: set(CHECKS) - {"compile_error", "over_length", "contamination"})

    def flag(self, check: str, row: Row | BadLine, excerpt: str) -> None:
        """Flag a row."""
        text = " ".join(private.redact(excerpt[:2000]).split())
        short = text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
        self.flags[check].append(Flag(check, row.line, row.id if isinstance(row, Row) else None, short))

    def checks(self) -> dict[str, Any]:
        """Every check as `audit.json` has it. One that was not made has `checked: false` besides its count of 0."""
        found: dict[str, Any] = {}
        for name, check in CHECKS.items():
            flags = sorted(self.flags.get(name, []), key=lambda flag: flag.line)
            found[name] = {
                "severity": check.severity,
                "count": len(flags),
                "lines": [flag.line for flag in flags],
                "examples": [{"line": f.line, "id": f.id, "excerpt": f.excerpt} for f in flags[:EXAMPLES]],
            }
            if name not in self.made:
                found[name]["checked"] = False
        return found


@dataclass(frozen=True)
class Judges:
    """What the audit may ask besides the text itself; without one its check is not made.

    `max_length` is in tokens.
    """

    compiler: Compiler | None = None
    tokenizer: Any = None
    max_length: int | None = None
    prompts: Sequence[Prompt] | None = None


def audit(items: Iterable[Row | BadLine], judges: Judges) -> Audit:
    """All checks over all lines. Raises StageFailed where the compiler gives no verdict."""
    was_on = gc.isenabled()
    gc.disable()  # nothing here is garbage in cycles, and looking through all rows again and again takes its time
    try:
        return _audit(items, judges)
    finally:
        if was_on:
            gc.enable()


def _audit(items: Iterable[Row | BadLine], judges: Judges) -> Audit:
    found = Audit()
    _read(found, items)
    _questions(found)
    programs = [(row, code) for row in found.rows for code in _answer(found, row)]
    with ThreadPoolExecutor(1) as pool:
        # The compiler works in processes of its own; what is left to do here goes on meanwhile.
        judging = pool.submit(first_errors, programs, judges.compiler) if judges.compiler is not None else None
        _private(found)
        if judging is not None:
            _compile(found, judging.result())
    if judges.tokenizer is not None:
        _tokens(found, judges.tokenizer, judges.max_length)
    if judges.prompts is not None:
        found.made.add("contamination")
        for row, rule, prompt in leaking_rows(judges.prompts, found.rows):
            found.flag("contamination", row, f"{prompt}: {rule.replace('_', ' ')}: {row.question}")
    return found


def _read(found: Audit, items: Iterable[Row | BadLine]) -> None:
    first: dict[str, int] = {}
    for item in items:
        if isinstance(item, Row) and item.fields.get("id"):
            before = first.setdefault(item.id, item.line)
            item = item if before == item.line else same_id(item, before)
        if isinstance(item, BadLine):
            found.bad.append(item)
            found.flag(item.check, item, item.message)
        else:
            found.rows.append(item)


def _questions(found: Audit) -> None:
    """Duplicates, exact and near, and questions too short."""
    from bbjspec.data.near import near_duplicates

    normal = [normalise(row.question) for row in found.rows]
    same: dict[str, list[Row]] = defaultdict(list)
    for row, text in zip(found.rows, normal, strict=True):
        same[text].append(row)
        if len(row.question.strip()) < SHORT_QUESTION:
            found.flag("short_question", row, row.question)
    for group in same.values():
        if len(group) > 1:
            conflicting = len({normalise(row.answer) for row in group}) > 1
            for row in group:
                found.flag("duplicate_question", row, row.question)
                if conflicting:
                    found.flag("conflicting_answer", row, row.answer)
    partner: dict[int, int] = {}
    for a, b in near_duplicates(normal, NEAR):
        partner.setdefault(a, b)
        partner.setdefault(b, a)
    for index, other in partner.items():
        row = found.rows[other]
        found.flag("near_duplicate", found.rows[index], f"line {row.line}: {row.question}")


def _answer(found: Audit, row: Row) -> Iterator[str]:
    """What the answer alone shows; gives the programs of the mended one."""
    size = len(row.answer.strip())
    if size < SHORT_ANSWER:
        found.flag("short_answer", row, row.answer)
    if size > LONG_ANSWER:
        found.flag("long_answer", row, f"{size:,} characters: {row.answer}")
    mended, names = mend(row.answer, REPAIRS)
    if names:
        found.mended[row.line] = mended
        first = _first_change(row.answer, mended)
        for name in names:
            found.repairs[name] += 1
            if name in _BY_REPAIR:
                found.flag(_BY_REPAIR[name], row, first)
    kind = row.fields.get("kind")
    if not has_code(mended) and asks_for_code(row.question, kind if isinstance(kind, str) else None):
        found.flag("no_code", row, row.answer)
    # Figures that need the blocks, while these are at hand.
    found.signals.update(bbj_signals("".join(block.code for block in blocks(mended))))
    yield from programs_of(mended)
    found.with_code += has_code(row.answer)
    found.kinds[str(kind or inferred_kind(row.question, row.answer))] += 1
    found.topics[str(row.fields.get("topic") or inferred_topic(row.question, row.answer))] += 1


def _first_change(before: str, after: str) -> str:
    kept = set(after.split("\n"))
    return next((line for line in before.split("\n") if line not in kept and line.strip()), before)


def _private(found: Audit) -> None:
    of_system = {text: private.find(text) for text in {row.system for row in found.rows}}
    for row in found.rows:
        places = {
            "system prompt": of_system[row.system],
            "question": private.find(row.question),
            "answer": private.find(row.answer),
        }
        if told := [f"{kind} in the {place}" for place, kinds in places.items() for kind in kinds]:
            found.flag("secret", row, "; ".join(told))


def _compile(found: Audit, errors: Mapping[int, CompileError]) -> None:
    found.made.add("compile_error")
    for row in found.rows:
        if error := errors.get(row.line):
            found.flag("compile_error", row, f"{error.line}: {error.message or 'error'}: {error.source}")


def _tokens(found: Audit, tokenizer: Any, max_length: int | None) -> None:
    from bbjspec.data.chat import all_token_counts

    counts = all_token_counts(tokenizer, found.rows)
    for row, (count, _) in zip(found.rows, counts, strict=True):
        found.tokens.append(count)
        if max_length is not None and count > max_length:
            found.flag(
                "over_length", row, f"{count:,} tokens, {count - max_length:,} over {max_length:,}: {row.question}"
            )
    if max_length is not None:
        found.made.add("over_length")
