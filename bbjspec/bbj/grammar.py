"""The operand shapes of `verbs.json`, compiled to small trees and matched against tokens.

The table's notation: `n` number, `s` string, `e` expression, `v` variable, `L` label or line number, `type` a bare
word, `{}` optional, `x,...` a list, `|` or (with blanks around it: between whole shapes), `option...` any of the verb's
options, a word in capitals itself. Everything is decided by the next three tokens, but for `|` between whole shapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from bbjspec.bbj.cursor import Fault
from bbjspec.bbj.expressions import Expressions
from bbjspec.bbj.lexer import MNEMONIC, NAME, NUM, STR
from bbjspec.bbj.tables import Verb, verbs

_NOTATION = re.compile(r"\.\.\.|[A-Z]{2,}=[A-Za-z]|[A-Za-z]+|[0-9]+|[(){},:=|]")
_ATOMS = frozenset({"n", "s", "e", "v", "L", "type", "option"})


@dataclass(frozen=True, slots=True)
class Atom:
    """One operand, sign or word; `many` means a list of it with commas between."""

    text: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Optional:
    """`{parts}`."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """`a|b`."""

    atoms: tuple[Atom, ...]


Part = Atom | Optional | Either
Shape = tuple[tuple[Part, ...], ...]


@cache
def shape_of(verb: Verb) -> Shape:
    """The compiled shape: whole alternatives, each a sequence."""
    return tuple(_compile(_NOTATION.findall(whole)) for whole in verb.shape.split(" | "))


def _compile(words: list[str]) -> tuple[Part, ...]:
    parts, rest = _sequence(words)
    assert not rest, words
    return parts


def _sequence(words: list[str]) -> tuple[tuple[Part, ...], list[str]]:
    parts: list[Part] = []
    while words and words[0] != "}":
        word, words = words[0], words[1:]
        if word == "{":
            inner, words = _sequence(words)
            parts.append(Optional(inner))
            words = words[1:]
        elif word == "|":
            last = parts.pop()
            before = last.atoms if isinstance(last, Either) else (last,)
            parts.append(Either((*(atom for atom in before if isinstance(atom, Atom)), Atom(words[0]))))
            words = words[1:]
        elif word == "...":
            last = parts.pop()
            if last == Atom(","):
                last = parts.pop()
            assert isinstance(last, Atom), words
            parts.append(Atom(last.text, many=True))
        else:
            parts.append(Atom(word))
    return tuple(parts), words


class Grammar(Expressions):
    """Matches a verb's operands with its shape. Raises `Fault` where they differ."""

    def variable(self) -> None:
        """Something that can be assigned to."""
        start = self.peek()
        if self.operand().form not in ("variable", "element", "substring", "field", "whole"):
            self.fail("variable", "A variable is wanted here.", start)

    def operands(self, name: str) -> None:
        """Everything behind the verb `name` (lower case)."""
        verb = verbs()[name]
        if verb.shape == "?":
            self._unknown_operands(verb)
            return
        shapes = shape_of(verb)
        start = self.index
        for count, parts in enumerate(shapes, start=1):
            try:
                self._match(parts, verb)
                if count == len(shapes) or self.at_end():
                    break
            except Fault:
                if count == len(shapes):
                    raise
            self.index = start
        if self.is_op(",") and "(" not in verb.shape:
            self.options(verb.options)

    def channel(self, verb: Verb) -> None:
        """`(n{,option...})`."""
        self.expect("(", "channel", f"behind {verb.name}: its channel stands in parentheses")
        self.numeric(f"the channel of {verb.name}")
        if self.accept(","):
            self.option_list(verb.options)
        self.expect(")", "parentheses", f"behind the channel and the options of {verb.name}")

    def _unknown_operands(self, verb: Verb) -> None:
        """A verb whose operands are in no record: a channel and a list of expressions, both optional."""
        if self.is_op("("):
            self.channel(verb)
        if not self.at_end():
            self.expression(compares=False)
            while self.accept(","):
                self.expression(compares=False)

    def _match(self, parts: tuple[Part, ...], verb: Verb) -> None:
        for part, following in zip(parts, (*parts[1:], None), strict=False):
            if following == Atom("="):
                self.expression(compares=False)
            elif isinstance(part, Optional):
                if self._starts(part.parts, verb):
                    self._match(part.parts, verb)
            elif isinstance(part, Either):
                fitting = [atom for atom in part.atoms if self._starts((atom,), verb)]
                self._atom((fitting or part.atoms)[0], verb)
            elif part.many:
                self._list(part, verb)
            else:
                self._atom(part, verb)

    def _list(self, part: Atom, verb: Verb) -> None:
        single = Atom(part.text)
        self._atom(single, verb)
        while self.is_op(","):
            option = self.is_word(*verb.options, ahead=1) and self.is_op("=", 2)
            if option != (part.text == "option"):
                break
            self.index += 1
            self._atom(single, verb)

    def _starts(self, parts: tuple[Part, ...], verb: Verb, ahead: int = 0) -> bool:
        """Whether `parts` can begin `ahead` tokens on."""
        part = parts[0]
        if not isinstance(part, Atom):
            return not self.at_end()
        token = self.peek(ahead)
        if part.text == "option":
            return self.is_word(*verb.options, ahead=ahead) and self.is_op("=", ahead + 1)
        if part.text[1:-1].endswith("="):
            return self.is_word(part.text[:-2].lower(), ahead=ahead) and self.is_op("=", ahead + 1)
        if part.text == ",":
            return self.is_op(",", ahead) and (len(parts) == 1 or self._starts(parts[1:], verb, ahead + 1))
        if part.text not in _ATOMS:
            return token.word == part.text.lower()
        if ahead == 0 and self.at_end():
            return False
        if part.text == "n" and token.kind in (STR, MNEMONIC):
            return False
        if part.text == "L":
            return token.kind in (NAME, NUM) or self.is_op("*", ahead)
        return not (self.is_word(*verb.options, ahead=ahead) and self.is_op("=", ahead + 1))

    def _atom(self, atom: Atom, verb: Verb) -> None:
        text = atom.text
        if text == "n":
            self.numeric(verb.name)
        elif text == "s":
            self.string(verb.name)
        elif text == "e":
            self.expression()
        elif text == "v":
            self.variable()
        elif text == "L":
            self.target()
        elif text == "type":
            self.plain_name("operand", f"The kind of event of {verb.name}")
        elif text == "option" or text[1:-1].endswith("="):
            self.option(verb.options)
        elif text == "=":
            self.expect("=", "operand", f"in {verb.name}")
        else:
            self.expect(text.lower(), "operand", f"behind {verb.name}")
