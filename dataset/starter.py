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
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bbjspec.bbj.checker import check
from bbjspec.data.near import is_near
from bbjspec.data.rows import normalise
from bbjspec.embedded.corpus import Writer

ROWS = 15  # of each kind
FACT_ROWS = 3  # of each function
SEED = 11
SYSTEM = "You write BBj."  # short: a tiny model on a CPU pays for every token
SUITE = Path(__file__).parents[1] / "eval/prompts/starter"

# kind, topic, phrasings (one a line), program
PROGRAMS: list[tuple[str, str, str, str]] = [
    (
        "print",
        "console",
        """[Print|Show|Display|Output] [the text |]"{q}"[| on the screen].
        Write a [BBj |short |]program that [prints|shows|displays] "{q}".
        How [do|can] I [print|show|display] "{q}" in BBj?
        I want to see "{q}" on the screen.
        [Print|Show|Display] {q}[| on the screen].""",
        'print "{q}"',
    ),
    (
        "assign",
        "control-flow",
        """[Store|Put|Save|Keep] {i} [in|into] [the variable |]{n} and [print|show|display] [it|{n}][| on the screen].
        [Set|Initialise] {n} to {i} and [then |][print|show|display] [it|{n}].
        Write a [BBj |short |]program that [stores|puts|saves|keeps] {i} in {n} and [prints|shows|displays] it.
        [Create|Define|Declare|Make] a variable [called |named |]{n} [with the value|that holds|that contains] {i} and [print|show|display] it.
        [Make|Let] {n} [equal to|be] {i}[, then|. Then| and] [print|show|display] it.
        [Assign|Give] {i} to {n} and [show|print|display] [it|{n}].
        Give {n} the value {i}[, then| and] [print|show|display] [it|{n}].
        I [need|want|would like] a variable [called|named] {n} [that holds|that contains|with] {i}. [Print|Show|Display] it.
        [Can|Could] you [save|store|put] {i} [in|as] {n} and [print|show|display] it?
        Write [BBj code|code] that sets {n} to {i} and [prints|shows] [it|{n}].
        How do I [store|put|save] {i} in {n} and [print|show|display] it[| in BBj]?""",
        "{n} = {i}\nprint {n}",
    ),
    (
        "text",
        "strings",
        """[Store|Put|Save|Keep] [the text |the string |]"{q}" [in|into] {s} and [print|show|display] [it|{s}].
        [Set|Initialise] [the string |]{s} to "{q}"[, then| and] [print|show|display] [it|{s}].
        [Assign|Give] [the text |]"{q}" to {s}[, then| and] [print|show|display] it.
        Write [a BBj program|a program|BBj code|code] that [stores|keeps|puts|saves] "{q}" in {s} and [prints|shows|displays] it.
        [Make|Create] a string [variable |]{s} with the [text|value] "{q}" and [print|show] [it|{s}].
        I [need|want] {s} to hold "{q}". [Print|Show] it.
        How do I [store|put|save] "{q}" in {s} and [print|show] it?
        Let {s} be "{q}" and [show|print|display] [it|{s}].
        [Can|Could] you [assign|put|store] "{q}" [to|in] {s} and [print|display|show] it?""",
        '{s} = "{q}"\nprint {s}',
    ),
    (
        "add",
        "numbers",
        """Add {j} [and|to] {i}, [save|store|keep|put] the [result|sum] in {n} and [print|show|display] [it|{n}].
        [Store|Save|Keep|Put] the sum of {j} and {i} in {n} and [print|show|display] it.
        [Calculate|Compute|Work out] {j} plus {i}, [keep it|save it|put the result|store the result] in {n} and [print|show] [it|{n}].
        Write a [BBj |]program that adds {j} [and|to] {i}, [puts|stores|keeps] [it|the result] in {n} and [prints|shows] [it|{n}].
        [Let|Set] {n} [be|to] {j} plus {i} and [display|print|show] [it|{n}].
        How do I add {j} and {i}, [store|save] the result in {n} and [print|show] it?""",
        "{n} = {j} + {i}\nprint {n}",
    ),
    (
        "subtract",
        "numbers",
        """Subtract {i} from {j}, [store|save|keep|put] [it|the result] in {n} and [print|show|display] [it|{n}].
        [Calculate|Compute|Work out] {j} minus {i}, [keep it|save it|put the result] in {n} and [print|show] [it|{n}].
        Take {i} away from {j}, [keep|store] the result in {n} and print [it|{n}].
        [Store|Save|Keep] the difference of {j} and {i} in {n} and [display|print] it.
        Write [BBj code|a program|a BBj program] that subtracts {i} from {j}, [puts|keeps|stores] [it|the result] in {n} and [prints|shows] [it|{n}].
        [Let|Set] {n} [be|to] {j} minus {i} and [print|show] [it|{n}].
        How do I subtract {i} from {j}, [store|save] it in {n} and [print|show] it?""",
        "{n} = {j} - {i}\nprint {n}",
    ),
    (
        "multiply",
        "numbers",
        """Multiply {j} by {i}, [store|save|keep|put] [it|the result] [in|as] {n} and [print|show|display] [it|{n}].
        [Store|Save|Keep] the product of {j} and {i} in {n} and [show|print] it.
        [Calculate|Compute|Work out] {j} times {i}, [save it|keep it|put the result] in {n} and [print|show] [it|{n}].
        Write a [BBj |]program that multiplies {j} by {i}, [keeps|saves|puts] [it|the result] in {n} and [displays|prints] it.
        [Let|Set] {n} [be|to] {j} times {i} and [print|show] [it|{n}].
        Multiply {j} and {i}, [put|save] the result in {n}[, then| and] [print|show] it.
        How do I multiply {j} by {i} [in|into] {n} and [show|print] the result?""",
        "{n} = {j} * {i}\nprint {n}",
    ),
    (
        "divide",
        "numbers",
        """Divide {j} by {i}, [store|save|keep|put] [it|the result] [in|as] {n} and [print|show|display] [it|{n}].
        [Store|Save|Keep] the quotient of {j} and {i} in {n} and [show|print] it.
        [Calculate|Compute|Work out] {j} divided by {i}, [save it|keep it|put the result] in {n} and [print|show] [it|{n}].
        Write a [BBj |]program that divides {j} by {i}, [keeps|saves|puts] [it|the result] in {n} and [displays|prints] it.
        [Let|Set] {n} [be|to] {j} divided by {i} and [print|show] [it|{n}].
        [Can|Could] you divide {j} by {i}, save it as {n} and print [it|{n}]?
        How do I divide {j} by {i}, keep [it|the result] in {n} and [show|print] it?""",
        "{n} = {j} / {i}\nprint {n}",
    ),
    (
        "for",
        "control-flow",
        """[Loop|Count] {n} from {d} to {i} and [print|show|display] [it|each value|every number].
        Write a [for|FOR|BBj for] loop [with|over] {n} from {d} to {i} that [prints|shows] [it|{n}].
        Count from {d} to {i} [with|using] [the variable |]{n} and [show|print] [each number|it].
        [Print|Show] [all|the] numbers [from |]{d} to {i}[ with a loop over|, using|, with the counter|using a for loop with] {n}.
        Write a loop that [counts|takes] {n} from {d} to {i} and [prints|shows|displays] [every value|it].
        Use [FOR|a for loop] to count {n} from {d} to {i} and [print|show] [it|{n}].
        I [want|need] a [BBj |][for|] loop [over|with the counter|with] {n} that [runs|goes] from {d} to {i} and [displays|prints] it.
        Let {n} [run|go|count] from {d} to {i} and [print|show] it.
        How do I loop from {d} to {i} with [the variable |]{n} and [show|print] it?
        Make {n} go from {d} to {i} and [print|show] each value.""",
        "for {n} = {d} to {i}\n    print {n}\nnext {n}",
    ),
    (
        "for-plain",
        "control-flow",
        """[Print|Show|Display] the numbers [from |]{d} to {i}.
        Write a [for |]loop from {d} to {i}[| in BBj].
        Count from {d} to {i}[| and print it| and show each number].
        Loop from {d} to {i} and [print|show] [it|each value].
        How do I [count|loop] from {d} to {i}?""",
        "for i = {d} to {i}\n    print i\nnext i",
    ),
    (
        "for-step",
        "control-flow",
        """[Loop|Count] {n} from {d} to {i} [in steps of|by|step] {e} and [show|print|display] [it|{n}].
        Write a [for |FOR |BBj ]loop [with|over] {n} from {d} to {i} [step|in steps of|by] {e} [that prints|and print|which shows] [it|{n}].
        Print [every|the] [number|value] from {d} to {i} [by|in steps of] {e} with the counter {n}.
        Use FOR to count {n} from {d} to {i} [in steps of|by|step] {e}.
        Let {n} [run|go] from {d} to {i} [with|in] [step|steps of] {e} and [print|show] it.
        I need a loop with {n} from {d} to {i} [by steps of|by|step] {e} that [prints|shows] {n}.
        [Show|Display] {n} from {d} to {i}, step {e}.""",
        "for {n} = {d} to {i} step {e}\n    print {n}\nnext {n}",
    ),
    (
        "while",
        "control-flow",
        """Use a [while|WHILE] loop that starts {n} at {d} and [prints|shows] it while it is [below|less than|under] {i}.
        Write a [while|WHILE] loop[:| where] {n} starts at {d} and runs while it is [less than|below|under] {i}.
        Start {n} at {d} and [print|show|display] it [while|as long as] it is [less than|below|under] {i}[|, with WHILE|, with a while loop].
        [Print|Show] {n} from {d} as long as it is [less than|below|under] {i}[, with WHILE|, in a while loop|].
        While {n} is [under|below|less than] {i}, starting [from|at] {d}, [print|show] [it|{n}].
        Repeat while {n} is [below|less than|under] {i}, starting [at|from] {d}, and [print|show] [it|{n}].
        Write a while loop with {n} from {d} that [goes on|runs] while [it|{n}] is [below|less than|under] {i}.
        Begin with {n} at {d} and [show|print] it while it is [under|below|less than] {i}.
        I need a [BBj |]while loop [over|with] {n} from {d} [while|as long as] it is [less than|below] {i}.""",
        "{n} = {d}\nwhile {n} < {i}\n    print {n}\n    {n} = {n} + 1\nwend",
    ),
    (
        "if-greater",
        "control-flow",
        """Set {n} to {j} and [print|show|display] ["{w}"|{w}] [if|when] [it|{n}] is [above|greater than|more than|over] {i}.
        [Store|Put|Save] {j} [in|into] {n} and [print|show|display] ["{w}"|{w}] [if|when] [it|{n}] is [above|greater than|more than|over] {i}.
        Let {n} be {j} and [show|print] ["{w}"|{w}] [when|if] [it|{n}] is [above|greater than|more than|over] {i}.
        Write [a program|a BBj program|BBj code|code] that sets {n} to {j} and [prints|shows] "{w}" [if|when] [it|{n}] is [above|greater than|more than|over] {i}.
        If {n}, which is {j}, is [above|greater than|more than|over] {i}, [print|show] ["{w}"|{w}].
        [The variable |]{n} is {j}. [Print|Show] "{w}" [when|if] it is [above|greater than|more than|over] {i}.""",
        '{n} = {j}\nif {n} > {i} then\n    print "{w}"\nendif',
    ),
    (
        "if-less",
        "control-flow",
        """Set {n} to {j} and [print|show|display] ["{w}"|{w}] [if|when] [it|{n}] is [below|less than|under] {i}.
        [Store|Put|Save] {j} [in|into] {n} and [print|show|display] ["{w}"|{w}] [if|when] [it|{n}] is [below|less than|under] {i}.
        Let {n} be {j} and [show|print] ["{w}"|{w}] [when|if] [it|{n}] is [below|less than|under] {i}.
        Write [a program|a BBj program|BBj code|code] that sets {n} to {j} and [prints|shows] "{w}" [if|when] [it|{n}] is [below|less than|under] {i}.
        If {n}, which is {j}, is [below|less than|under] {i}, [print|show] ["{w}"|{w}].
        [The variable |]{n} is {j}. [Print|Show] "{w}" [when|if] it is [below|less than|under] {i}.""",
        '{n} = {j}\nif {n} < {i} then\n    print "{w}"\nendif',
    ),
    (
        "if-else-greater",
        "control-flow",
        """Set {n} to {j}, [print|show] "{w}" [if|when] [it|{n}] is [above|greater than|more than|over] {i} and "{x}" [otherwise|if not].
        [Store|Put|Save] {j} [in|into] {n} and [print|show] ["{w}"|{w}] [if|when] [it|{n}] is [above|greater than|more than|over] {i}, [else|otherwise] ["{x}"|{x}].
        Let {n} be {j}. [Show|Print] "{w}" [if|when] [it|{n}] is [above|greater than|more than|over] {i}, [else|otherwise] "{x}".
        Write a [BBj |]program with {n} at {j} that [prints|shows] ["{w}"|{w}] [if|when] it is [above|greater than|more than|over] {i} and ["{x}"|{x}] [if not|otherwise].
        If {n}, which is {j}, is [above|greater than|more than|over] {i}, [print|show] "{w}", [otherwise|else] "{x}".""",
        '{n} = {j}\nif {n} > {i} then\n    print "{w}"\nelse\n    print "{x}"\nendif',
    ),
    (
        "if-else-less",
        "control-flow",
        """Set {n} to {j}, [print|show] "{w}" [if|when] [it|{n}] is [below|less than|under] {i} and "{x}" [otherwise|if not].
        [Store|Put|Save] {j} [in|into] {n} and [print|show] ["{w}"|{w}] [if|when] [it|{n}] is [below|less than|under] {i}, [else|otherwise] ["{x}"|{x}].
        Let {n} be {j}. [Show|Print] "{w}" [if|when] [it|{n}] is [below|less than|under] {i}, [else|otherwise] "{x}".
        Write a [BBj |]program with {n} at {j} that [prints|shows] ["{w}"|{w}] [if|when] it is [below|less than|under] {i} and ["{x}"|{x}] [if not|otherwise].
        If {n}, which is {j}, is [below|less than|under] {i}, [print|show] "{w}", [otherwise|else] "{x}".""",
        '{n} = {j}\nif {n} < {i} then\n    print "{w}"\nelse\n    print "{x}"\nendif',
    ),
    (
        "len",
        "strings",
        """[Store|Put|Keep|Save] "{x}" in {s} and [show|print|display] its length.
        [Set|Initialise] {s} to "{x}" and [print|show] [its length|how long it is|the number of characters].
        [Put|Store|Save] "{x}" in {s} and [print|show] [how long it is|the number of characters in it].
        Assign "{x}" to {s} and [print|show] [the number of characters|its length].
        Print the length of {s}, which is "{x}".
        How many characters does {s} have? It is "{x}".
        Let {s} be "{x}" and [display|print] [how many characters it has|its length].
        Write [a program|BBj code] that [prints|shows] the length of [the string |]{s}, [which is |]"{x}".""",
        '{s} = "{x}"\nprint len({s})',
    ),
    (
        "upper",
        "strings",
        """[Store|Put|Keep|Save] "{w}" in {s} and [print|show|display] it in [upper case|capital letters|capitals|uppercase].
        [Set|Initialise] {s} to "{w}" and [show|print|display] it in [upper case|capital letters|capitals|uppercase].
        Convert [the string |]{s}, which is "{w}", to [upper case|capital letters|capitals|uppercase] and [print|show] it.
        [Print|Show] {s} in [upper case|capital letters|capitals|uppercase]. It is "{w}".
        Assign "{w}" to {s} and [display|print] it in [upper case|capital letters|capitals|uppercase].
        Let {s} be "{w}" and [print|show] it in [upper case|capital letters|capitals|uppercase].
        Write [a BBj program|code] that [shows|prints] {s}, [which is |]"{w}", in [upper case|capital letters|capitals|uppercase].""",
        '{s} = "{w}"\nprint cvs({s}, 4)',
    ),
    (
        "lower",
        "strings",
        """[Store|Put|Keep|Save] "{x}" in {s} and [print|show|display] it in [lower case|small letters|lowercase].
        [Set|Initialise] {s} to "{x}" and [show|print|display] it in [lower case|small letters|lowercase].
        Convert [the string |]{s}, which is "{x}", to [lower case|small letters|lowercase] and [print|show] it.
        [Print|Show] {s} in [lower case|small letters|lowercase]. It is "{x}".
        Assign "{x}" to {s} and [display|print] it in [lower case|small letters|lowercase].
        Let {s} be "{x}" and [print|show] it in [lower case|small letters|lowercase].
        Write [a BBj program|code] that [shows|prints] {s}, [which is |]"{x}", in [lower case|small letters|lowercase].""",
        '{s} = "{x}"\nprint cvs({s}, 8)',
    ),
    (
        "substring",
        "strings",
        """[Store|Put|Keep|Save] "{x}" in {s} and [print|show] {d} characters [from|of it from|starting at] position {e}.
        [Set|Initialise] {s} to "{x}" and [show|print] {d} characters [from position|of it from position|starting at position|starting at] {e}.
        [Put|Assign] "{x}" [in|to] {s} and [print|show] {d} characters of it, starting at [position |]{e}.
        [Print|Show] {d} characters of {s} from position {e}. It is "{x}".
        Let {s} be "{x}" and [print|show] {d} characters[, starting at position| from position] {e}.
        Take {d} characters of {s}, which is "{x}", from position {e} and print them.""",
        '{s} = "{x}"\nprint {s}({e}, {d})',
    ),
    (
        "pos",
        "strings",
        """[Store|Put|Keep|Save] "{x}" in {s} and [print|show|find] the position of "{y}"[| in it].
        [Set|Initialise] {s} to "{x}" and [print|find|show] [the position of "{y}"|where "{y}" is|where "{y}" stands][| in it].
        [Put|Assign] "{x}" [in|to] {s} and [find|show] the position of "{y}" in it.
        Let {s} be "{x}" and [print|show] where "{y}" [stands in it|is].
        Find "{y}" in {s}, which is "{x}", and [print|show] the position.
        [Print|Show] the position of "{y}" in {s}. It is "{x}".
        Where [does "{y}" stand|is "{y}"] in {s}? Set it to "{x}" and print the position.""",
        '{s} = "{x}"\nprint pos("{y}" = {s})',
    ),
    (
        "str",
        "numbers",
        """[Set|Initialise] {n} to {i}, [turn|convert] it [into|to] [the string|a string in|text in] {s} and [print|show] [it|{s}].
        [Store|Put|Keep|Save] {i} in {n}, [convert|turn] it [to|into] [a string|text] [in|as] {s} and [print|show] [it|that|{s}].
        [Convert|Turn] the number {n}, which is {i}, [to|into] [the string|text in] {s} and [show|print] it.
        [Turn|Convert] {n}, the number {i}, into [text as|the string] {s} and [print|show] {s}.
        Let {n} be {i}. [Convert|Turn] it [to|into] text in {s} and [display|print] {s}.
        [Turn|Convert] the number {i} in {n} [into|to] the string {s} and [print|show] it.
        Write a program that converts the number {i} in {n} to a string {s} and prints {s}.""",
        "{n} = {i}\n{s} = str({n})\nprint {s}",
    ),
    (
        "num",
        "numbers",
        """[Set|Initialise] {s} to "{i}", [turn|convert] it [into|to] [the number|a number in] {n} and [print|show] [it|{n}].
        [Store|Put|Keep|Save] "{i}" in {s}, [convert|turn] it [to|into] a number [in|as] {n} and [show|print] [it|that|{n}].
        [Convert|Turn] the [text|string] {s}, which is "{i}", [to|into] the number {n} and [print|show] it.
        [Turn|Convert] {s}, the text "{i}", into a number [as|in] {n} and [print|show] {n}.
        Let {s} be "{i}". [Convert|Turn] it [to|into] a number in {n} and [display|print] {n}.
        Write a program that converts the text "{i}" in {s} to the number {n} and prints {n}.""",
        '{s} = "{i}"\n{n} = num({s})\nprint {n}',
    ),
    (
        "mod",
        "numbers",
        """[Store|Save|Keep|Put] the remainder of {i} divided by {d} in {n} and [print|show] it.
        [Print|Show] the remainder of {i} and {d}, kept in {n}.
        [Calculate|Compute] {i} [modulo|mod] {d}, [save|keep|store] it in {n} and [show|print] [it|{n}].
        [Let|Set] {n} [be|to] {i} modulo {d} and [print|show] [it|{n}].
        [Find|Compute] the remainder when {i} is divided by {d}, [put|save] it in {n} and [print|show] it.
        [Compute|Calculate] the remainder of {i} [divided by|and] {d} in {n} and [display|print] [it|{n}].
        Set {n} to the remainder of {i} divided by {d} and [show|print] it.
        What [remains|is left] when {i} is divided by {d}? [Store|Save] it in {n} and print it.""",
        "{n} = mod({i}, {d})\nprint {n}",
    ),
    (
        "int",
        "numbers",
        """[Store|Save|Put|Keep] the [integer|whole] part of {i}.{j} [in|into] {n} and [print|show|display] it.
        Set {n} to the [whole|integer] part of {i}.{j} and [print|show] [it|{n}].
        Let {n} be the [integer|whole] part of {i}.{j} and [display|print] it.
        Cut off the decimals of {i}.{j}, keep it in {n} and print it.
        [Calculate|Compute] the integer part of {i}.{j} in {n} and [show|print] [it|{n}].
        Use INT on {i}.{j}, [store|keep] it in {n} and [print|show] [it|{n}].""",
        "{n} = int({i}.{j})\nprint {n}",
    ),
    (
        "abs",
        "numbers",
        """[Store|Save|Put|Keep] the absolute value of -{i} [in|into] {n} and [print|show|display] [it|{n}].
        Set {n} to the absolute value of -{i} and [show|print] [it|{n}].
        Let {n} be the absolute value of -{i} and [display|print] it.
        [Calculate|Compute] [ABS|the absolute value] of -{i} in {n} and print it.
        Use ABS on -{i}, [keep|save|store] it in {n} and [show|print] [it|{n}].
        Take -{i} without its sign, save it in {n} and print it.""",
        "{n} = abs(-{i})\nprint {n}",
    ),
    (
        "dim",
        "collections",
        """[Create|Make|Declare] an array {n} [with|of] {i} elements, [set element|put {j} in element|store {j} in element] {d}[ to {j}|] and [show|print] it.
        [Dimension|Declare|Make] an array {n} of [size {i}|{i} elements], [put|store] {j} [in element|at index] {d} and [print|show] [it|that element].
        I [need|want] an array {n} [with|of] {i} elements. [Set element {d} to {j}|Put {j} in element {d}|Store {j} at index {d}] and print [it|that element].
        Use DIM for an array {n} of size {i}, [set element {d} to {j}|put {j} in element {d}] and [print|show] that.
        Write a program with an array {n} of {i} elements that stores {j} in element {d} and [shows|prints] it.
        Create an array {n} of size {i}. [Put {j} in|Store {j} at] [element|index] {d} and [show|print] that element.""",
        "dim {n}[{i}]\n{n}[{d}] = {j}\nprint {n}[{d}]",
    ),
    (
        "gosub",
        "control-flow",
        """Write a subroutine [called |named |]{k} that [prints|shows|displays] "{q}" and call it.
        Call a subroutine [called|named] {k} that [prints|shows] "{q}".
        Use GOSUB to call [the subroutine |]{k}, which [shows|prints] "{q}".
        Make a subroutine [named|called] {k} that [shows|prints] "{q}" and call it.
        Call {k} with GOSUB. It [prints|shows] "{q}".
        I want a subroutine {k} that [displays|prints] "{q}". Call it.
        The subroutine {k} [prints|shows] "{q}". Write and call it.
        How do I call a subroutine [named|called] {k} that [prints|shows] "{q}"?""",
        'gosub {k}\nend\n{k}:\n    print "{q}"\nreturn',
    ),
    (
        "read-file",
        "file-io",
        """Open [the file |]["{f}"|{f}] on channel {c}, read [a|one] record into {s} and [show|print] [it|{s}].
        Read [a|one] record from [the file |]["{f}"|{f}] on channel {c} into {s} and [print|show] [it|{s}].
        Write a [BBj |]program that reads a record of {f} on channel {c} into {s} and [prints|shows] it.
        Write [BBj code|a program] that opens ["{f}"|{f}] on channel {c}, reads a record into {s} and [prints|shows] it.
        Read {s} from the file {f} on channel {c} and [display|print] it.
        Use channel {c} to read a record from {f} into {s}, then [print|show] it.
        How do I open {f} on channel {c}, read a record into {s} and [print|show] it?""",
        'open ({c}) "{f}"\nread record ({c}) {s}\nprint {s}\nclose ({c})',
    ),
    (
        "write-file",
        "file-io",
        """Set {s} to "{q}" and write [it|{s}] to [the file |]["{f}"|{f}] on channel {c}.
        Write "{q}" [from|using] {s} to [the file |]["{f}"|{f}] on channel {c}.
        Write "{q}" to [the file |]["{f}"|{f}] on channel {c} using {s}.
        [Put|Store|Keep|Save] "{q}" in {s}[ and|, then] write [it|that record|the record] to [the file |]["{f}"|{f}] on channel {c}.
        Let {s} be "{q}" and write [a record|it] to {f} on channel {c}.
        Open {f} on channel {c} and write {s} to it, which is "{q}".
        Write {s}, [which holds |]"{q}", to [the file |]["{f}"|{f}] on channel {c}.
        Write a [BBj |]program that writes {s}, which [holds|is] "{q}", to {f} on channel {c}.""",
        '{s} = "{q}"\nopen ({c}) "{f}"\nwrite record ({c}) {s}\nclose ({c})',
    ),
    (
        "input",
        "console",
        """Ask the user for {s} and [show|print|display] it.
        Read {s} from the keyboard and [print|show] it.
        Ask the user to [enter|type] {s} and [print|show] it.
        Let the user [enter|type] {s} and [print|show] it.
        Write [a program|code|BBj code] that asks for {s} and [prints|shows] it.
        Get {s} from the [user|keyboard] and [display|print] it.
        Use INPUT to read {s} and [print|show] [it|{s}].
        I want the user to [type|enter] {s}. [Show|Print] it.
        Prompt the user for {s}, then [print|show] it.
        Write code [to let the user|that lets the user] [enter|type] {s} and [print|prints] it.
        How do I let the user enter {s} and show it?""",
        'input "{r}: ", {s}\nprint {s}',
    ),
    (
        "increment",
        "numbers",
        """Set {n} to {i}, add {d} to it and [show|print|display] [it|{n}].
        [Store|Put|Save|Keep] {i} in {n}, [increase it by|add] {d}[| to it] and [print|show] [it|{n}].
        Let {n} be {i}, [raise|increase] it by {d} and [print|show] [it|{n}].
        Start with {n} at {i}, add {d} to [it|{n}] and [show|print] it.
        {n} is {i}. [Increase it by|Add] {d}[| to it] and print {n}.
        Write BBj code that sets {n} to {i}, adds {d} to it and [prints|shows] it.
        Make {n} equal to {i}, then increase [it|{n}] by {d} and show it.""",
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
    asked: list[str] = []  # no question is a near-duplicate of another
    for kind, topic, phrasings, program in PROGRAMS:
        lines = [line.strip() for line in phrasings.splitlines()]
        for number in range(ROWS):
            while True:
                question, code = fill(writer, opened(writer, writer.choose(lines[number % len(lines)])), program)
                if not check(code) and not names(code) & taken and _is_new(question, asked):
                    break
            asked.append(question)
            yield _row(f"starter-{kind}-{number + 1:03}", topic, kind, question, f"```bbj\n{code}\n```")
    wordings = QUESTIONS.splitlines()
    for place, (name, answer) in enumerate(FACTS.items()):
        turned = wordings[place * FACT_ROWS % len(wordings) :] + wordings
        new = (line.format(F=name) for line in turned if _is_new(line.format(F=name), asked))
        for number, question in enumerate(islice(new, FACT_ROWS), 1):
            asked.append(question)
            yield _row(f"starter-fact-{name.lower()}-{number:03}", "functions", "fact", question, answer)


def _is_new(question: str, asked: Sequence[str]) -> bool:
    return not any(other == question or is_near(normalise(other), normalise(question)) for other in asked)


def opened(writer: Writer, question: str) -> str:
    """A fifth of the orders opens with a few more words."""
    first = question.split(" ")[0]
    if not question.endswith(".") or first in ("I", "The") or first.startswith("{") or writer.below(5):
        return question
    return f"{writer.one(('Please', 'In BBj,', 'Now', 'With BBj,'))} {first.lower()}{question[len(first) :]}"


def fill(writer: Writer, question: str, program: str) -> tuple[str, str]:
    """Question and program with the same values. `{y}` is a part of `{x}`, `{r}` is `{s}` without its `$`."""
    values = writer.values(question.replace("{y}", "") + program.replace("{y}", "").replace("{r}", ""))
    if "n" in values and not writer.below(10):
        values["n"] = writer.one("abcdhkmnpqrtxyz")
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
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
    }


def lines() -> list[str]:
    """The rows as they stand in sample.jsonl."""
    return [json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows()]


if __name__ == "__main__":
    print("\n".join(lines()))
