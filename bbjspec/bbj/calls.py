"""What stands around expressions: argument lists, options such as `ERR=`, branch targets, names of classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from bbjspec.bbj.cursor import Cursor, Use
from bbjspec.bbj.lexer import FILE, NAME, NUM, Token
from bbjspec.bbj.tables import ANY, ARRAY, NUMBER, STRING

SPECIAL_LABELS = frozenset(
    ["next", "same", "retry", "proceed", "break", "continue", "return", "escape", "stop", "end", "exit", "endif"]
)
BRANCHES = frozenset({"err", "end", "dom", "tbl", "iol"})
"""Options whose value is a label or a line number."""
CALL_OPTIONS = frozenset({"err", "end", "dom"})
"""Options that end the arguments of a method or of a user's function."""


class Value(NamedTuple):
    """A parsed operand: its kind, and its form, which says what may be done with it.

    Forms: `variable`, `element`, `substring`, `field`, `whole` (all can be assigned to), `call` (a method call) and
    `made` (NEW or CAST; these two can be statements), `compare` (the outermost operator compares) and `other`.
    `chains` is whether `.name` may follow.
    """

    kind: str
    form: str = "other"
    chains: bool = False


_KIND_OF = {"$": STRING, "!": ANY, "@": ANY}


def kind_of(token: Token) -> str:
    """What a name's suffix says: `$` a string, `!` or `@` anything, else a number."""
    return _KIND_OF.get(token.word[-1:], NUMBER)


class Calls(Cursor, ABC):
    """Reads lists of arguments and options. Every method raises `Fault` where the program is wrong."""

    @abstractmethod
    def expression(self, compares: bool = True) -> Value:
        """An expression (see `bbjspec.bbj.expressions`)."""

    def numeric(self, what: str) -> Value:
        """An expression that is no string; `what` names it in the message."""
        return self._of_kind(NUMBER, what)

    def string(self, what: str) -> Value:
        """An expression that is no number; `what` names it in the message."""
        return self._of_kind(STRING, what)

    def _of_kind(self, kind: str, what: str) -> Value:
        start = self.peek()
        value = self.expression()
        self.agree(value, kind, what, start)
        return value

    def agree(self, value: Value, kind: str, what: str, at: Token) -> None:
        """Fails when `value` surely is not of `kind`."""
        if value.kind == ARRAY and kind in (NUMBER, STRING):
            self.fail("whole-array", f"{what} takes one value, not a whole array.", at)
        if {value.kind, kind} == {NUMBER, STRING}:
            self.fail("type", f"{what} takes a {kind}, but this is a {value.kind}.", at)

    def arguments(self, what: str) -> None:
        """`(` any values, then ERR=, END= or DOM= `)`."""
        self.expect("(", "call", f"behind {what}")
        if self.accept(")"):
            return
        while True:
            if self.at_option(CALL_OPTIONS):
                self.option_list(CALL_OPTIONS)
                break
            self.expression()
            if not self.accept(","):
                break
        self.expect(")", "parentheses", f"at the end of the arguments of {what}")

    def at_option(self, names: frozenset[str]) -> bool:
        return self.is_word(*names) and self.is_op("=", 1)

    def options(self, names: frozenset[str]) -> None:
        if self.is_op(",") and self.is_word(*names, ahead=1) and self.is_op("=", 2):
            self.index += 1
            self.option_list(names)

    def option_list(self, names: frozenset[str]) -> None:
        self.option(names)
        while self.accept(","):
            self.option(names)

    def option(self, names: frozenset[str]) -> None:
        """`NAME=value`, the name one of `names` (lower case); a branch takes a label."""
        if not self.at_option(names):
            wanted = ", ".join(sorted(name.upper() + "=" for name in names)) or "none"
            self.fail("option", f"An option is wanted ({wanted}){self.found()}.")
        name = self.take().word
        self.index += 1
        if name in BRANCHES:
            self.target()
        elif name == "mode":
            self.string("MODE=")
        elif name in ("key", "knum"):
            self.expression()
        else:
            self.numeric(name.upper() + "=")

    def target(self) -> None:
        """A label, a line number or a special label."""
        token = self.peek()
        if token.kind == NUM and token.text.isdigit():
            self.index += 1
        elif self.is_op("*") and self.peek(1).word in SPECIAL_LABELS and self.peek(1).at == token.at + 1:
            self.index += 2
        elif token.kind == NAME and not token.suffix:
            self.index += 1
            self.program.label_uses.append(Use(token.text, self.line, token.at))
        else:
            self.fail("target", f"A label or a line number is missing{self.found()}.")

    def numbers(self, opening: str, closing: str, least: int, most: int, what: str, with_options: bool = False) -> None:
        """`opening` `least` to `most` numeric expressions `closing`."""
        self.expect(opening, "parentheses", f"in {what}")
        count = 1
        self.numeric(what)
        while self.is_op(",") and not (with_options and self.is_word("err", ahead=1) and self.is_op("=", 2)):
            self.index += 1
            self.numeric(what)
            count += 1
        if with_options:
            self.options(frozenset({"err"}))
        self.expect(closing, "parentheses", f"at the end of {what}")
        if not least <= count <= most:
            self.fail("arity", f"There are {count} values in {what}; at most {most} are possible.")

    def type_name(self, what: str) -> str:
        """A class: `Name`, `package.Name` or `::file::Name`. Returns it as written."""
        token = self.peek()
        if token.kind not in (NAME, FILE) or token.suffix in ("$", "!", "%"):
            self.fail("type-name", f"{what} wants the name of a class{self.found()}.")
        self.index += 1
        parts = [token.text]
        while self.is_op(".") and self.peek(1).kind == NAME and self.peek(1).suffix in ("", "@"):
            parts.append(self.peek(1).text)
            self.index += 2
        return ".".join(parts)

    def brackets(self) -> None:
        """`[]`, any number of times, behind a type."""
        while self.is_op("[") and self.is_op("]", 1):
            self.index += 2
