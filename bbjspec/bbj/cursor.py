"""What every part of the parser stands on: the tokens of one line, and what the program has said so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from bbjspec.bbj.lexer import BAD, END, NAME, OP, REM, Token
from bbjspec.bbj.lines import EMPTY, LogicalLine

DEEPEST = 60
"""How deep brackets may nest. Deeper programs are refused, so that no input can exhaust Python's stack."""

_CLOSERS = frozenset({"else", "fi", "endif"})


class Fault(Exception):
    """A statement is wrong at offset `at` of its logical line. Caught once per statement; never leaves the package."""

    def __init__(self, at: int, rule: str, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.rule = rule
        self.message = message


@dataclass(slots=True)
class Use:
    """A name that is used at `at` of a logical line and has to be defined somewhere in the program."""

    name: str
    line: LogicalLine
    at: int


@dataclass(slots=True)
class Program:
    """What the whole program says: filled line by line, judged at the end."""

    labels: set[str] = field(default_factory=set)
    label_uses: list[Use] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    function_uses: list[Use] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    static_fields: list[Use] = field(default_factory=list)


class Cursor:
    """Reads the tokens of one logical line from left to right."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tokens: list[Token] = [Token(END, "", "", 0)]
        self.index = 0
        self.line = EMPTY
        self.depth = 0

    def peek(self, ahead: int = 0) -> Token:
        """The token `ahead` places on; `END` past the end."""
        try:  # most of the time a program takes goes through here: this is twice as fast as a comparison
            return self.tokens[self.index + ahead]
        except IndexError:
            return self.tokens[-1]

    def take(self) -> Token:
        """The next token, which is then behind us."""
        token = self.peek()
        self.index += 1
        return token

    def fail(self, rule: str, message: str, token: Token | None = None) -> NoReturn:
        """Raises `Fault` at `token`, or at the next one. A token that cannot be read says why itself."""
        token = token or self.peek()
        if token.kind == BAD:
            raise Fault(token.at, "token", f"Here {token.word}.")
        raise Fault(token.at, rule, message)

    def is_op(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.text == text and token.kind == OP

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == NAME and token.word in words

    def accept(self, text: str) -> bool:
        """Takes the operator or word (lower case) if it comes next."""
        token = self.peek()
        if token.word == text and token.kind in (OP, NAME):
            self.index += 1
            return True
        return False

    def expect(self, text: str, rule: str, where: str) -> None:
        """Takes the operator or word, or fails with "`text` is missing `where`"."""
        if not self.accept(text):
            self.fail(rule, f"{text.upper()} is missing {where}{self.found()}.")

    def found(self) -> str:
        """How a message goes on to say what stands there instead."""
        token = self.peek()
        if token.kind == END:
            return ": the line ends here"
        text = token.text if len(token.text) <= 30 else token.text[:30] + "..."
        return f": {text} stands here"

    def at_end(self) -> bool:
        """Whether a statement may end here: at `;`, the line's end, `ELSE`, `FI` or `ENDIF`."""
        token = self.peek()
        kind = token.kind
        if kind == OP:
            return token.text == ";"
        return kind in (END, REM) or (kind == NAME and token.word in _CLOSERS)

    def plain_name(self, rule: str, what: str) -> Token:
        """Takes a name without suffix, or fails with "`what` is missing"."""
        token = self.peek()
        if token.kind != NAME or token.suffix:
            self.fail(rule, f"{what} is missing{self.found()}.")
        return self.take()
