"""Rows of a ChatML dataset in any number, for benchmarks: as long as a real one's, all different.

    python benchmarks/rows.py 9922 > rows.jsonl

Questions are built from many openings, tasks, things and circumstances, so that they share words and beginnings but
are rarely near-duplicates; no two are equal. Answers hold a program of random statements between two texts in 93.8 %
of the rows; their lengths are drawn around a median of 414 characters, to about 4,896. The programs make no sense,
but every statement has a shape that occurs in real ones, and one program in twenty has an error.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator

MEDIAN, SPREAD, SHORTEST, LONGEST = 414, 0.7, 60, 4800  # characters of an answer; SPREAD is a lognormal's sigma
WITH_CODE, WRONG = 0.938, 0.05  # shares of the rows
FRAME = 100  # characters of an answer, about, besides its sentences and the statements that fill it
SYSTEM = "You are an expert BBj programmer who helps users write and understand BBj code."

_OPENINGS = """How do I|How can I|What is the best way to|Can you show me how to|I need to|Write a BBj program to
Please explain how to|Is there a way to|In BBj, how would I|What is the simplest code to|Show me BBj code to
I'm trying to|We want to|Our old PRO/5 code has to|Help me|Give me an example of how to|Which verbs do I use to
My program must|Could you write a routine to|How should a beginner|What do I have to write to|Is it possible to
When a user presses a button, how do I|During the nightly batch we|A colleague asked me to|I would like to"""
_TASKS = """open|read|write|close|sort|search|filter|validate|format|convert|print|display|update|delete|copy|merge
export|import|lock|release|count|sum up|compare|split|join|parse|encode|decode|round|translate|cache|log|replace
rename|archive|group|list|load|store|refresh|resize|hide|enable|disable|reverse|shorten|align|pad|trim|extract"""
_ADJECTIVES = """new|old|sorted|empty|large|hidden|locked|temporary|numeric|formatted|multi-line|keyed|indexed|shared
remote|read-only|duplicate|monthly|unpaid|archived|selected|damaged|compressed|nested|foreign|cancelled|pending"""
_THINGS = """customer records|order lines|an MKEYED file|an XKEYED file|a string file|a direct file|invoice numbers
a grid column|a list box|an edit control|a window title|a child window|a menu bar|a tool button|an HTML view
a date string|Julian dates|currency amounts|a string template|a numeric array|a string array|a Java HashMap
a BBjVector|a result set|an SQL query|a prepared statement|a stored procedure|a JSON document|an XML file
a CSV line|a hex string|a bit mask|a printer channel|a PDF report|a socket connection|a background task
a client timer|an event queue|a callback routine|a public program|a class field|a private method|an interface
a custom object|a configuration file|an environment variable|the global string table|the terminal size
a record number|the next free channel|a primary key|a phone number|a postal code|a warehouse location|stock levels
a price list|tax rates|delivery notes|a shopping basket|a user session|password hashes|a web service reply"""
_DETAILS = """without losing the file pointer|when the key is missing|if two users do it at once|by the second key
with a mask of two decimals|in a single pass|inside a FOR loop|with ERR= and a label|with SETERR and RETRY
before the window is shown|after the last record|from a CALLed program|in reverse order|only for the current year
for every department|with READ RECORD and a template|as fast as possible|without a temporary file|in the DWC client
on a character terminal|through a BBjAPI() object|in Visual PRO/5 style|so that it still works in PRO/5
while another process writes to it|with at most a hundred lines of memory|and tell the user what went wrong
and leave the original as it was|for names with umlauts|where some fields are empty|using POS and a delimiter
using a USE statement and Java classes|in thousands of rows|with a progress bar|and undo it if something fails"""
_CLOSINGS = """?| in BBj?|, please?|? Thanks.| in current BBj versions?|? An example with comments would help.
 and why?| with as little code as possible?|? I keep getting an error 11.|? The manual is not clear to me.
 in BBj 23?|? We use BBj on Linux.| on Windows and Linux?|, and what are the pitfalls?|? Short answer is fine."""
_SENTENCES = """The channel is opened once and closed when the work is done.|Every branch ends at a label of its own.
A mask decides how many digits are shown.|The template keeps the fields in one string.|Strings are counted from 1.
Nothing is written before the check has passed.|The loop leaves at the end of the file, because of the END= option.
The object is released when the variable is cleared.|An error goes to the label behind ERR=.
The key is padded with blanks to its full length.|This works in PRO/5 as well.|Dates are kept as Julian day numbers.
The callback runs in the event loop of the program.|Use a variable for the channel, never a fixed number.
The result is numeric, so STR() is needed to print it.|The method returns an object, so its variable ends in a mark."""
_NAMES = """total count row_no price amount index limit width days rate tax page size offset level quantity balance
stock year month first last step hits pos_no batch weight score factor share column depth age rest bonus"""
_TEXTS = """name$ city$ line$ key$ rec$ path$ title$ code$ buffer$ answer$ label$ word$ field$ date$ text$ reply$ note$
street$ phone$ unit$ item$ group$ header$ footer$ state$ token$ value$ entry$ prefix$ mark$"""
_OBJECTS = """window! button! grid! list! vector! map! api! event! file! table! form! user! order! result! menu! row!
client! session! thread! cache! store! view! icon! font! color!"""
_WORDS = """invoice customer Hamburg warehouse ready paid open closed north south urgent draft final report stock
Miller Schmidt backup total export import yes no pending archive summer winter blue green pump valve motor"""

_STATEMENTS = """{n} = {n} + {i} * ({n} - {i})
{s} = "{w} {w}" + str({n}:"###,##0.00")
print "{w}: ",{s}," {w} ",{n}
let {n} = {i}, {s} = {s} + "{w}"
if {n} > {i} then print "{w} {w}" else {n} = {n} - 1
for {n} = 1 to {i}; print {n},{s}; next {n}
{s} = cvs({s},{i}) + fill({i},"*")
rem {w} {w} {w}: {w} {w}
{n} = pos("{w}" = {s},1,{i})
{n} = num({s},err=*next)
{o} = new java.util.HashMap()
{o}.put("{w}",{s})
{o} = bbjapi().getSysGui().addWindow({i},{i},{i},{i},"{w} {w}",$00090002$)
{o}.setText("{w} " + {s})
dim {s}:"NAME:C({i}),CITY:C({i}*),AMOUNT:N({i}*=10)"
{n} = dec({s}({n},{i}))
while {n} < {i}; {n} = {n} + len({s}); wend
{s} = date(0:"%Dz.%Mz.%Yl") + " {w}"
if len({s}) = 0 then {s} = "{w}"
read record(chan,key="{w}",err=*next) {s}
write record(chan) {s}
print (chan) {s},'lf',str({n})
{o} = cast(java.util.ArrayList,{o}.get({i}))
switch {n}; case {i}; print "{w}"; break; swend
{s} = {s}({i},{i}) + hta("{w}") + $0d0a$"""
_WRONG = """print ("{w}",{n}
if {n} = then print {s}
{s} = {n} + {i}
goto nowhere_{i}
{n} = strlen({s})"""


def _words(text: str) -> list[str]:
    return text.split()


def _choices(text: str) -> list[str]:
    """The phrases of a text, with bars or line ends between."""
    return [phrase for line in text.split("\n") for phrase in line.split("|") if phrase]


_PARTS = [_choices(text) for text in (_OPENINGS, _TASKS, _ADJECTIVES, _THINGS, _DETAILS, _CLOSINGS)]
_SLOTS = {"n": _words(_NAMES), "s": _words(_TEXTS), "o": _words(_OBJECTS), "w": _words(_WORDS)}
_LINES, _WRONG_LINES, _PROSE = _STATEMENTS.split("\n"), _WRONG.split("\n"), _choices(_SENTENCES)


def question(draw: random.Random) -> str:
    """One question, of 30 to about 200 characters."""
    opening, task, adjective, thing, detail, closing = (draw.choice(part) for part in _PARTS)
    if thing.startswith(("a ", "an ")) and draw.random() < 0.5:
        thing = f"a {adjective} {thing.split(' ', 1)[1]}"
    other = f" and {draw.choice(_PARTS[1])} {draw.choice(_PARTS[3])}" if draw.random() < 0.35 else ""
    where = f" {detail}" if draw.random() < 0.8 else ""
    code = f" called {draw.choice(_SLOTS['w']).lower()}{draw.randrange(1000)}" if draw.random() < 0.3 else ""
    return f"{opening} {task} {thing}{code}{other}{where}{closing}"


def filled(template: str, draw: random.Random) -> str:
    """The template with a name, a text or a number in each slot."""
    parts = template.split("{")
    found = [parts[0]]
    for part in parts[1:]:
        slot, rest = part.split("}", 1)
        found += [str(draw.randrange(1, 100)) if slot == "i" else draw.choice(_SLOTS[slot]), rest]
    return "".join(found)


def program(draw: random.Random, size: int) -> str:
    """A program of about `size` characters."""
    lines = [f'chan = unt; open (chan,err=failed) "{draw.choice(_SLOTS["w"])}{draw.randrange(1000)}.dat"']
    length = len(lines[0])
    while length < size:
        lines.append(filled(draw.choice(_LINES), draw))
        length += len(lines[-1]) + 1
    if draw.random() < WRONG:
        lines.insert(draw.randrange(1, len(lines) + 1), filled(draw.choice(_WRONG_LINES), draw))
    return "\n".join([*lines, "close (chan)", "end", "failed:", f'print "{draw.choice(_SLOTS["w"])}",err', "end"])


def answer(draw: random.Random) -> str:
    """An answer of a length drawn around MEDIAN."""
    size = min(max(round(MEDIAN * math.exp(draw.gauss(0, SPREAD))), SHORTEST), LONGEST)
    first, last = (" ".join(draw.sample(_PROSE, 1 + (size > MEDIAN))) for _ in range(2))
    if draw.random() >= WITH_CODE:
        texts = [first]
        while sum(map(len, texts)) < size:
            texts.append(draw.choice(_PROSE))
        return " ".join(texts)[:LONGEST]
    code = program(draw, size - len(first) - len(last) - FRAME)
    return f"{first}\n\n```bbj\n{code}\n```\n\n{last}"


def rows(count: int, seed: int = 1) -> Iterator[str]:
    """`count` lines of JSON without their line ends, the same for the same seed."""
    draw = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        asked = question(draw)
        if asked in seen:
            continue
        seen.add(asked)
        messages = [("system", SYSTEM), ("user", asked), ("assistant", answer(draw))]
        row = {"id": f"row-{len(seen)}", "messages": [{"role": role, "content": text} for role, text in messages]}
        yield json.dumps(row, ensure_ascii=False)


if __name__ == "__main__":
    for line in rows(int(sys.argv[1])):
        print(line)
