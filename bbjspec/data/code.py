"""What looks like BBj code in what people and models write: of a line, of a fenced block, and in the middle of prose.

Built on the embedded checker and on signs of the language. English is the trap: `Input required`, `Run it` and `Stop`
are sound BBj. A line is therefore `SURE` code (it has a sign that prose has not), `LIKELY` (it may stand in code; it
counts beside sure lines), `ODD` (neither code nor prose; it counts between two lines of code) or `PROSE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

from bbjspec.bbj.checker import check
from bbjspec.bbj.extract import Fences, blocks, split_lines
from bbjspec.bbj.lexer import MEMBER, MNEMONIC, NAME, NUM, OP, REM, STR, Token, tokens
from bbjspec.bbj.tables import verbs

PROSE, ODD, LIKELY, SURE = 0, 1, 2, 3
BBJ_TAGS = frozenset({"bbj", "basic"})
TEXT_TAGS = frozenset({"text", "txt", "plaintext", "plain", "output", "console"})

_CONTEXT_RULES = frozenset(["undefined-label", "undefined-function", "static-field", "class-open", "else-line"])
"""Rules of the checker that need the rest of the program: they say nothing of one line."""
# Words that begin statements and are not in the table of verbs, or stand there under another name.
_OPENERS = frozenset(
    "else fi endif next until wend swend case fnend classend methodend interfaceend then default "
    "readrecord writerecord printrecord inputrecord extractrecord findrecord".split()
)
# Verbs that are no English words.
_TELLING = frozenset(
    "endif fi wend swend fnend classend methodend interfaceend methodret goto gosub exitto iolist mkeyed vkeyed xkeyed "
    "jkeyed initfile fileopt mkdir rmdir chdir setdrive sqlopen sqlprep sqlexec sqlset sqlcommit sqlrollback sqlclose "
    "xcall addr seterr setesc process_events remove_callback redim dread fnerr settime setterm settrace endtrace "
    "setopts xfile jerase jopen inpute inputn".split()
)
_ENDS_CODE = frozenset("end stop return bye release exit next wend endif fi swend fnend else break continue".split())
_MARKDOWN = re.compile(r"[ \t]*(?:#{1,6}[ \t]|[-*+][ \t]|\d+[.)](?:[ \t]|$)|>|\||\*\*|<[A-Za-z/!])")
_START = re.compile(
    r"[ \t]*(?P<number>[0-9]{1,5}[ \t]+)?(?:(?P<label>[A-Za-z_]\w*)[ \t]*:(?!:)[ \t]*)?(?P<word>[A-Za-z_]\w*)?"
)
_HEADER = re.compile(
    r"[ \t]*(?:(?:class|interface|method|field)[ \t]+(?:public|private|protected)[ \t]+\w|use[ \t]+(?:::|[\w.]+\.\w)"
    r"|declare[ \t]+(?:auto[ \t]+)?[\w.:/]+[ \t]+\w+!?[ \t]*$)",
    re.IGNORECASE,
)
_SUFFIXED_ASSIGNMENT = re.compile(
    r"[ \t]*(?:[0-9]+[ \t]+)?(?:let[ \t]+)?#?[A-Za-z_]\w*[$!%][ \t]*(?:\[[^\]]*\])?[ \t]*=", re.IGNORECASE
)
_LABEL_ALONE = re.compile(r"[ \t]*[A-Za-z_]\w*[ \t]*:[ \t]*$")
_TARGET = re.compile(r'(?i)(?:goto|gosub|exitto|seterr|setesc|=)[ \t]*([a-z_]\w*)|"([a-z_]\w*)"')
_STRING = re.compile(r'"[^"]*"?')
_TWO_WORDS = re.compile(r"(?<![\w$!.#:/\\])([A-Za-z]+) ([A-Za-z]+)(?![\w$!%(\[=.])")
_BEHIND_STRING = re.compile(r'"[ ]+([A-Za-z]{2,})\b')
_REM_SENTENCE = re.compile(
    r"[ \t]*rem (?:is|are|was|starts?|begins?|marks?|adds?|stands|means|lets|can|will|does|statements?|lines?|"
    r"comments?|and|or|in|to|for|sleep|needs?|must|makes?|turns?)\b",
    re.IGNORECASE,
)
_GLUE = frozenset(
    "then else to step and or not public private protected static extends implements of record using new auto let if "
    "for while until print read write input call declare method field class goto gosub return throw default "
    "case".split()
)
_FOREIGN = re.compile(
    r"[{}][ \t]*;?[ \t]*$|^[ \t]*(?:#include|import[ \t]|from[ \t]\w+[ \t]import|def[ \t]\w+\(.*\):"
    r"|public[ \t]+(?:static|class|void)|</?\w+|select[ \t].*\bfrom\b|function[ \t]+\w+\("
    r"|(?:const|var)[ \t]+\w+[ \t]*=|[$#>][ \t]+\w)",
    re.IGNORECASE | re.MULTILINE,
)


def has_code(answer: str) -> bool:
    """Whether an answer holds code: a fenced block with something in it that is not tagged as plain text."""
    return any(block.tag not in TEXT_TAGS and block.code.strip() for block in blocks(answer))


@cache
def _starters() -> frozenset[str]:
    return frozenset(verbs()) | _OPENERS


@lru_cache(maxsize=100_000)
def level(line: str) -> int:
    """How much a line (or a line with its continuations) looks like BBj: `PROSE`, `ODD`, `LIKELY` or `SURE`."""
    if not line.strip() or "`" in line or len(line) > 4096 or _MARKDOWN.match(line):
        return PROSE
    start = _START.match(line)
    assert start is not None  # every part of the pattern is optional
    word = (start["word"] or "").lower()
    begins = word in _starters()
    if not begins and not (start["label"] and not line[start.end() :].strip()) and not any(s in line for s in "=(?"):
        return PROSE if _reads_as_prose(line) or not line[:1].isascii() else ODD
    if _HEADER.match(line) and not _reads_as_prose(line):
        return SURE
    if all(found.rule in _CONTEXT_RULES for found in check(line)):
        return _accepted(line, start["word"] or "", begins, bool(start["number"]), bool(start["label"]))
    if _reads_as_prose(line):
        return PROSE
    told = _SUFFIXED_ASSIGNMENT.match(line) or word in _TELLING or (begins and start["number"])
    return SURE if told or (begins and '"' in line and not _sentence_case(start["word"] or "")) else ODD


def _accepted(line: str, word: str, begins: bool, numbered: bool, labelled: bool) -> int:
    """The level of a line that the checker accepts."""
    found = tokens(line, _START.match(line).start("word") if word else 0)  # type: ignore[union-attr]
    if found[0].kind == REM:
        rest = line.rstrip()
        return LIKELY if _REM_SENTENCE.match(line) or (rest.endswith((".", "?")) and word == "REM") else SURE
    if labelled and not word:
        return LIKELY
    if any(_is_sign(token) for token in found) or word.lower() in _TELLING:
        return SURE
    if begins and _sentence_case(word):
        return SURE if any(token.text == "=" for token in found) else LIKELY
    if not begins or numbered or any(_is_number_or_sign(token) for token in found):
        return SURE
    return SURE if word.lower() == "if" and found[-2].word == "then" else LIKELY


def _is_sign(token: Token) -> bool:
    """Whether no English sentence has the token: a string, a mnemonic, or a name with `$`, `!`, `%` or a hash sign."""
    return token.kind in (STR, MEMBER, MNEMONIC) or (token.kind == NAME and bool(token.suffix))


def _is_number_or_sign(token: Token) -> bool:
    return token.kind == NUM or (token.kind == OP and token.text in "= ( [ + * / < > <= >= <> ^ ?".split())


def _sentence_case(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word[1:].islower()


def _reads_as_prose(line: str) -> bool:
    """Two English words in a row outside strings and comments, a word behind a string, or the end of a sentence."""
    if _HEADER.match(line) and not line.rstrip().endswith((".", ",", "?")):
        return False
    if any(found[1].lower() not in _GLUE for found in _BEHIND_STRING.finditer(line)):
        return True
    bare = re.split(r"(?i)(?:^|;)[ \t]*rem\b", _STRING.sub('""', line))[0].rstrip()
    if re.search(r"[A-Za-z)][.?]$|[A-Za-z],$|[.,] [A-Z][a-z]+ ", bare):
        return True
    start = bare.split(" ")[0]
    return any(
        not {first.lower(), second.lower()} & _GLUE and not (first == start and first.lower() in _starters())
        for first, second in _TWO_WORDS.findall(bare)
    )


def _logical(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of lines that belong together: a line that begins with one colon goes on with the line before."""
    start = 0
    for index in range(1, len(lines) + 1):
        if index == len(lines) or not lines[index].startswith(":") or lines[index].startswith("::"):
            if start < index:
                yield start, index
            start = index


def levels(lines: Sequence[str]) -> list[int]:
    """The level of each line; continuation lines have the level of what they continue."""
    found: list[int] = []
    for start, end in _logical(lines):
        together = lines[start] + "".join(line[1:] for line in lines[start + 1 : end])
        grade = level(together)
        if end - start > 1 and grade < LIKELY:  # what is no continued statement is judged line by line
            found += [level(lines[start]), *([PROSE] * (end - start - 1))]
        else:
            found += [grade] * (end - start)
    return found


def looks_like_bbj(code: str) -> bool:
    """Whether the content of a fenced block is BBj, sound or not, rather than output, a command or another language."""
    lines = [line for line in split_lines(code)[0] if line.strip()]
    if not lines or _FOREIGN.search(_STRING.sub('""', code)):
        return False
    grades = levels(lines)
    if SURE not in grades:
        plain = not any(_sentence_case(line.split()[0]) for line in lines)
        return plain and min(grades) >= LIKELY
    return sum(grade >= LIKELY for grade in grades) * 5 >= len(grades) * 3


def code_runs(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Ranges of lines that are code amid prose, without blank lines at their ends. At least one line of each is sure.

    A blank line between two lines of code belongs to the run; so does what only may be code, where it stands beside
    code. A label alone is the end or the beginning of prose (`Example:`) unless code goes to it.
    """
    grades = levels(lines)
    _raise_labels(lines, grades)
    runs: list[tuple[int, int]] = []
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and grades[end] and lines[end].strip():
            end += 1
        if SURE in grades[start:end]:
            runs.append(_trimmed(lines, grades, start, end))
        elif start < end and runs and not "".join(lines[runs[-1][1] : start]).strip() and _goes_on(lines[start:end]):
            runs.append((start, end))
        start = max(end, start + 1)
    return _joined(lines, runs)


def _raise_labels(lines: Sequence[str], grades: list[int]) -> None:
    """A label that code goes to is as sure as that code."""
    code = "\n".join(line for line, grade in zip(lines, grades, strict=True) if grade == SURE)
    targets = {name.lower() for found in _TARGET.findall(code) for name in found if name}
    for index, line in enumerate(lines):
        label = _START.match(line)
        if grades[index] == LIKELY and label and label["label"] and label["label"].lower() in targets:
            grades[index] = SURE


def _trimmed(lines: Sequence[str], grades: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """Without odd lines and unused labels at the ends."""

    def stays(i: int) -> bool:
        return grades[i] == SURE or (grades[i] == LIKELY and not _LABEL_ALONE.match(lines[i]))

    kept = [i for i in range(start, end) if stays(i)]
    return kept[0], kept[-1] + 1


def _goes_on(lines: Sequence[str]) -> bool:
    """Whether a paragraph without a sure line ends the code in front of it: END, RETURN, NEXT i and their like."""
    found = [_START.match(line) for line in lines]
    words = [match["word"] or "" for match in found if match]
    return all(word.lower() in _ENDS_CODE and not _sentence_case(word) for word in words) and min(levels(lines)) > ODD


def _joined(lines: Sequence[str], runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs with nothing but blank lines between them are one."""
    found: list[tuple[int, int]] = []
    for start, end in runs:
        if found and not any(line.strip() for line in lines[found[-1][1] : start]):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def raw_runs(answer: str) -> list[tuple[int, int]]:
    """Ranges of lines of an answer that are code without a fence, from 0.

    Where the answer has fenced code as well, one line alone is a mention rather than a program and is left.
    """
    lines = split_lines(answer)[0]
    reader, fenced, outside = Fences(), False, list(lines)
    for index, line in enumerate(lines):
        if reader.feed(line) != "outside":
            fenced, outside[index] = True, "`"  # prose to `level`: no run goes across a block
    return [(start, end) for start, end in code_runs(outside) if not fenced or end - start > 1]


_SIGNALS = {
    "rem": r"(?m:^[ \t]*(?:\d+[ \t]+)?rem\b)",
    "print": r"\bprint\b|(?m:^[ \t]*\?)",
    "BBjAPI": r"\bbbjapi\(\)",
    "BBj class": r"\bbbj(?!api\b)[a-z]\w+",
    "string name": r"[a-z0-9_]\$",
    "object name": r"[a-z0-9_]!",
    "integer name": r"[a-z0-9_]%",
    "line number": r"(?m:^[ \t]*\d{1,5}[ \t]+[a-z])",
    "label": r"(?m:^[ \t]*(?!rem\b)[a-z_]\w*:(?!:))",
    "error option": r"\b(?:err|end|dom)[ \t]*=[ \t]*\*?[a-z_]",
    "class": r"\bclassend\b",
    "callback": r"\bsetcallback\(|\bprocess_events\b",
    "sql": r"\bsql(?:open|prep|exec|fetch)\b",
    "file": r"\b(?:open|read|write|close)(?:[ \t]+record)?[ \t]*\(",
}
_SIGNAL_PATTERNS = {name: re.compile(pattern) for name, pattern in _SIGNALS.items()}


def bbj_signals(code: str) -> tuple[str, ...]:
    """Which signs of BBj a program shows, in the order of the table: `rem`, `print`, `BBjAPI`, `string name`, …"""
    bare = _STRING.sub('""', code).lower()
    return tuple(name for name, pattern in _SIGNAL_PATTERNS.items() if pattern.search(bare))
