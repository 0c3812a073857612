"""Expressions: operators, calls, substrings, elements, members, and the little typing that bbjcpl does without `-t`.

bbjcpl's grammar tells string expressions from numeric ones. A value whose kind is not sure (an object, a member, a
method's result) goes with both.
"""

from __future__ import annotations

from bbjspec.bbj.calls import Calls, Value, kind_of
from bbjspec.bbj.cursor import DEEPEST, Use
from bbjspec.bbj.lexer import FILE, MEMBER, MNEMONIC, NAME, NUM, OP, STR, Token
from bbjspec.bbj.tables import ANY, ARRAY, NUMBER, STRING, Function, bad_variable, functions

SYSTEM_VARIABLES = {
    **dict.fromkeys(("argc", "ctl", "dsz", "err", "psz", "sqlunt", "tim", "unt"), NUMBER),
    **dict.fromkeys(("chn", "day", "opts", "pfx", "rev", "sqlchn", "ssn", "sys"), ANY),
}
"""Variables of the system, read without brackets (docs/bbj-facts.md, section 5). They cannot be assigned to."""

_LEVELS = ({"or"}, {"and"}, {"=", "<", ">", "<=", ">=", "<>"}, {"+", "-"}, {"*", "/"}, {"^"})
_PRECEDENCE = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}
_COMPARE = 2


class Expressions(Calls):
    """Reads expressions. Every method raises `Fault` where the program is wrong."""

    def expression(self, compares: bool = True) -> Value:
        """An expression, by an explicit stack: only brackets cost depth. Without `compares` it ends before `=`."""
        values = [self._signed()]
        signs: list[Token] = []
        while (sign := self._operator(compares)) is not None:
            while signs and _PRECEDENCE[signs[-1].word] >= _PRECEDENCE[sign.word]:
                self._reduce(values, signs)
            signs.append(sign)
            values.append(self._signed())
        while signs:
            self._reduce(values, signs)
        return values[0]

    def _operator(self, compares: bool) -> Token | None:
        token = self.peek()
        if token.word not in _PRECEDENCE or token.kind not in (OP, NAME):
            return None
        return self.take() if compares or _PRECEDENCE[token.word] > _COMPARE else None

    def _reduce(self, values: list[Value], signs: list[Token]) -> None:
        sign = signs.pop()
        right, left = values.pop(), values.pop()
        level = _PRECEDENCE[sign.word]
        kinds = {left.kind, right.kind}
        if ARRAY in kinds:
            self.fail("whole-array", f"{sign.text} does not work on a whole array.", sign)
        mixes = level == _COMPARE or sign.text == "+"
        if kinds >= {NUMBER, STRING} or (STRING in kinds and not mixes):
            self.fail("type", f"{sign.text} stands between a {left.kind} and a {right.kind}.", sign)
        if level == _COMPARE:
            values.append(Value(NUMBER, "compare"))
        elif sign.text == "+" and NUMBER not in kinds:
            values.append(Value(STRING if STRING in kinds else ANY))
        else:
            values.append(Value(NUMBER))

    def _signed(self) -> Value:
        first = self.peek()
        signs = 0
        while (token := self.peek()).kind == OP and token.text in "+-!":
            self.index += 1
            signs += 1
        value = self.operand()
        if not signs:
            return value
        self.agree(value, NUMBER, first.text, first)
        return Value(NUMBER)

    def operand(self) -> Value:
        """A primary with its members, elements, substrings and calls."""
        if self.depth >= DEEPEST:
            self.fail("nesting", f"Brackets nest more than {DEEPEST} deep.")
        self.depth += 1
        try:
            return self._postfix(self._primary())
        finally:
            self.depth -= 1

    def _primary(self) -> Value:
        token = self.peek()
        if token.kind == NAME:
            return self._name(self.take())
        if token.kind == NUM:
            self.index += 1
            return Value(NUMBER)
        if token.kind == STR:
            self.index += 1
            return Value(STRING)
        if token.kind == MEMBER:
            return self._member(self.take())
        if token.kind == MNEMONIC:
            self.index += 1
            if self.is_op("("):
                self.arguments("a mnemonic")
            return Value(STRING)
        if token.kind == FILE:
            return self._static(self.take())
        if token.kind == OP and token.text == "(":
            self.index += 1
            value = self.expression()
            self.expect(")", "parentheses", "at the end of the expression in parentheses")
            return Value(value.kind, "other", value.chains)
        if token.kind == OP and token.text == "@" and self.is_op("(", 1):
            self.index += 1
            self.numbers("(", ")", 1, 2, "a position @(column,row)")
            return Value(STRING)
        self.fail("expression", f"A value is missing{self.found()}.")

    def _name(self, token: Token) -> Value:
        word = token.word
        if word == "new":
            return self._new()
        if not token.suffix and self.is_op("("):
            return self._call(token)
        if token.suffix == "$" and word.startswith("fn") and self.is_op("(") and self._is_function(word):
            return self._user_function(token)
        if word in SYSTEM_VARIABLES:
            return Value(SYSTEM_VARIABLES[word])
        if bad_variable(word) and not self.is_op("."):
            self.fail("reserved-name", f"A value is missing: {token.text} is a reserved word.", token)
        return Value(kind_of(token), "variable", token.suffix in ("", "!", "@"))

    def _member(self, token: Token) -> Value:
        word = token.word
        if word in ("#this!", "#super!"):
            if self.is_op("("):
                self.arguments(token.text)
                return Value(ANY, "call", True)
            if word == "#this!" and self.is_op(".") and not self.is_op("(", 2):
                self.fail("this-field", "A field of the own object is #field, not #this!.field.", token)
            return Value(ANY, "other", True)
        if not token.suffix and self.is_op("("):
            self.arguments(token.text)
            return Value(ANY, "call", True)
        return Value(kind_of(token), "field", token.suffix in ("", "!"))

    def _static(self, token: Token) -> Value:
        if not self.is_op("."):
            self.fail("class-name", f"{token.text} is a class: a method or a field of it is missing.", token)
        if self.peek(1).kind == NAME and not self.is_op("(", 2):
            self.program.static_fields.append(Use(token.word.rstrip("@"), self.line, token.at))
        return Value(ANY, "other", True)

    def _new(self) -> Value:
        self.type_name("NEW")
        if self.is_op("["):
            while self.is_op("["):
                self.numbers("[", "]", 1, 3, "NEW of an array")
            return Value(ANY)
        if not self.is_op("("):
            self.fail("new", f"NEW takes its arguments in parentheses, if only (){self.found()}.")
        self.arguments("NEW")
        return Value(ANY, "made", True)

    def _call(self, token: Token) -> Value:
        function = functions().get(token.word)
        if token.word == "cast":
            self.expect("(", "call", "behind CAST")
            self.type_name("CAST")
            self.brackets()
            self.expect(",", "arity", "between the type and the value of CAST")
            self.expression()
            self.options(frozenset({"err"}))
            self.expect(")", "parentheses", "at the end of CAST")
            return Value(ANY, "made", True)
        if function is not None:
            return self._function(function, token)
        if token.word == "bbjapi":
            self.arguments("BBjAPI")
            return Value(ANY, "other", True)
        if token.word.startswith("fn"):
            return self._user_function(token)
        self.fail(
            "unknown-function", f"{token.text} is no function of BBj; a method of the own class is #{token.text}()."
        )

    def _is_function(self, word: str) -> bool:
        """Whether `word` names a function of the program's own, and not a string that happens to begin with FN."""
        return word in self.program.functions or word not in self.program.variables

    def _user_function(self, token: Token) -> Value:
        self.program.function_uses.append(Use(token.word, self.line, token.at))
        self.arguments(token.text)
        return Value(kind_of(token))

    def _function(self, function: Function, token: Token) -> Value:
        self.index += 1
        count = 0
        if not self.is_op(")"):
            while True:
                if self.at_option(function.options):
                    self.option_list(function.options)
                    break
                self._parameter(function, count)
                count += 1
                if not self.accept(","):
                    break
        self.expect(")", "parentheses", f"at the end of {function.name}")
        if count < function.least or (function.most is not None and count > function.most):
            most = "more" if function.most is None else function.most
            wanted = str(function.least) if function.least == function.most else f"{function.least} to {most}"
            self.fail("arity", f"{function.name} takes {wanted} arguments, not {count}.", token)
        return Value(function.returns, "other", function.chains)

    def _parameter(self, function: Function, count: int) -> None:
        start = self.peek()
        value = self.expression()
        kind = function.kinds[count] if count < len(function.kinds) else ANY
        if value.kind != ARRAY:
            self.agree(value, kind, f"{function.name} as argument {count + 1}", start)
        if function.name == "POS" and count == 0 and value.form != "compare":
            self.fail("pos", "POS compares two strings, as in POS(a$=b$).", start)
        if function.masked and self.accept(":"):
            self.string("a mask")

    def _postfix(self, value: Value) -> Value:
        while (token := self.peek()).kind == OP:
            sign = token.text
            if sign == ".":
                value = self._dot(value)
            elif sign == "[":
                value = self._index(value)
            elif sign == "(" and value.kind != NUMBER:
                self.numbers("(", ")", 1, 2, "a substring", with_options=True)
                value = Value(value.kind, "substring" if value.form in _ASSIGNABLE else "other", value.kind == ANY)
            elif sign == "(" and value.form not in ("other", "made"):
                self.fail("unknown-function", "Only a function, a method or a string is followed by a parenthesis.")
            else:
                break
        return value

    def _dot(self, value: Value) -> Value:
        if not value.chains:
            self.fail("function-method", "Only an object has members: this is a string or a number.")
        self.index += 1
        token = self.peek()
        if token.kind != NAME:
            self.fail("member", f"The name of a member is missing behind the dot{self.found()}.")
        self.index += 1
        if not token.suffix and self.is_op("("):
            self.arguments(token.text)
            return Value(ANY, "call", True)
        return Value(kind_of(token) if token.suffix else ANY, "field", token.suffix in ("", "!", "@"))

    def _index(self, value: Value) -> Value:
        if value.form not in ("variable", "field", "element", "call"):
            self.fail("index", "Only a variable has elements in brackets.")
        if self.is_op("]", 1) or (self.is_word("all", ahead=1) and self.is_op("]", 2)):
            self.index += 2 if self.is_op("]", 1) else 3
            return Value(ARRAY if value.kind == STRING else ANY, "whole")
        self.numbers("[", "]", 1, 3, "an index")
        return Value(value.kind, "element", value.chains)


_ASSIGNABLE = frozenset({"variable", "element", "substring", "field", "whole"})
