"""The fixed corpus of the embedded models: short BBj programs and plain sentences about them, as raw text, no chat.

It is written by templates and a seeded generator rather than kept as a file, because variety of names and numbers is
what teaches a small model to copy instead of to recite. `random.Random.random` gives the same numbers on every Python;
the recipes pin the SHA-256 of the text. In templates, `[a|b]` is a choice, which may nest, and `{n}` is a slot: the
same slot has one value throughout a document.

Slots: n m k numeric names; s t string names; i j p numbers; d e small numbers; w x words; q phrase; c channel; f file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

DOCUMENTS = 9000
SEED = 7

NOUNS = """
account acre address age album amount angle apple april area arrow article author badge bag balance ball banana band
bank barrel basket battery beach bean bear bed bell bench bicycle bill bin bird board boat bonus book bottle bowl box
branch brand bread brick bridge brother bucket budget building bus button cabin cable cake calendar camera camp candle
capital captain car card carpet cart case castle cat cell chain chair chapter charge cheese chicken child circle city
class client clock cloud club coach coat code coffee coin color column copy corner cost count counter country county
course cow credit crew crown cup curve customer cycle daily data date day deck degree deposit depth desk diameter
discount distance district doctor dog dollar door dozen draft drawer dress driver duck edge egg employee energy engine
entry error euro evening event factor factory family farm farmer fee fence field figure file finger fire fish flag
flat floor flower food foot forest fork frame friend fruit fuel garden gas gate gift glass goal gold grade grain gram
grape grass gross group guard guest guide guitar hall hammer hand harbor hat head heart heat height hill horse hotel
hour house ice index inch income invoice iron island item jacket jar job journey judge juice kettle key king kitchen
knife label ladder lake lamp land lane language leaf lemon length letter level library light limit line lion list
liter load loan lock log loss lot lunch machine mail manager map margin mark market mass master match meal measure
meat member menu message metal meter middle mile milk mill minute mirror model money monkey month moon morning motor
mountain mouse movie music nail name nation needle net night nose note number nurse oak object ocean office oil onion
orange order output owner oxygen page paint pair palace paper parcel parent park part party path patient payment peach
pear pen pencil people pepper percent person phone photo piano picture piece pilot pipe place plan plane planet plant
plate player pocket poem point pool port position post potato pound power price prince product profit project quantity
queen question queue quota rabbit radio radius rain range rate ratio reader receipt record region rent report result
reward rice ring river road robot rock roof room root rope rose round route row rule salary sale salt sample sand
school score screen sea season seat second section seed serial series server share sheep sheet shelf ship shirt shoe
shop side signal silver sister size skin sky snow soap socket song sound soup space speed spoon sport spring square
staff stage stamp star state station status step stock stone store storm story street string student sugar suit sum
summer sun supplier surface table tank task tax taxi teacher team temperature tent term test text ticket tiger time
title tomato tool tooth total tower town toy track tractor trade train travel tree trip truck tube turn unit user
valley value van vector village violin visit voice volume wage wagon wall watch water wave week weight wheel width
wind window wine winner winter wire wolf wood word worker world yard year yield zebra zone
""".split()
TOWNS = """
Athens Berlin Bonn Boston Cairo Chicago Dallas Delhi Denver Dublin Geneva Hamburg Havana Lima Lisbon London Lyon
Madrid Miami Milan Munich Naples Nice Oslo Paris Porto Prague Rome Seattle Tokyo Turin Vienna Warsaw York Zurich Anna
Ben Clara David Emma Frank Grace Henry Ida Jack Karen Leo Maria Nina Oscar Paul Rosa Sam Tom Victor
""".split()
MORE = """
good morning hello welcome ready done finished open closed high low yes no ok new old big small fast slow warm cold
full empty late early red green blue black white first last next please try again thank you all right end of the is
are not found in stock on sale very nice to see today tomorrow
""".split()
SYLLABLES = """
ba be bo ca co da de di do fa fi ga go ha he ka ki la le li lo ma me mi mo na ne no pa pe po ra re ri ro sa se si so
ta te ti to va ve vi wa we za zo bar cor den fer gal han jun kal len mar nor pel qui ras sol tan ur vin wil xen yo zil
an el in on ul st ar
""".split()

TEMPLATES = (
    "[rem|rem :|rem now] [set|put|store] {n} [to|as|with the number] {i}\n{n} = {i}\nprint {n}",
    "rem [the variable {n} gets the value {i}|assign {i} to {n}|{i} goes into {n}|let {n} be {i}]\n{n} = {i}\nprint {n}",
    "{n} = {i}\nprint {n}\n{m} = {j}\nprint {m}\nprint {n}",
    "rem [add|the sum of] {i} and {j}[|, kept in {n}]\n{n} = {i} + {j}\nprint {n}",
    "rem [subtract {j} from {i}|{i} minus {j}|take {j} away from {i}]\n{n} = {i} - {j}\nprint {n}",
    "rem [multiply {i} by {j}|{i} times {j}|the product of {i} and {j}]\n{n} = {i} * {j}\nprint {n}",
    "rem [divide {i} by {j}|{i} divided by {j}|the quotient of {i} and {j}]\n{n} = {i} / {j}\nprint {n}",
    'rem [store the text|put the string] "{q}" in {s}\n{s} = "{q}"\nprint {s}',
    'rem [the string variable {s} holds|{s} is the word] "{x}"\n{s} = "{x}"\nprint {s}',
    '{s} = "{q}"\n{t} = "{x}"\nprint {s}\nprint {t}\nprint {s}, " ", {t}',
    "rem [count|loop|run|step] {n} from {d} to {i}\nfor {n} = {d} to {i}\n    print {n}\nnext {n}",
    "rem [print|show] the numbers {d} to {i}[ with {n} as counter|, counter {n}|]\nfor {n} = {d} to {i}\n    print {n}\n"
    "next {n}",
    "rem every {e} from {d} to {i}\nfor {n} = {d} to {i} step {e}\n    print {n}\nnext {n}",
    "rem [repeat|loop] while {n} is [below|less than|under] {i}\n{n} = {d}\nwhile {n} < {i}\n    print {n}\n"
    "    {n} = {n} + 1\nwend",
    "rem [repeat|loop] until {n} is [above|greater than] {i}\n{n} = {d}\nrepeat\n    print {n}\n    {n} = {n} + 1\n"
    "until {n} > {i}",
    "rem [is|check whether|test if] {n} is [above|greater than|more than] {i}\n{n} = {j}\nif {n} > {i} then\n"
    '    print "{w}"\nendif',
    "rem [is|check whether|test if] {n} is [below|less than|under] {i}\n{n} = {j}\nif {n} < {i} then\n"
    '    print "{w}"\nelse\n    print "{x}"\nendif',
    'rem when {n} [equals|is equal to|is] {i}\n{n} = {j}\nif {n} = {i} then\n    print "{w}"\nendif',
    'rem the [length of|number of characters in] {s}\n{s} = "{x}"\nprint len({s})',
    'rem how long is [{s}|the text {s}]\n{s} = "{q}"\n{n} = len({s})\nprint {n}',
    'rem [upper case|capital letters|make {s} upper case]\n{s} = "{w}"\nprint cvs({s}, 4)',
    'rem [lower case|small letters|make {s} lower case]\n{s} = "{x}"\nprint cvs({s}, 8)',
    'rem [{d} characters|a part] of {s} from position {e}\n{s} = "{q}"\nprint mid({s}, {e}, {d})',
    'rem [where is|find|the position of] "{w}" in {s}\n{s} = "{q}"\nprint pos("{w}" = {s})',
    "rem [convert {n} to text|turn the number {n} into a string]\n{n} = {i}\n{s} = str({n})\nprint {s}",
    'rem [convert {s} to a number|turn the text {s} into a number]\n{s} = "{i}"\n{n} = num({s})\nprint {n}',
    "rem [the remainder of {i} divided by {d}|{i} modulo {d}]\n{n} = mod({i}, {d})\nprint {n}",
    "rem [the whole part|the integer part] of {i}.{d}\n{n} = int({i}.{d})\nprint {n}",
    "rem [the absolute value of|without the sign] -{i}\n{n} = abs(-{i})\nprint {n}",
    "rem [an array|a list] {n} with {i} [elements|places]\ndim {n}[{i}]\n{n}[{d}] = {j}\nprint {n}[{d}]",
    "rem [call|use|jump to] the subroutine {k}\ngosub {k}\nend\n\n{k}:\n    print {i}\nreturn",
    "rem the subroutine {k} sets {n}\ngosub {k}\nprint {n}\nend\n{k}:\n    {n} = {i}\nreturn",
    'rem [read a record from|read] the file {f} on channel {c}\nopen ({c}) "{f}"\nread record ({c}) {s}\nprint {s}\n'
    "close ({c})",
    'rem [write a record to|write to] the file {f} on channel {c}\nopen ({c}) "{f}"\n{s} = "{q}"\n'
    "write record ({c}) {s}\nclose ({c})",
    'rem [ask the user for|read from the keyboard] {s}\ninput "{x}: ", {s}\nprint {s}',
    "rem [ask the user for a number|the number {n} comes from the user]\ninput {n}\nprint {n}",
    "rem [a function that doubles|a function for] {n}\ndef fn{k}({n}) = {n} * {d}\nprint fn{k}({i})",
    "rem [add {d} to {n}|raise {n} by {d}|increase {n} by {d}]\n{n} = {i}\n{n} = {n} + {d}\nprint {n}",
    "rem [swap|exchange] {n} and {m}\n{k} = {n}\n{n} = {m}\n{m} = {k}\nprint {n}, {m}",
    'rem [join|put together] {s} and {t}\n{s} = "{w}"\n{t} = "{x}"\nprint {s} + {t}',
    "[The|A] [variable|name|counter] {n} [holds|has|keeps|stores] the [value|number] {i}[.|, and {m} holds {j}.]",
    "A [program|piece of code|short program] [can|may|should] [print|show|display] {n}[, {m}|] and {k}.",
    "Use [print|the print statement] to [show|display|output] the [text|value|number|result] of {n}.",
    "A [for loop|loop] with the [counter|variable] {n} [runs|goes|counts] from {d} [to|up to] {i}.",
    "The [string|text|word] {s} [holds|contains|is] {x}. [Write|Create|Make] {s} and print its length.",
    "BBj [is|remains] a Business BASIC language. A name that ends in a dollar sign, like {s}, is a string.",
    "[Write|Show|Give] [me |]a [small |short |]program that [stores|puts|assigns] {i} [in|to] a variable "
    "[called|named] {n} and [then |]prints it.",
    "[How do I|How can I|How would you] [read|open|write] [a|the] file {f} on channel {c}? [Open|Read] it, then close it.",
    "[Calculate|Compute|Work out] the [sum|difference|product|remainder] of {i} and {j} and keep the result in {n}.",
    "[Check|Test|Decide] [if|whether] {n} is [greater|less|more|larger|smaller] than {i} and [print|display] {w}.",
    "An array {n} has {i} elements; [element|place|index] {d} [is set to|gets|becomes] {j}.",
    "[Define|Declare|Make] a [function|subroutine] [called|named] {k} that [returns|prints] [the value of |]{n}.",
    "[Convert|Change|Turn] the [text|string|number] {s} [to|into] [a number|a string|upper case|lower case|letters].",
    "[While|As long as|Until] {n} [is|stays] [below|under|above|over] {i}, [print|display] it and [add|count] {d}.",
)

_SLOT = re.compile(r"\{([a-z])\}")
_CHOICE = re.compile(r"\[([^\[\]\n]*\|[^\[\]\n]*)\]")


class Writer:
    """Documents and values of slots, all from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        return int(self._random.random() * n)

    def one(self, items: Sequence[str]) -> str:
        """One of the items."""
        return items[self.below(len(items))]

    def word(self) -> str:
        """A noun, or a word that no language has: half of the names must be copied letter by letter."""
        if self.below(2):
            return self.one(NOUNS)
        return "".join(self.one(SYLLABLES) for _ in range(2 + self.below(2)))

    def name(self) -> str:
        """A name as programmers write them: one word mostly, at times two or with a digit."""
        shape, word = self.below(10), self.word()
        if shape == 0:
            return f"{word}_{self.word()}"
        if shape == 1:
            return f"{word}{self.word().capitalize()}"
        return f"{word}{self.below(10)}" if shape == 2 else word

    def value(self, slot: str) -> str:
        """What stands in a slot: see the module's docstring."""
        if slot in "nmk":
            return self.name()
        if slot in "st":
            return self.name() + "$"
        if slot in "ijp":
            return str(self.below((20, 100, 1000)[self.below(3)]) + 1)
        if slot in "de":
            return str(1 + self.below(9))
        if slot in "wx":
            word = self.one((self.one(MORE), self.word(), self.one(TOWNS)))
            return word if slot == "w" else word.capitalize()
        if slot == "q":
            words = " ".join(self.one((self.one(MORE), self.word(), self.one(TOWNS))) for _ in range(2 + self.below(2)))
            return self.one((words, words.capitalize()))
        return str(1 + self.below(20)) if slot == "c" else self.word() + self.one((".dat", ".txt", "", "s"))

    def document(self) -> str:
        """A template with its choices made and its slots filled."""
        text = self.choose(self.one(TEMPLATES))
        values = self.values(text)
        return _SLOT.sub(lambda match: values[match[1]], text)

    def choose(self, text: str) -> str:
        """The text with each `[a|b]` replaced by one of its parts."""
        while match := _CHOICE.search(text):
            text = text[: match.start()] + self.one(match[1].split("|")) + text[match.end() :]
        return text

    def values(self, text: str) -> dict[str, str]:
        """A value for each slot of the text, drawn in the order in which they first occur."""
        values: dict[str, str] = {}
        for slot in _SLOT.findall(text):
            if slot not in values:
                values[slot] = self.value(slot)
        return values


def text() -> str:
    """The corpus: documents separated by an empty line, about a megabyte."""
    writer = Writer(SEED)
    return "\n\n".join(writer.document().replace("\n\n", "\n") for _ in range(DOCUMENTS)) + "\n"
