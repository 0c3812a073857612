"""The checker: what bbjcpl -N would say of a program, without BBj.

It stands in for the compiler where there is none, and its verdicts are provisional. It knows the language from public
records only (docs/bbj-facts.md); like bbjcpl without `-t`, it knows nothing of which classes and methods exist.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bbjspec.bbj.blocks import Blocks
from bbjspec.bbj.cursor import Fault, Program, Use
from bbjspec.bbj.lexer import END, OP, REM, tokens
from bbjspec.bbj.lines import LogicalLine, logical_lines, physical_lines
from bbjspec.bbj.tables import bad_label

BUILTIN_VERSION = 2
"""Raised whenever a verdict of `check` can change: it is part of the digests of what was judged by it."""

_LAST_NUMBER = 65534
_STEP = 10
_LONGEST = 4096
"""How much of a line an error quotes, in characters, so that a report stays in proportion to the program."""
_MOST_LABELS = 20
"""How many undefined labels of one line are named, for the same reason."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error: its physical line (from 1), a short rule id, one sentence, and the text of that line.

    `label` is the name of a label that is used but not defined, else None.
    """

    line: int
    rule: str
    message: str
    source: str
    label: str | None = None


def check(source: str) -> list[Diagnostic]:
    """The errors of a program in the order of its lines; none means that bbjcpl would accept it.

    One error a physical line, besides undefined labels (at most 20 a line). Any text will do: nothing is raised, and
    the time taken grows with the length of the text.
    """
    return _Check(source).run()


class _Check:
    def __init__(self, source: str) -> None:
        self.physical = physical_lines(source)
        self.program = Program()
        self.parser = Blocks(self.program)
        self.found: dict[tuple[int, str | None], Diagnostic] = {}
        self.labels: Counter[int] = Counter()
        self.number = 0

    def run(self) -> list[Diagnostic]:
        for line in logical_lines(self.physical):
            start = self._front(line)
            if start is not None:
                self._statements(line, start)
        self._whole_program()
        return sorted(self.found.values(), key=lambda found: (found.line, found.label or ""))

    def _report(self, line: LogicalLine, at: int, rule: str, message: str, label: str | None = None) -> None:
        number = line.physical(at)
        if label is not None:
            self.labels[number] += 1
            if self.labels[number] > _MOST_LABELS:
                return
        source = self.physical[number - 1][:_LONGEST]
        self.found.setdefault((number, label), Diagnostic(number, rule, message, source, label))

    def _front(self, line: LogicalLine) -> int | None:
        """Judges line number and label; returns where the statements begin, or None if there is no sense in them."""
        before, self.number = self.number, self.number + _STEP if line.number is None else line.number
        rest = line.text[line.body :].lstrip()
        if line.number is not None:
            if line.number > _LAST_NUMBER or line.number <= before - (before == 0):
                self._report(
                    line, 0, "line-number", "A line number is at most 65534 and above that of the line before."
                )
            if line.label is None and rest[:1] in ("", ":", "="):
                self._report(line, 0, "line-number", "A number alone is no statement and no label.")
                return None
        if line.label is not None:
            if bad_label(line.label.lower()):
                self._report(line, 0, "reserved-label", f"{line.label} is a reserved word: it is no label.")
            if rest.startswith(";"):
                self._report(
                    line, line.body, "label-semicolon", "No semicolon stands between a label and what follows."
                )
            self.program.labels.add(line.label.lower())
        return line.body

    def _statements(self, line: LogicalLine, start: int) -> None:
        parser = self.parser
        parser.tokens = tokens(line.text, start)
        parser.index, parser.depth, parser.line = 0, 0, line
        parser.inline, parser.joined = [], False
        while parser.peek().kind not in (END, REM):
            try:
                parser.place()
                parser.statement()
                parser.end_of_statement()
            except Fault as fault:
                self._report(line, fault.at, fault.rule, fault.message)
                self._recover()

    def _recover(self) -> None:
        """Goes on behind the next semicolon."""
        parser = self.parser
        parser.joined = False
        while (token := parser.take()).kind != END and not (token.kind == OP and token.text == ";"):
            pass

    def _use(self, use: Use, rule: str, message: str, label: str | None = None) -> None:
        self._report(use.line, use.at, rule, message, label)

    def _whole_program(self) -> None:
        program = self.program
        for use in program.label_uses:
            if use.name.lower() not in program.labels:
                self._use(use, "undefined-label", f"The label {use.name} is used but not defined.", use.name)
        for use in program.function_uses:
            if use.name not in program.functions:
                self._use(use, "undefined-function", f"The function {use.name.upper()} is used but not defined.")
        for use in program.static_fields:
            if use.name not in program.imports:
                self._use(use, "static-field", "A static field through a file's class needs USE of that class.")
        block = self.parser.block
        if block is not None:
            self._use(Use(block.name, block.line, block.at), "class-open", f"The class {block.name} is never ended.")
