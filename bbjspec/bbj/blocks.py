"""CLASS, INTERFACE, METHOD, FIELD, USE and DECLARE: what stands where, and what a header looks like."""

from __future__ import annotations

from dataclasses import dataclass, field

from bbjspec.bbj.cursor import Program
from bbjspec.bbj.lexer import END, FILE, NAME, REM, Token
from bbjspec.bbj.lines import LogicalLine
from bbjspec.bbj.statements import Statements
from bbjspec.bbj.tables import bad_variable

_VISIBILITIES = ("public", "private", "protected")
_NUMBER_TYPES = frozenset(
    [
        "bbjnumber",
        "bbjint",
        "bbjinteger",
        "int",
        "long",
        "short",
        "byte",
        "float",
        "double",
        "boolean",
        "char",
        "number",
        "integer",
        "bigdecimal",
    ]
)
"""Types whose fields and parameters need no suffix: a plain name holds them."""

_JAVA_INTERFACES = {
    "java.util": "List Map Set Collection Iterator Queue Deque SortedMap SortedSet Comparator Enumeration ListIterator",
    "java.lang": "Runnable Comparable CharSequence Iterable AutoCloseable Cloneable",
    "java.sql": "Connection Statement PreparedStatement ResultSet ResultSetMetaData DatabaseMetaData Driver",
    "java.io": "Closeable Serializable Flushable",
    "java.nio.file": "Path",
    "java.util.concurrent": "Callable Future ConcurrentMap ExecutorService Executor BlockingQueue",
}
_INTERFACES = frozenset(
    f"{package}.{name}".lower() for package, names in _JAVA_INTERFACES.items() for name in names.split()
)
"""Well-known interfaces of Java, which DECLARE AUTO refuses. The Java library itself is not here to be asked.

The record is of a Java interface; a shipped plugin declares one of its own with AUTO, so BBj's are let through."""


@dataclass(slots=True)
class Class:
    """The class or interface that is open, with its fields so far. `method` is `none`, `open` or `broken`."""

    name: str
    interface: bool
    line: LogicalLine
    at: int
    fields: set[str] = field(default_factory=set)
    method: str = "none"


class Blocks(Statements):
    """The whole statement grammar."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.block: Class | None = None

    def place(self) -> None:
        """Fails where the next statement cannot stand directly in a class."""
        token = self.peek()
        if self.block is None or self.block.method != "none" or token.kind in (END, REM) or self.is_op(";"):
            return
        if token.kind != NAME or token.word not in ("field", "method", "declare", "classend", "interfaceend"):
            self.fail("class-body", f"Only FIELD and METHOD stand directly in a class{self.found()}.")

    def _do_class(self) -> None:
        self._visibility()
        self.accept("static")
        name = self._header(interface=False)
        if self.accept("extends"):
            self.type_name("EXTENDS")
        if self.accept("implements"):
            self._types("IMPLEMENTS")
        self._clean(name, "CLASS")

    def _do_interface(self) -> None:
        self._visibility()
        name = self._header(interface=True)
        if self.accept("extends"):
            self._types("EXTENDS")
        self._clean(name, "INTERFACE")

    def _visibility(self) -> bool:
        return any(self.accept(word) for word in _VISIBILITIES)

    def _header(self, interface: bool) -> Token:
        name = self.plain_name("class", "The name of the class")
        if self.block is not None:
            self.fail("class", f"The class {self.block.name} is still open here.", name)
        self.block = Class(name.text, interface, self.line, name.at)
        self.open_blocks = 0
        return name

    def _types(self, what: str) -> None:
        self.type_name(what)
        while self.accept(","):
            self.type_name(what)

    def _clean(self, name: Token, what: str) -> None:
        if not self.at_end():
            self.fail("class", f"The header of {what} {name.text} should end{self.found()}.")

    def _do_classend(self) -> None:
        if self.block is not None:
            if self.block.method == "open":
                self.block = None
                self.fail("method-open", "METHODEND is missing in front of this line.", self.peek(-1))
            self.block = None

    _do_interfaceend = _do_classend

    def _do_methodend(self) -> None:
        if self.block is None:
            return
        method, self.block.method = self.block.method, "none"
        if method != "open":
            self.fail("method-end", "This METHODEND has no sound METHOD header.", self.peek(-1))

    def _do_method(self) -> None:
        block, word = self.block, self.peek(-1)
        if block is None:
            self.fail("method-outside", "METHOD stands only in a class.", word)
        unclosed = block.method == "open"
        block.method = "none" if block.interface else "broken"
        if unclosed:
            self.fail("method-open", "METHODEND is missing in front of this METHOD.", word)
        if not self._visibility():
            self.fail("method", f"METHOD wants PUBLIC, PRIVATE or PROTECTED{self.found()}.")
        self.accept("static")
        if self.is_op("(", 1):
            name = self.peek()
            if name.word != block.name.lower():
                self.fail("method-type", f"The method {name.text} has no type in front, and is no constructor.")
            self.index += 1
        else:
            self.type_name("METHOD")
            self.brackets()
            self.plain_name("method", "The name of the method")
        self._parameters()
        if not self.at_end():
            self.fail("method", f"The header of the METHOD should end{self.found()}.")
        if not block.interface:
            block.method = "open"
        self.open_blocks = 0

    def _parameters(self) -> None:
        self.expect("(", "method", "behind the name of the method")
        if not self.is_op(")"):
            while True:
                kind = self.type_name("A parameter")
                self._typed_name(kind, "a parameter")
                if not self.accept(","):
                    break
        self.expect(")", "parentheses", "at the end of the parameters")

    def _typed_name(self, kind: str, what: str) -> Token:
        """`{[]} name` behind its type; a name that holds an object needs a suffix."""
        array = self.is_op("[")
        self.brackets()
        name = self.peek()
        if name.kind != NAME or name.suffix == "@":
            self.fail("name", f"The name of {what} is missing behind its type{self.found()}.")
        if not name.suffix and (array or kind.lower().rsplit(".", 1)[-1] not in _NUMBER_TYPES):
            self.fail("suffix", f"{name.text} holds a {kind}: it needs a suffix, as in {name.text}!.")
        if not name.suffix and bad_variable(name.word):
            self.fail("reserved-name", f"{name.text} is a reserved word: it is no variable.")
        self.index += 1
        return name

    def _do_field(self) -> None:
        block = self.block
        if block is None or block.method != "none":
            self.operands("field")
            return
        if not self._visibility():
            self.fail("field", f"FIELD wants PUBLIC, PRIVATE or PROTECTED{self.found()}.")
        self.accept("static")
        name = self._typed_name(self.type_name("FIELD"), "the field")
        if name.word in block.fields:
            self.fail("field-duplicate", f"The class has a field {name.text} already.", name)
        block.fields.add(name.word)
        if self.accept("="):
            self.expression()

    def _do_use(self) -> None:
        token = self.peek()
        if self.index != 1:
            self.fail("use-alone", "USE stands alone on its line.", self.peek(-1))
        name = self.type_name("USE")
        if token.kind != FILE and "." not in name:
            self.fail("use", "USE wants a class with its package, or ::file::Class.", token)
        self.program.imports[name.replace("::", ".").rsplit(".", 1)[-1].lower()] = name.lower()
        if self.is_op(";") and self.peek(1).kind not in (REM, END):
            self.fail("use-alone", "USE stands alone on its line.", self.peek(1))

    def _do_declare(self) -> None:
        auto = self.is_word("auto") and not self._ends_behind(1) and not self._ends_behind(2)
        if auto:
            self.index += 1
        token = self.peek()
        kind = self.type_name("DECLARE")
        if auto and self._is_interface(kind):
            self.fail("declare-auto", f"DECLARE AUTO takes a class, and {kind} is an interface.", token)
        self.brackets()
        name = self.peek()
        if name.kind != NAME or name.suffix == "@" or bad_variable(name.word):
            self.fail("declare", f"The name of the variable is missing behind its type{self.found()}.")
        self.index += 1

    def _is_interface(self, kind: str) -> bool:
        name = kind.lower()
        return self.program.imports.get(name, name) in _INTERFACES
