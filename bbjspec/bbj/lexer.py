"""From a logical line to tokens. Nothing is raised: what cannot be read becomes a `BAD` token that says why."""

from __future__ import annotations

import re
from typing import NamedTuple

NAME, MEMBER, NUM, STR, MNEMONIC, FILE, OP = "name", "member", "number", "string", "mnemonic", "file", "op"
TABLE, REM, BAD, END = "table", "rem", "bad", "end"


class Token(NamedTuple):
    """One token. `word` is the lower-case text, with the suffix of a name; `at` the offset in the logical line.

    `MEMBER` is `#name`, `FILE` is `::path::Class` (its `word` is the class), `TABLE` the digits behind that verb, `BAD`
    what cannot stand in a program (its `word` says why); `STR` covers hex strings too.
    """

    kind: str
    text: str
    word: str
    at: int

    @property
    def suffix(self) -> str:
        """`$`, `!`, `%` or `@` at the end of a name, or nothing."""
        last = self.word[-1:]
        return last if last in "$!%@" else ""


_TOKEN = re.compile(
    r"""[ \t\f]*+(?:
        (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:[$!%]|@(?!\())?)
      | (?P<member>\#[A-Za-z_][A-Za-z0-9_]*[$!%]?)
      | (?P<string>"[^"]*"(?:"[^"]*")*)
      | (?P<hex>\$[0-9A-Fa-f]*\$)
      | (?P<mnemonic>'[^'"\s();,]+')
      | (?P<op><>|<=|>=|::|[-+*/^=<>()\[\],;:.?!@])
      | (?P<bad>.))""",
    re.VERBOSE | re.DOTALL,
)
_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEX_TO_END = re.compile(r"[ \t]+([0-9A-Fa-f \t]+)(?=;|$)")
_SUFFIXED_USE = re.compile(r"[ \t]*[=.\[(]")


def tokens(text: str, start: int = 0) -> list[Token]:
    """The tokens of `text` from offset `start`; the last is always `END`."""
    found: list[Token] = []
    at, size, fresh = start, len(text), True
    read = _TOKEN.match
    while at < size:
        match = read(text, at)
        if match is None:  # `bad` takes any character: nothing but blanks is left
            break
        kind, end = match.lastgroup, match.end()
        piece = match[match.lastindex or 0]
        at = end - len(piece)
        if kind == "name":
            word = piece.lower()
            if fresh and _is_comment(word, text, end):
                found.append(Token(REM, text[at:], "rem", at))
                break
            if fresh and word == "table" and (digits := _HEX_TO_END.match(text, end)):
                found.append(Token(TABLE, digits[1], word, at))
                at, fresh = digits.end(), False
                continue
            fresh = word in ("then", "else")
            found.append(Token(NAME, piece, word, at))
        elif piece == "::":
            found.append(_file_class(text, at))
            end, fresh = at + len(found[-1].text), False
        elif kind == "bad":
            found.append(_bad(text, at))
            end, fresh = at + len(found[-1].text), False
        else:
            found.append(Token(STR if kind == "hex" else str(kind), piece, piece.lower(), at))
            fresh = piece == ";"
        at = end
    found.append(Token(END, "", "", size))
    return found


def _is_comment(word: str, text: str, end: int) -> bool:
    """`REM`, also where its text begins with a suffix sign (`rem!!!`), but not the variable `rem! = …`."""
    return word == "rem" or (word.rstrip("$!%@") == "rem" and not _SUFFIXED_USE.match(text, end))


def _file_class(text: str, at: int) -> Token:
    close = text.find("::", at + 2)
    name = _CLASS_NAME.match(text, close + 2) if close > at + 2 else None
    if name is None or any(sign in text[at:close] for sign in '"();'):
        return Token(BAD, "::", "two colons stand only around the file of a class, as in ::path/file.bbj::Name", at)
    end = name.end() + text.startswith("@", name.end())
    return Token(FILE, text[at:end], name.group().lower(), at)


def _bad(text: str, at: int) -> Token:
    sign = text[at]
    if sign == '"':
        return Token(BAD, text[at:], "the string is not closed", at)
    if sign == "'":
        return Token(BAD, sign, "an apostrophe stands only around a mnemonic, as in 'CS'", at)
    if sign == "$":
        return Token(BAD, sign, "a hex string holds hex digits between two dollar signs", at)
    if sign == "#":
        return Token(BAD, sign, "a hash sign stands only in front of a member's name", at)
    return Token(BAD, sign, f"{sign!a} has no meaning in BBj", at)
