"""A dataset like the team's, with each defect planted in known numbers: what the audit has to find, and nothing else.

9,922 ChatML rows that have only `messages` and share one system prompt. `python -m tests.planted FILE` writes it.
"""

from __future__ import annotations

import json
import random
import string
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROWS = 9922
WITH_CODE = 9307  # rows with a fence that holds code: 93.8 %
LONGEST = 4896  # characters of an answer
SYSTEM = "You are an expert BBj programmer who helps users write and understand BBj code."
WORDS = (
    "invoice customer order payment ledger warehouse shipment pallet voucher tariff budget account branch "
    "contract quota salary holiday roster ticket meter sensor valve pump filter engine brake clutch gear axle "
    "wheel frame panel cable socket fuse relay switchboard drawer folder binder ribbon stamp envelope parcel "
    "courier depot harbour runway hangar lamp candle mirror carpet curtain pillow blanket basket bottle barrel "
    "bucket ladder hammer chisel pliers spanner garden meadow orchard vineyard pasture stable granary silo "
    "tractor plough harrow thresher dairy cheese butter honey"
).split()


@dataclass
class Planned:
    """One row to be, with the checks that must flag it and the repairs that must change it."""

    question: str
    answer: str
    checks: set[str] = field(default_factory=set)
    repairs: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Planted:
    """The rows, and the lines (from 1) that each check must flag and each repair must change."""

    rows: list[dict[str, object]]
    checks: dict[str, list[int]]
    repairs: dict[str, list[int]]

    def write(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as stream:
            for row in self.rows:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")


class Maker:
    """Makes questions, programs and prose, no two questions near each other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def tag(self, length: int = 10) -> str:
        return "".join(self.random.choice(string.ascii_lowercase) for _ in range(length))

    def word(self) -> str:
        return self.random.choice(WORDS)

    def question(self) -> str:
        """A question that does not ask for a program."""
        form = self.random.choice(
            [
                "Where is the {a} of a {b} kept for {x} and {y}?",
                "Our {a} {x} meets the {b} {y}: which statement is right?",
                "Which variable holds the {a} in {x}, and which the {b} in {y}?",
                "How large may the {a} {x} of the {b} {y} become?",
            ]
        )
        return form.format(a=self.word(), b=self.word(), x=self.tag(), y=self.tag())

    def program(self, lines: int = 0) -> str:
        """A program that the checker accepts, without a newline at its end."""
        a, b = f"v_{self.word()}", f"v_{self.tag(4)}"
        forms = [
            f'{a}$ = "{self.word()}"\nprint {a}$',
            f"rem the {self.word()} of {self.word()}\n{a} = {self.random.randrange(1000)}\nprint {a}",
            f'{a} = {self.random.randrange(1000)}\nif {a} > 5 then\n  print "more"\nendif',
            f"for {b} = 1 to {self.random.randrange(2, 99)}\n  print {b}, {b} * 2\nnext {b}",
            f'{a}! = new java.util.HashMap()\n{a}!.put("{b}", "{self.word()}")\nprint {a}!.get("{b}")',
            f"gosub {b}\nend\n\n{b}:\nprint {self.random.randrange(1000)}\nreturn",
            f'path$ = "C:\\new\\{self.word()}"\nprint path$',
            f'window! = BBjAPI().openSysGui("X0").addWindow(10, 10, 200, 100, "{self.word()}")\nprocess_events',
        ]
        code = self.random.choice(forms)
        while code.count("\n") + 1 < lines:
            code += f'\nprint "{self.word()} {self.word()}", {self.random.randrange(1000)}'
        return code

    def prose(self, sentences: int = 2) -> str:
        forms = [
            "The {a} is kept beside the {b}.",
            "Every {a} needs a {b} of its own.",
            "Look at the {a} before the {b}.",
        ]
        return " ".join(self.random.choice(forms).format(a=self.word(), b=self.word()) for _ in range(sentences))

    def coded(self, lines: int = 0) -> str:
        return f"{self.prose()}\n\n```bbj\n{self.program(lines or self.random.randrange(2, 12))}\n```\n\n{self.prose()}"


def plan(maker: Maker) -> list[Planned]:
    """Every row, in groups of one defect."""
    rows: list[Planned] = []

    def add(count: int, make: Callable[[int], Planned]) -> None:
        rows.extend(make(i) for i in range(count))

    def row(answer: str, checks: str = "", repairs: str = "", question: str = "") -> Planned:
        return Planned(question or maker.question(), answer, set(checks.split()), set(repairs.split()))

    for group in range(375):  # 359 questions twice, 16 three times: 766 rows
        question, answer = maker.question(), maker.coded()
        conflicting = group < 100
        for copy in range(3 if group < 16 else 2):
            checks = "duplicate_question conflicting_answer" if conflicting else "duplicate_question"
            shown = question if copy != 1 else question.upper()
            rows.append(row(maker.coded(5 + copy) if conflicting and copy else answer, checks, question=shown))
    short = ["7", "Yes", "No", "0", "Never", "Twice", "At once", "Line 10", "Channel 0", "Nowhere", "A string"]
    add(22, lambda i: row(short[i % 11], "short_answer"))
    add(8, lambda i: row("In the " + maker.word()[:11], "short_answer"))
    _escapes(maker, add, row)
    add(19, lambda i: row(maker.program(3), "unfenced_code", "fence_code"))
    add(11, lambda i: row(f"{maker.prose()}\n\n{maker.program(3)}\n\n{maker.prose()}", "unfenced_code", "fence_code"))
    _quotes(maker, add, row)
    add(30, lambda i: row(f"```\n{maker.program()}\n```", "untagged_fence", "tag_fences"))
    add(10, lambda i: row(f"{maker.coded()}\n\n```\nThe {maker.word()} is {i}\n```", "untagged_fence", "tag_fences"))
    add(50, lambda i: row(maker.coded().replace("\n```\n", "  \n``` \n") + "\n", "", "strip_trailing_space"))
    for i in range(30):
        question = maker.question()
        near = question.replace("?", "!") if i % 2 else question.replace("which", "what").replace("may", "can") + "?"
        rows += [row(maker.coded(), "near_duplicate", question=text) for text in (question, near)]
    _private(maker, add, row)
    broken = ["print (((", 'x$ = "open', "for = 1 to", "a += 1"]
    add(37, lambda i: row(f"```bbj\n{maker.program(3)}\n{broken[i % 4]}\n```", "compile_error"))
    add(
        21,
        lambda i: row(
            maker.prose(), "no_code", question=f"Write a program for the {maker.tag(16)} of {maker.tag(16)}."
        ),
    )
    add(17, lambda i: row(_long(maker, LONGEST if not i else 4001 + 50 * i), "long_answer"))
    add(14, lambda i: row(maker.coded(), "short_question", question=f"{maker.tag(8)}?"))
    prose = ROWS - WITH_CODE - sum("```" not in r.answer or not _starts_block(r.answer) for r in rows)
    add(prose, lambda i: row(maker.prose(maker.random.randrange(1, 9))))
    add(ROWS - len(rows), lambda i: row(maker.coded()))
    return rows


def _starts_block(answer: str) -> bool:
    return any(line.startswith("```") and "\\n" not in line for line in answer.split("\n"))


Row = Callable[..., Planned]
Add = Callable[[int, Callable[[int], Planned]], None]


def _escaped(code: str) -> str:
    return code.replace('"', '\\"').replace("\n", "\\n")


def _escapes(maker: Maker, add: Add, row: Row) -> None:
    """60 rows with literal escapes, in four shapes."""
    check, repair = "literal_escape", "unescape_newlines"
    add(15, lambda i: row("```bbj\n" + maker.program(3).replace("\n", "\\n") + "\n```", check, repair))
    add(
        15,
        lambda i: row(maker.prose() + "\\n```bbj\\n" + maker.program(3).replace("\n", "\\n") + "\\n```", check, repair),
    )
    add(
        15,
        lambda i: row("```bbj\n" + _escaped(f'print "{maker.word()}"\n' + maker.program(2)) + "\n```", check, repair),
    )
    add(
        15,
        lambda i: row(
            _escaped(f'print "{maker.word()}"\n' + maker.program(3)), f"{check} unfenced_code", f"{repair} fence_code"
        ),
    )


def _quotes(maker: Maker, add: Add, row: Row) -> None:
    """25 rows with quoted code, in three shapes, and 5 with quoted prose, which stays."""

    def quoted(text: str) -> str:
        return "\n".join(f"> {line}" if line else ">" for line in text.split("\n"))

    check, repair = "quoted_code", "unquote_code"
    add(10, lambda i: row("```bbj\n" + quoted(maker.program(3)) + "\n```", check, repair))
    add(10, lambda i: row(maker.prose() + "\n\n" + quoted(f"```bbj\n{maker.program(3)}\n```"), check, repair))
    both = f"{check} unfenced_code", f"{repair} fence_code"
    add(5, lambda i: row(maker.prose() + "\n\n" + quoted(f'print "x"\n{maker.program(3)}'), *both))
    add(5, lambda i: row(quoted(maker.prose()) + "\n\n" + maker.coded()))


def _private(maker: Maker, add: Add, row: Row) -> None:
    """12 rows with a token, a password or an e-mail address, and 4 with what only looks like one."""
    token = "hf_" + "abcdEFGH1234"  # in two parts, so that no scanner takes this file for a leak
    add(4, lambda i: row(f"{maker.coded()}\n\nLog in with {token}.", "secret"))
    add(4, lambda i: row(f'```bbj\ndb_password$ = "tr0ub4dor{i}"\nprint "connected"\n```', "secret"))
    add(4, lambda i: row(maker.coded(), "secret", question=f"{maker.question()} Ask {maker.word()}@company.de."))
    add(2, lambda i: row(f'```bbj\npassword$ = "your_password1"\nprint "{maker.word()}"\n```'))
    add(2, lambda i: row(f"{maker.coded()} Write to someone@example.org."))


def _long(maker: Maker, size: int) -> str:
    answer = maker.coded()
    while len(answer) < size:
        answer += " " + maker.prose(1)
    return answer[: size - 1] + "."


def planted(seed: int = 5) -> Planted:
    """The dataset, in an order that depends on the seed alone."""
    maker = Maker(seed)
    rows = plan(maker)
    maker.random.shuffle(rows)
    checks: dict[str, list[int]] = {}
    repairs: dict[str, list[int]] = {}
    for line, row in enumerate(rows, start=1):
        for name in row.checks:
            checks.setdefault(name, []).append(line)
        for name in row.repairs:
            repairs.setdefault(name, []).append(line)
    return Planted([_chat(row) for row in rows], checks, repairs)


def _chat(row: Planned) -> dict[str, object]:
    contents = (("system", SYSTEM), ("user", row.question), ("assistant", row.answer))
    return {"messages": [{"role": role, "content": text} for role, text in contents]}


if __name__ == "__main__":
    made = planted()
    made.write(Path(sys.argv[1]))
    print(Counter({name: len(lines) for name, lines in made.checks.items()}))
