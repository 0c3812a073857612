"""A valid program and the means to break it: edits of one line, and insertions where a statement can stand."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from bbjspec.bbj.lexer import BAD, OP, REM, Token, tokens
from bbjspec.bbj.lines import logical_lines

Mutant = tuple[str, int]
"""The broken program and the line, from 1, that is wrong."""


@dataclass(frozen=True, slots=True)
class Program:
    """A valid program; `plain` are the lines (from 0) that are whole statements, `slots` those to insert before."""

    lines: tuple[str, ...]
    plain: tuple[int, ...]
    slots: tuple[int, ...]

    @classmethod
    def of(cls, code: str) -> Program:
        lines = code.replace("\r\n", "\n").rstrip("\n").split("\n")
        plain = [
            line.numbers[0] - 1
            for line in logical_lines(lines)
            if len(line.numbers) == 1 and line.label is None and line.number is None
        ]
        numbered = any(re.match(r"\s*\d", line) for line in lines)
        slots, in_class, in_method = [], False, False
        for index, line in enumerate(lines):
            word = (re.findall(r"[a-z]+", line.lower()) or [""])[0]
            in_class = (in_class or word in ("class", "interface")) and word not in ("classend", "interfaceend")
            if (not in_class or in_method) and not line.startswith(":") and not numbered:
                slots.append(index)
            in_method = in_class and (in_method or word == "method") and word != "methodend"
        return cls(tuple(lines), tuple(plain), tuple(slots))

    def replace(self, index: int, *new: str) -> Mutant:
        return "\n".join([*self.lines[:index], *new, *self.lines[index + 1 :]]) + "\n", index + 1

    def insert(self, index: int, new: str) -> Mutant:
        return "\n".join([*self.lines[:index], new, *self.lines[index:]]) + "\n", index + 1


Mutation = Callable[[Program, random.Random], Mutant | None]


def edit(change: Callable[[str, list[Token], random.Random], str | None]) -> Mutation:
    """A mutation that changes one line which is no comment; `change` gives None where it does not apply."""

    def mutate(program: Program, rng: random.Random) -> Mutant | None:
        for index in rng.sample(program.plain, len(program.plain)):
            line = program.lines[index]
            found = tokens(line)[:-1]
            if any(token.kind in (REM, BAD) for token in found) or not found:
                continue
            new = change(line, found, rng)
            if new is not None:
                return program.replace(index, new)
        return None

    return mutate


def insert(*choices: str) -> Mutation:
    """A mutation that puts in one of `choices` where a statement can stand."""

    def mutate(program: Program, rng: random.Random) -> Mutant | None:
        return program.insert(rng.choice(program.slots), rng.choice(choices)) if program.slots else None

    return mutate


def cut(pick: Callable[[list[Token], int], bool], put: str = "") -> Mutation:
    """Replaces one token that `pick` takes with `put`."""

    def change(line: str, found: list[Token], rng: random.Random) -> str | None:
        places = [i for i in range(len(found)) if pick(found, i)]
        if not places:
            return None
        token = found[rng.choice(places)]
        return line[: token.at] + put + line[token.at + len(token.text) :]

    return edit(change)


def behind(pick: Callable[[list[Token], int], bool], put: str) -> Mutation:
    """Puts `put` behind one token that `pick` takes."""

    def change(line: str, found: list[Token], rng: random.Random) -> str | None:
        places = [i for i in range(len(found)) if pick(found, i)]
        if not places:
            return None
        token = found[rng.choice(places)]
        end = token.at + len(token.text)
        return line[:end] + put + line[end:]

    return edit(change)


def regex(pattern: str, new: str) -> Mutation:
    """Replaces what `pattern` finds in a line of code with `new`."""
    return edit(
        lambda line, _found, _rng: changed if (changed := re.sub(pattern, new, line, count=1)) != line else None
    )


def op(*texts: str) -> Callable[[list[Token], int], bool]:
    return lambda found, i: found[i].kind == OP and found[i].text in texts


def kind(*kinds: str) -> Callable[[list[Token], int], bool]:
    return lambda found, i: found[i].kind in kinds


def tail(text: str) -> Mutation:
    return edit(lambda line, _found, _rng: line.rstrip() + text)
