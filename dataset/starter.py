"""Writes the rows of sample.jsonl that are tagged `starter`: one-construct tasks that even a tiny model can learn.

    python dataset/starter.py > starter-rows.jsonl

Each kind has many phrasings and one shape of program; names and values are drawn by a seeded generator. Names that the
starter suite (eval/prompts/starter) uses never occur, so no name-number combination of it can be in the rows. A test
keeps sample.jsonl and this file in step. Templates are those of bbjspec/embedded/corpus.py: `[a|b]` is a choice, `{n}`
a slot that has one value throughout a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bbjspec.bbj.checker import check
from bbjspec.embedded.corpus import Writer
from bbjspec.spec.eval import SYSTEM_PROMPT

ROWS = 18  # of each kind
SEED = 11
SUITE = Path(__file__).parents[1] / "eval/prompts/starter"

# kind, topic, phrasings (one a line), program
PROGRAMS: list[tuple[str, str, str, str]] = [
    (
        "print",
        "console",
        """Print "{q}".
        Write a BBj program that prints "{q}".
        Show the text "{q}" on the screen.
        How do I display "{q}" in BBj?
        Please output "{q}".
        I want to see "{q}" on the screen.""",
        'print "{q}"',
    ),
    (
        "assign",
        "control-flow",
        """Store {i} in {n} and print it.
        Set {n} to {i} and print {n}.
        Write a program that puts {i} into {n} and shows it.
        Create a variable {n} with the value {i} and display it.
        Make {n} equal to {i}, then print it.
        Assign {i} to {n} and show it on the screen.
        I need a variable named {n} that contains {i}. Show it.
        Give {n} the value {i} and display {n}.
        Could you save {i} as {n} and print it?
        Write BBj code: {n} is {i}, print {n}.
        Let {n} hold {i} and print it, please.
        In BBj, store {i} in a variable called {n} and then print it.""",
        "{n} = {i}\nprint {n}",
    ),
    (
        "text",
        "strings",
        """Store "{q}" in {s} and print it.
        Set {s} to "{q}" and print {s}.
        Put "{q}" into {s} and show it.
        Assign the text "{q}" to {s}, then print it.
        Write a program that keeps "{q}" in the string {s} and displays it.
        Make a string {s} with the text "{q}" and print {s}.
        I need {s} to hold "{q}". Print it.
        Please save "{q}" as {s} and display it.
        How do I store "{q}" in {s} and print it?
        Let {s} be "{q}" and show {s}.
        The string {s} should be "{q}". Print it.""",
        '{s} = "{q}"\nprint {s}',
    ),
    (
        "add",
        "numbers",
        """Add {i} and {j}, save the result in {n} and print it.
        Add {j} to {i}, store it in {n} and show {n}.
        Store the sum of {j} and {i} in {n} and print it.
        Calculate {j} plus {i}, keep it in {n} and print {n}.
        Write a program that adds {j} and {i}, puts the result in {n} and shows it.
        What is the code to compute {j} plus {i} as {n} and print it?
        Let {n} be {j} plus {i} and display it.
        Please add {j} and {i} in {n} and print {n}.""",
        "{n} = {j} + {i}\nprint {n}",
    ),
    (
        "subtract",
        "numbers",
        """Subtract {i} from {j}, store the result in {n} and print it.
        Calculate {j} minus {i}, save it in {n} and show it.
        Take {i} away from {j}, keep the result in {n} and print {n}.
        Store the difference of {j} and {i} in {n} and display it.
        Write BBj code that subtracts {i} from {j}, puts it in {n} and prints it.
        Let {n} be {j} minus {i} and print it.
        Set {n} to {j} minus {i} and show it.
        Please subtract {i} from {j} and print the result, kept in {n}.""",
        "{n} = {j} - {i}\nprint {n}",
    ),
    (
        "multiply",
        "numbers",
        """Multiply {j} by {i}, store it in {n} and print it.
        Store the product of {j} and {i} in {n} and show it.
        Calculate {j} times {i}, save the result in {n} and print {n}.
        Write a program that multiplies {j} by {i}, keeps it in {n} and displays it.
        Let {n} be {j} times {i} and print it.
        Set {n} to {j} times {i} and show {n}.
        Please multiply {j} and {i}, put the result in {n} and print it.
        How do I multiply {j} by {i} in {n} and show the result?""",
        "{n} = {j} * {i}\nprint {n}",
    ),
    (
        "divide",
        "numbers",
        """Divide {j} by {i}, store it in {n} and print it.
        Store the quotient of {j} and {i} in {n} and show it.
        Calculate {j} divided by {i}, save the result in {n} and print {n}.
        Write a BBj program that divides {j} by {i}, keeps it in {n} and displays it.
        Let {n} be {j} divided by {i} and print it.
        Set {n} to {j} divided by {i} and show {n}.
        Please divide {j} by {i}, put the result in {n} and print it.
        Can you divide {j} by {i}, save it as {n} and print {n}?""",
        "{n} = {j} / {i}\nprint {n}",
    ),
    (
        "for",
        "control-flow",
        """Loop {n} from {d} to {i} and print it.
        Write a for loop with {n} from {d} to {i} that prints {n}.
        Count from {d} to {i} with {n} and show each number.
        Print all numbers from {d} to {i}, using {n} as the counter.
        Write a loop that counts {n} from {d} to {i} and prints every value.
        Use FOR to count {n} from {d} to {i} and print {n}.
        I want a for loop over {n} that runs from {d} to {i} and displays it.
        Let {n} run from {d} to {i} and print it.
        Show the numbers {d} to {i} with a loop over {n}.
        How do I loop from {d} to {i} with the variable {n} and show it?
        Make {n} go from {d} to {i} and print each value.
        Please write a BBj loop: {n} counts from {d} to {i}, print {n}.""",
        "for {n} = {d} to {i}\n    print {n}\nnext {n}",
    ),
    (
        "for-step",
        "control-flow",
        """Loop {n} from {d} to {i} in steps of {e} and show it.
        Count {n} from {d} to {i} by {e} and print it.
        Write a for loop with {n} from {d} to {i} step {e} and print {n}.
        Print every {e} numbers from {d} to {i} with the counter {n}.
        Use FOR to count {n} from {d} to {i} in steps of {e}.
        Let {n} run from {d} to {i} with step {e} and print it.
        Please loop over {n} from {d} to {i} with a step of {e}.
        I need a loop with {n} from {d} to {i} by steps of {e} that prints {n}.
        Show {n} from {d} to {i}, step {e}.""",
        "for {n} = {d} to {i} step {e}\n    print {n}\nnext {n}",
    ),
    (
        "while",
        "control-flow",
        """Use a while loop that starts {n} at {d} and prints it while it is below {i}.
        Write a while loop: {n} starts at {d} and runs while it is less than {i}.
        Start {n} at {d} and print it while it is less than {i}.
        Print {n} from {d} as long as it is less than {i}, with WHILE.
        While {n} is under {i}, starting from {d}, print {n}.
        Repeat while {n} is below {i}, starting at {d}, and print it.
        Please write a while loop with {n} from {d} that goes on while {n} is below {i}.
        Begin with {n} at {d} and show it while it is under {i}.
        Let {n} start at {d}. Show it as long as it is below {i}, with a while loop.
        I need a BBj while loop over {n} from {d} while it is less than {i}.""",
        "{n} = {d}\nwhile {n} < {i}\n    print {n}\n    {n} = {n} + 1\nwend",
    ),
    (
        "if-greater",
        "control-flow",
        """Set {n} to {j} and print "{w}" if it is above {i}.
        Store {j} in {n} and print {w} if {n} is greater than {i}.
        Let {n} be {j} and show "{w}" when it is greater than {i}.
        Write a program that sets {n} to {j} and prints "{w}" if {n} is more than {i}.
        Put {j} in {n} and display {w} if it is more than {i}.
        If {n}, which is {j}, is greater than {i}, print "{w}".
        {n} is {j}. Print "{w}" when it is above {i}.
        Please set {n} to {j} and show {w} if {n} is above {i}.""",
        '{n} = {j}\nif {n} > {i} then\n    print "{w}"\nendif',
    ),
    (
        "if-less",
        "control-flow",
        """Set {n} to {j} and print "{w}" if it is less than {i}.
        Store {j} in {n} and print {w} if {n} is below {i}.
        Let {n} be {j} and show "{w}" when it is less than {i}.
        Write BBj code that sets {n} to {j} and prints "{w}" if {n} is under {i}.
        Put {j} in {n} and display {w} if it is less than {i}.
        If {n}, which is {j}, is below {i}, print "{w}".
        {n} is {j}. Print "{w}" when it is under {i}.
        Please set {n} to {j} and show {w} if {n} is less than {i}.""",
        '{n} = {j}\nif {n} < {i} then\n    print "{w}"\nendif',
    ),
    (
        "if-else-greater",
        "control-flow",
        """Set {n} to {j}, print "{w}" if it is above {i} and "{x}" otherwise.
        Store {j} in {n} and print {w} if it is greater than {i}, else {x}.
        Put {j} in {n} and print "{w}" when it is greater than {i}, otherwise "{x}".
        Let {n} be {j}. Show "{w}" if {n} is more than {i}, else "{x}".
        Write a program with {n} at {j} that prints {w} if it is more than {i} and {x} if not.
        If {n}, which is {j}, is greater than {i}, print "{w}", otherwise "{x}".
        Please set {n} to {j} and show "{w}" if it is above {i}, else "{x}".""",
        '{n} = {j}\nif {n} > {i} then\n    print "{w}"\nelse\n    print "{x}"\nendif',
    ),
    (
        "if-else-less",
        "control-flow",
        """Set {n} to {j}, print "{w}" if it is below {i} and "{x}" otherwise.
        Store {j} in {n} and print {w} if it is under {i}, else {x}.
        Put {j} in {n} and print "{w}" when it is less than {i}, otherwise "{x}".
        Let {n} be {j}. Show "{w}" if {n} is less than {i}, else "{x}".
        Write a program with {n} at {j} that prints {w} if it is below {i} and {x} if not.
        If {n}, which is {j}, is less than {i}, print "{w}", otherwise "{x}".
        Please set {n} to {j} and show "{w}" if it is under {i}, else "{x}".""",
        '{n} = {j}\nif {n} < {i} then\n    print "{w}"\nelse\n    print "{x}"\nendif',
    ),
    (
        "len",
        "strings",
        """Store "{x}" in {s} and show its length.
        Set {s} to "{x}" and print its length.
        Put "{x}" in {s} and print how long it is.
        Assign "{x}" to {s} and print the number of characters.
        Print the length of {s}, which is "{x}".
        How many characters does {s} have? It is "{x}".
        Keep "{x}" in {s} and show the number of characters in {s}.
        Let {s} be "{x}" and display how many characters it has.
        Write a program that prints the length of the string {s}, "{x}".""",
        '{s} = "{x}"\nprint len({s})',
    ),
    (
        "upper",
        "strings",
        """Store "{w}" in {s} and print it in upper case.
        Set {s} to "{w}" and show it in upper case.
        Put "{w}" in {s} and print it in capital letters.
        Convert the string {s}, which is "{w}", to upper case and print it.
        Print {s} in capitals. It is "{w}".
        Assign "{w}" to {s} and display it in capitals.
        Keep "{w}" in {s} and show it in capital letters.
        Let {s} be "{w}" and print it in upper case, please.
        Write a BBj program that shows {s}, "{w}", in upper case.""",
        '{s} = "{w}"\nprint cvs({s}, 4)',
    ),
    (
        "lower",
        "strings",
        """Store "{x}" in {s} and print it in lower case.
        Set {s} to "{x}" and show it in lower case.
        Put "{x}" in {s} and print it in small letters.
        Convert the string {s}, which is "{x}", to lower case and print it.
        Print {s} in small letters. It is "{x}".
        Assign "{x}" to {s} and display it in lower case.
        Keep "{x}" in {s} and show it in small letters.
        Let {s} be "{x}" and print it in lower case, please.
        Write a BBj program that shows {s}, "{x}", in lower case.""",
        '{s} = "{x}"\nprint cvs({s}, 8)',
    ),
    (
        "substring",
        "strings",
        """Store "{x}" in {s} and print {d} characters from position {e}.
        Set {s} to "{x}" and show {d} characters from position {e}.
        Put "{x}" in {s} and print {d} characters of it, starting at {e}.
        Print {d} characters of {s} from position {e}. It is "{x}".
        Let {s} be "{x}" and print {d} characters, starting at position {e}.
        Keep "{x}" in {s} and display {d} characters of it from position {e}.
        Assign "{x}" to {s} and show {d} characters starting at position {e}.
        Take {d} characters of {s}, which is "{x}", from position {e} and print them.""",
        '{s} = "{x}"\nprint {s}({e}, {d})',
    ),
    (
        "pos",
        "strings",
        """Store "{x}" in {s} and print the position of "{y}" in it.
        Set {s} to "{x}" and print the position of "{y}".
        Put "{x}" in {s} and find the position of "{y}" in it.
        Let {s} be "{x}" and print where "{y}" stands in it.
        Find "{y}" in {s}, which is "{x}", and print the position.
        Keep "{x}" in {s} and show where "{y}" is.
        Print the position of "{y}" in {s}. It is "{x}".
        Where does "{y}" stand in {s}? Set it to "{x}" and print the position.
        Assign "{x}" to {s} and show the place of "{y}" in it.""",
        '{s} = "{x}"\nprint pos("{y}" = {s})',
    ),
    (
        "str",
        "numbers",
        """Set {n} to {i}, turn it into the string {s} and print {s}.
        Store {i} in {n}, convert it to a string in {s} and print it.
        Convert the number {n}, which is {i}, to the string {s} and show it.
        Turn {n}, the number {i}, into text as {s} and print {s}.
        Put {i} in {n}, turn it into a string {s} and show that.
        Let {n} be {i}. Convert it to text in {s} and display {s}.
        Keep {i} in {n}, make a string {s} of it and print it.
        Write a program that converts the number {i} in {n} to a string {s} and prints {s}.""",
        "{n} = {i}\n{s} = str({n})\nprint {s}",
    ),
    (
        "num",
        "numbers",
        """Set {s} to "{i}", turn it into the number {n} and print {n}.
        Store "{i}" in {s}, convert it to a number in {n} and show it.
        Convert the text {s}, which is "{i}", to the number {n} and print it.
        Turn {s}, the text "{i}", into a number as {n} and print {n}.
        Put "{i}" in {s}, turn it into a number {n} and show that.
        Let {s} be "{i}". Convert it to a number in {n} and display {n}.
        Keep "{i}" in {s}, make a number {n} of it and print it.
        Write a program that converts the text "{i}" in {s} to the number {n} and prints {n}.""",
        '{s} = "{i}"\n{n} = num({s})\nprint {n}',
    ),
    (
        "mod",
        "numbers",
        """Store the remainder of {i} divided by {d} in {n} and print it.
        Print the remainder of {i} and {d}, kept in {n}.
        Calculate {i} modulo {d}, save it in {n} and show it.
        Let {n} be {i} modulo {d} and print {n}.
        Find the remainder when {i} is divided by {d}, put it in {n} and print it.
        Compute {i} modulo {d} in {n} and display {n}.
        Set {n} to the remainder of {i} divided by {d} and show it.
        What remains when {i} is divided by {d}? Store it in {n} and print it.""",
        "{n} = mod({i}, {d})\nprint {n}",
    ),
    (
        "int",
        "numbers",
        """Store the integer part of {i}.{j} in {n} and print it.
        Set {n} to the whole part of {i}.{j} and print {n}.
        Put the whole part of {i}.{j} into {n} and show it.
        Let {n} be the integer part of {i}.{j} and display it.
        Cut off the decimals of {i}.{j}, keep it in {n} and print it.
        Calculate the integer part of {i}.{j} in {n} and show {n}.
        Use INT on {i}.{j}, store it in {n} and print {n}.""",
        "{n} = int({i}.{j})\nprint {n}",
    ),
    (
        "abs",
        "numbers",
        """Store the absolute value of -{i} in {n} and print it.
        Set {n} to the absolute value of -{i} and show it.
        Put the absolute value of -{i} into {n} and print {n}.
        Let {n} be the absolute value of -{i} and display it.
        Calculate ABS of -{i} in {n} and print it.
        Use ABS on -{i}, keep it in {n} and show {n}.
        Take -{i} without its sign, save it in {n} and print it.""",
        "{n} = abs(-{i})\nprint {n}",
    ),
    (
        "dim",
        "collections",
        """Create an array {n} with {i} elements, set element {d} to {j} and show it.
        Dimension an array {n} of {i} elements, put {j} in element {d} and print it.
        Make an array {n} of size {i}, store {j} at index {d} and print that element.
        I need an array {n} with {i} elements. Set element {d} to {j} and print it.
        Declare {n} as an array of {i} elements, put {j} at index {d} and display it.
        Use DIM for an array {n} of size {i}, set element {d} to {j} and print that.
        Write a program with an array {n} of {i} elements that stores {j} in element {d} and shows it.
        Please create an array {n} of size {i}. Put {j} in element {d} and show that element.""",
        "dim {n}[{i}]\n{n}[{d}] = {j}\nprint {n}[{d}]",
    ),
    (
        "gosub",
        "control-flow",
        """Write a subroutine {k} that prints "{q}" and call it.
        Call a subroutine called {k} that prints "{q}".
        Use GOSUB to call {k}, which shows "{q}".
        Make a subroutine named {k} that shows "{q}" and call it.
        Call {k} with GOSUB. It prints "{q}".
        I want a subroutine {k} that displays "{q}". Call it.
        The subroutine {k} prints "{q}". Write and call it.
        How do I call a subroutine named {k} that prints "{q}"?
        Please write a BBj subroutine called {k} which prints "{q}" and call it.""",
        'gosub {k}\nend\n{k}:\n    print "{q}"\nreturn',
    ),
    (
        "read-file",
        "file-io",
        """Open the file "{f}" on channel {c}, read a record into {s} and show it.
        Read a record from the file "{f}" on channel {c} into {s} and print it.
        Open "{f}" on channel {c}, read one record into {s} and print {s}.
        Write a program that reads a record of {f} on channel {c} into {s} and prints it.
        Read {s} from the file {f} on channel {c} and display it.
        Use channel {c} to read a record from {f} into {s}, then print it.
        How do I open {f} on channel {c}, read a record into {s} and print it?
        Please read one record from "{f}" into {s} on channel {c} and show {s}.""",
        'open ({c}) "{f}"\nread record ({c}) {s}\nprint {s}\nclose ({c})',
    ),
    (
        "write-file",
        "file-io",
        """Set {s} to "{q}" and write it to the file {f} on channel {c}.
        Write "{q}" from {s} to the file "{f}" on channel {c}.
        Put "{q}" in {s} and write it to "{f}" on channel {c}.
        Store "{q}" in {s}, then write it to the file {f} on channel {c}.
        Let {s} be "{q}" and write a record to {f} on channel {c}.
        Open {f} on channel {c} and write {s} to it, which is "{q}".
        Keep "{q}" in {s} and write the record to "{f}" on channel {c}.
        Please write {s}, "{q}", to the file "{f}" on channel {c}.
        Write a BBj program that writes {s}, which holds "{q}", to {f} on channel {c}.""",
        '{s} = "{q}"\nopen ({c}) "{f}"\nwrite record ({c}) {s}\nclose ({c})',
    ),
    (
        "input",
        "console",
        """Ask the user for {s} and show it.
        Read {s} from the keyboard and print it.
        Let the user enter {s} and print it.
        Write a program that asks for {s} and prints it.
        Get {s} from the user and display it.
        Use INPUT to read {s} and print {s}.
        I want the user to type {s}. Show it.
        Please ask for {s} and print what was entered.
        Prompt the user for {s}, then print it.
        How do I let the user enter {s} and show it?""",
        'input "{r}: ", {s}\nprint {s}',
    ),
    (
        "increment",
        "numbers",
        """Set {n} to {i}, add {d} to it and show it.
        Store {i} in {n}, increase it by {d} and print it.
        Let {n} be {i}, raise it by {d} and print {n}.
        Put {i} in {n}, add {d} and print it.
        Start with {n} at {i}, add {d} to {n} and show it.
        {n} is {i}. Increase it by {d} and print {n}.
        Write BBj code that sets {n} to {i}, adds {d} to it and prints it.
        Make {n} equal to {i}, then increase {n} by {d} and show it.""",
        "{n} = {i}\n{n} = {n} + {d}\nprint {n}",
    ),
]

FACTS = {
    "LEN": "LEN returns the number of characters in a string.",
    "MOD": "MOD returns the remainder of a division.",
    "ABS": "ABS returns the absolute value of a number.",
    "POS": "POS returns the position of one string in another, or 0.",
    "STR": "STR converts a number to a string.",
    "NUM": "NUM converts a string to a number.",
    "INT": "INT returns the whole part of a number.",
    "ASC": "ASC returns the code of the first character of a string.",
    "CHR": "CHR returns the character of a code.",
}
QUESTIONS = """\
What does {F} return?
What does the function {F} do?
What is the {F} function for?
Explain {F}.
What is {F} in BBj?
What does {F} do in BBj?
What is the purpose of {F}?
What do I get from the function {F}?
Which value does {F} return?
Tell me what {F} does.
What result does {F} give?
Describe the {F} function of BBj.
What is returned by the {F} function in BBj?
Which conversion or calculation does {F} do?"""


def rows() -> Iterator[dict[str, Any]]:
    """The rows, in order."""
    writer, taken = Writer(SEED), suite_names()
    for kind, topic, phrasings, program in PROGRAMS:
        asked = [line.strip() for line in phrasings.splitlines()]
        for number in range(ROWS):
            while True:
                question, code = fill(writer, asked[number % len(asked)], program)
                if not check(code) and not names(code) & taken:
                    break
            yield _row(f"starter-{kind}-{number + 1:03}", topic, kind, question, f"```bbj\n{code}\n```")
    for name, answer in FACTS.items():
        for number, line in enumerate(QUESTIONS.splitlines(), 1):
            yield _row(f"starter-fact-{name.lower()}-{number:03}", "functions", "fact", line.format(F=name), answer)


def fill(writer: Writer, question: str, program: str) -> tuple[str, str]:
    """Question and program with the same values. `{y}` is a part of `{x}`, `{r}` is `{s}` without its `$`."""
    values = writer.values(question.replace("{y}", "") + program.replace("{y}", "").replace("{r}", ""))
    if "x" in values:
        at = writer.below(max(1, len(values["x"]) - 2))
        values["y"] = values["x"][at : at + 1 + writer.below(3)]
        if "{w}" in program and writer.below(2):
            values["x"] = values["x"].lower()
    if "s" in values:
        values["r"] = values["s"].removesuffix("$")
    question, code = (re.sub(r"\{([a-z])\}", lambda slot: values[slot[1]], text) for text in (question, program))
    return question, code


def names(code: str) -> set[str]:
    """The names of variables and labels in a program, without their suffix."""
    return set(re.findall(r"[a-z_][a-z0-9_]*", re.sub(r'"[^"]*"', "", code.lower()))) - _KEYWORDS


def suite_names() -> set[str]:
    """The names in the suite's programs: none of them may stand in the rows."""
    prompts = (json.loads(line) for line in (SUITE / "syntax.jsonl").read_text(encoding="utf-8").splitlines() if line)
    return set().union(*(names(prompt["reference"]) for prompt in prompts))


_KEYWORDS = frozenset(
    "abs cvs close dim else end endif for gosub if input int len mod next num open pos print read record return step "
    "str then to wend while write".split()
)


def _row(identifier: str, topic: str, kind: str, question: str, answer: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "topic": topic,
        "kind": "function-reference" if kind == "fact" else "code-generation",
        "generation": "all",
        "tags": ["starter", kind],
        "messages": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
    }


def lines() -> list[str]:
    """The rows as they stand in sample.jsonl."""
    return [json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows()]


if __name__ == "__main__":
    print("\n".join(lines()))
