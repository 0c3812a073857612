"""Statements: which verb is it, or an assignment, or a call; and the branches and loops."""

from __future__ import annotations

from bbjspec.bbj.calls import Value, kind_of
from bbjspec.bbj.cursor import Program
from bbjspec.bbj.items import CHANNEL_VERBS, KEYED_FILES, Items
from bbjspec.bbj.lexer import BAD, END, FILE, MEMBER, NAME, REM, TABLE, Token
from bbjspec.bbj.tables import ANY, ARRAY, NUMBER, STRING, bad_variable, verbs

_BARE = frozenset(["wend", "repeat", "swend", "fnend", "break", "continue"])
_RECORD_VERBS = frozenset(verb + "record" for verb in ("print", "write", "read", "input", "extract", "find"))


class Statements(Items):
    """Reads one statement after another.

    `open_blocks` counts the block IFs that are open; `inline` holds the IFs of this line, each with whether its ELSE
    has come; `joined` says that the next statement follows without a semicolon, as behind THEN.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.open_blocks = 0
        self.inline: list[bool] = []
        self.joined = False

    def statement(self) -> None:
        """One statement, from its first token to where `;`, ELSE, FI or the line's end has to follow."""
        token = self.peek()
        if token.kind == REM or self._at_separator():
            return
        if token.kind == TABLE:
            self.index += 1
        elif token.kind == NAME and not token.suffix and not self._is_assigned():
            self._verb(token)
        elif self.is_op("?"):
            self.index += 1
            self.channel_verb("print")
        else:
            self._assign_or_call()

    def _at_separator(self) -> bool:
        return self.peek().kind == END or self.is_op(";")

    def _is_assigned(self) -> bool:
        return self.is_op("=", 1) or self.is_op(".", 1) or self.is_op("[", 1)

    def _verb(self, token: Token) -> None:
        word = token.word
        handler = getattr(self, "_do_" + word, None)
        if handler is not None:
            self.index += 1
            handler()
        elif word in CHANNEL_VERBS or word in _RECORD_VERBS:
            self.index += 1
            self.channel_verb(word)
        elif word in KEYED_FILES:
            self.index += 1
            self.keyed_file(word)
        elif word in ("begin", "clear"):
            self.index += 1
            self.clear(word)
        elif word in _BARE:
            self.index += 1
        elif word in verbs():
            self.index += 1
            self.operands(word)
        else:
            self._assign_or_call()

    def _assign_or_call(self) -> None:
        start = self.peek()
        if start.kind not in (NAME, MEMBER, FILE):
            self.fail("statement", f"No statement begins like this{self.found()}.")
        begin = self.index
        if start.kind == NAME and self.is_op("=", 1) and bad_variable(start.word):
            self.fail("reserved-name", f"{start.text} is a reserved word: it is no variable.")
        value = self.operand()
        if self.is_op("="):
            self.index = begin
            self.assignments()
        elif value.form not in ("call", "made"):
            self._no_statement(start)

    def _no_statement(self, start: Token) -> None:
        following = self.peek()
        if following.kind == BAD:
            self.fail("token", "")
        if self.at_end():
            self.fail("bare-expression", "A value alone is no statement: assign it, print it or call a method.", start)
        self.fail("statement", f"{start.text} begins no statement: a verb or = is missing{self.found()}.", start)

    def assignments(self) -> None:
        """`v=e` with commas between."""
        while True:
            start = self.peek()
            if start.kind == NAME and bad_variable(start.word) and not self.is_op(".", 1):
                self.fail("reserved-name", f"{start.text} is a reserved word: it is no variable.")
            if start.kind not in (NAME, MEMBER, FILE):
                self.fail("assignment", f"A variable is missing{self.found()}.")
            if start.kind == NAME:
                self.program.variables.add(start.word)
            target = self.operand()
            if target.form not in ("variable", "element", "substring", "field", "whole"):
                self.fail("assign-target", "Only a variable can be assigned to.", start)
            if not self.accept("="):
                self.fail("assignment", f"An assignment wants = behind its variable{self.found()}.")
            self._assigned(target, start)
            if not self.accept(","):
                break

    def _assigned(self, target: Value, start: Token) -> None:
        begin = self.peek()
        value = self.expression()
        if target.form == "whole":
            if target.kind == ARRAY and value.kind not in (ARRAY, ANY):
                self.fail("whole-array", f"The whole array {start.text} takes only a whole array.", begin)
        elif target.kind != ANY:
            self.agree(value, target.kind, start.text, begin)

    def end_of_statement(self) -> None:
        """Takes the semicolon behind a statement, if any; fails where a statement cannot end."""
        if self.joined:
            self.joined = False
        elif not self.at_end():
            self.fail("statement-end", f"The statement should end{self.found()}.")
        elif self.peek().kind == NAME and not self.inline:
            self.fail("statement-end", f"A semicolon is missing{self.found()}, and no IF is open on this line.")
        else:
            self.accept(";")

    def _do_let(self) -> None:
        self.assignments()

    def _do_dim(self) -> None:
        self.dim()

    def _do_iolist(self) -> None:
        self.iolist()

    def _do_if(self) -> None:
        self.numeric("IF")
        self.accept("then")
        if self.peek().kind in (END, REM) or (self.is_op(";") and self.peek(1).kind in (END, REM)):
            self.open_blocks += 1
        else:
            self.inline.append(False)
            self.joined = True

    def _do_else(self) -> None:
        while self.inline and self.inline[-1]:
            self.inline.pop()
        if self.inline:
            self.inline[-1] = True
        elif self.is_word("if"):
            self.fail("else-if", "IF cannot follow an ELSE that begins its line: it goes on a line of its own.")
        elif not self.open_blocks and self.peek().kind not in (END, REM) and not self.is_op(";"):
            self.fail("else-line", "ELSE belongs to an IF of the same line, or stands in a block IF.")
        self.joined = True

    def _do_fi(self) -> None:
        if self.inline:
            self.inline.pop()
        elif self.open_blocks:
            self.open_blocks -= 1

    _do_endif = _do_fi

    def _do_for(self) -> None:
        token = self.peek()
        if token.kind not in (NAME, MEMBER) or token.suffix in ("$", "@"):
            self.fail("for", f"FOR wants a numeric variable{self.found()}.")
        if token.kind == NAME and bad_variable(token.word):
            self.fail("reserved-name", f"{token.text} is a reserved word: it is no variable.")
        self.index += 1
        self.expect("=", "for", "behind the variable of FOR")
        self.numeric("FOR")
        self.expect("to", "for", "in FOR")
        self.numeric("TO")
        if self.accept("step"):
            self.numeric("STEP")

    def _do_next(self) -> None:
        if not self.at_end():
            token = self.peek()
            if token.kind not in (NAME, MEMBER) or token.suffix in ("$", "@"):
                self.fail("next", f"NEXT takes only the variable of its FOR{self.found()}.")
            self.index += 1

    def _do_while(self) -> None:
        self.numeric("WHILE")

    def _do_until(self) -> None:
        self.numeric("UNTIL")

    def _do_switch(self) -> None:
        self.expression()

    def _do_case(self) -> None:
        if self.is_word("default") and self._ends_behind(1):
            self.index += 1
        else:
            self.expression()

    def _ends_behind(self, ahead: int) -> bool:
        return self.peek(ahead).kind in (END, REM) or self.is_op(";", ahead)

    def _do_def(self) -> None:
        name = self.peek()
        if name.kind != NAME or not name.word.startswith("fn") or len(name.word.rstrip("$!%@")) < 3:
            self.fail("def-name", f"The name of a function of your own begins with FN{self.found()}.")
        self.index += 1
        self.program.functions.add(name.word)
        self.expect("(", "def", "behind the name of the function: its parameters stand in parentheses")
        if not self.is_op(")"):
            while True:
                token = self.peek()
                if token.kind != NAME or bad_variable(token.word):
                    self.fail("def", f"A parameter of the function is missing{self.found()}.")
                self.index += 1
                if not self.accept(","):
                    break
        self.expect(")", "parentheses", "at the end of the parameters")
        if self.accept("="):
            start = self.peek()
            kind = kind_of(name)
            value = self.expression()
            if kind in (NUMBER, STRING):
                self.agree(value, kind, name.text, start)
