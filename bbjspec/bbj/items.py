"""Verbs whose operands are lists of items: PRINT and READ with their kin, DIM, IOLIST, CLEAR and the keyed files."""

from __future__ import annotations

from bbjspec.bbj.calls import kind_of
from bbjspec.bbj.grammar import Grammar
from bbjspec.bbj.lexer import MEMBER, NAME, STR
from bbjspec.bbj.tables import STRING, Verb, bad_variable, verbs

_OUTPUT = frozenset({"print", "write"})
_INPUT = frozenset({"input", "inpute", "inputn"})
CHANNEL_VERBS = frozenset({"print", "write", "read", "input", "extract", "find", "inpute", "inputn"})
KEYED_FILES = frozenset({"mkeyed", "vkeyed", "xkeyed"})
_CALCULATES = frozenset(["+", "-", "*", "/", "^", "=", "<", ">", "<=", ">=", "<>", "and", "or", ".", "("])


class Items(Grammar):
    """Reads lists of items. Every method raises `Fault` where the program is wrong."""

    def channel_verb(self, name: str) -> None:
        """PRINT, WRITE, READ, INPUT, EXTRACT, FIND, with RECORD or without, behind the word itself."""
        record = name.endswith("record")
        name = name.removesuffix("record")
        if self.is_word("record") and not self.is_op("=", 1) and not self.is_op(",", 1):
            self.index += 1
            record = True
        verb = verbs()[name]
        if self.is_op("(") and (name not in _OUTPUT or self._is_channel()):
            self.channel(verb)
        if self.at_end():
            return
        self._item(name, verb, record)
        while not self.at_end():
            self.expect(",", "separator", "between two items")
            if self.at_end() and name in _OUTPUT | _INPUT:
                break
            self._item(name, verb, record)

    def _is_channel(self) -> bool:
        """Whether the parenthesis behind PRINT holds a channel, and not the beginning of an expression."""
        depth, ahead = 0, 0
        while True:
            token = self.peek(ahead)
            if token.kind == "end" or (token.kind == "op" and token.text == ";"):
                return True
            if token.kind == "op":
                depth += token.text in ("(", "[")
                depth -= token.text in (")", "]")
            ahead += 1
            if depth == 0:
                following = self.peek(ahead)
                if following.kind == "op" and following.text == "*":
                    return self.peek(ahead + 1).kind == "end" or self.is_op(",", ahead + 1)
                signed = following.text in ("+", "-", "(")
                return following.kind not in ("op", NAME) or following.word not in _CALCULATES or signed

    def _item(self, name: str, verb: Verb, record: bool) -> None:
        if self.is_op("*"):
            if record and name in ("read", "extract", "find"):
                self.fail("record-star", f"{verb.name} RECORD takes no asterisk.")
            self.index += 1
        elif self.is_word("iol") and self.is_op("=", 1):
            self.option(frozenset({"iol"}))
        elif name in _OUTPUT:
            self.expression()
            if self.accept(":"):
                self.string("a mask")
        else:
            if name in _INPUT:
                self.expression()
            else:
                self.variable()
            if self.accept(":"):
                if self.is_op("("):
                    self._verification()
                else:
                    self.string("a mask")

    def _verification(self) -> None:
        """`("Y"=label,...,LEN=n,n)`: strings with branches, lengths and ranges."""
        self.expect("(", "verification", "in a verification list")
        while True:
            if self.is_word("len") and self.is_op("=", 1):
                self.index += 2
                self.numeric("LEN=")
            else:
                self.expression(compares=False)
                if self.accept("="):
                    self.target()
            if not self.accept(","):
                break
        self.expect(")", "parentheses", "at the end of the verification list")

    def iolist(self) -> None:
        """Variables, `*` or IOL= with commas between."""
        while True:
            self._item("write", verbs()["iolist"], record=False)
            if not self.accept(","):
                break

    def dim(self) -> None:
        """`name[bounds]`, `name$(length{,fill})`, `name$:template`, with commas between, and ERR=."""
        while True:
            token = self.peek()
            if token.kind not in (NAME, MEMBER):
                self.fail("dim", f"DIM wants the name of a variable{self.found()}.")
            if token.kind == NAME and bad_variable(token.word):
                self.fail("reserved-name", f"{token.text} is a reserved word: it is no variable.")
            self.index += 1
            self.program.variables.add(token.word)
            begin = self.index
            self._dimensions(kind_of(token) == STRING)
            if self.index == begin:
                self.fail("dim", f"DIM wants bounds, a length or a template behind {token.text}{self.found()}.")
            if not self.is_op(",") or (self.is_word("err", ahead=1) and self.is_op("=", 2)):
                break
            self.index += 1
        self.options(verbs()["dim"].options)

    def _dimensions(self, is_string: bool) -> None:
        if self.accept("["):
            while True:
                self.numeric("a bound")
                if self.accept(":"):
                    self.numeric("a bound")
                if not self.accept(","):
                    break
            self.expect("]", "parentheses", "at the end of the bounds of DIM")
        if is_string and self.accept("("):
            self.numeric("a length")
            if self.accept(","):
                self.string("the fill")
            self.expect(")", "parentheses", "at the end of the length in DIM")
        if self.accept(":"):
            self.string("a template")

    def clear(self, name: str) -> None:
        """`{EXCEPT v,...}`; CLEAR also takes a list of variables."""
        if self.at_end():
            return
        if not self.accept("except") and name == "begin":
            self.fail("operand", f"BEGIN takes only EXCEPT and variables{self.found()}.")
        self.variable()
        while self.accept(","):
            self.variable()

    def keyed_file(self, name: str) -> None:
        """`s,n|keydef,...,n,n{,option...}`; a key definition is `[{n:}n:n{:s}]`, joined by `+`."""
        verb = verbs()[name]
        self.string(verb.name)
        self.expect(",", "operand", f"behind the file of {verb.name}")
        if self.is_op("["):
            self._key()
            while self.is_op(",") and self.is_op("[", 1):
                self.index += 1
                self._key()
        else:
            self.numeric(verb.name)
        for _ in range(2):
            self.expect(",", "operand", f"in {verb.name}")
            self.numeric(verb.name)
        self.options(verb.options)

    def _key(self) -> None:
        while True:
            self.expect("[", "key-definition", "in front of a key definition")
            self.numeric("a key definition")
            self.expect(":", "key-definition", "in the key definition")
            self.numeric("a key definition")
            while self.accept(":"):
                if self.peek().kind == STR or self.peek().suffix == "$":
                    self.string("a key definition")
                else:
                    self.numeric("a key definition")
            self.expect("]", "parentheses", "at the end of the key definition")
            if not self.accept("+"):
                break
