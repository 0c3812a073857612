"""Views of a program that judging needs: without comments and strings, its statements, its tokens.

They answer for any text, also for what no compiler accepts: an echoed prompt, Python, half a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bbjspec.bbj import lexer
from bbjspec.bbj.lexer import Token
from bbjspec.bbj.lines import LogicalLine, logical_lines, physical_lines

ECHO_GRAM = 8  # tokens
_LEAVING = frozenset({"end", "stop", "release"})
_LITERALS = frozenset({lexer.STR, lexer.NUM})


def _lines(code: str) -> Iterator[tuple[LogicalLine, list[Token]]]:
    """Logical lines, each with the tokens behind its number and label; comments are left out."""
    for line in logical_lines(physical_lines(code)):
        yield line, [t for t in lexer.tokens(line.text, line.body) if t.kind not in (lexer.REM, lexer.END)]


def _statements(code: str) -> Iterator[list[Token]]:
    """The tokens of each statement that is not blank; labels and line numbers are not among them."""
    for _, tokens in _lines(code):
        statement: list[Token] = []
        for token in tokens:
            if token.kind == lexer.OP and token.text == ";":
                if statement:
                    yield statement
                statement = []
            else:
                statement.append(token)
        if statement:
            yield statement


def _is_text(token: Token) -> bool:
    """A string, a hex string, or a string that is not closed."""
    return token.kind == lexer.STR or (token.kind == lexer.BAD and token.text.startswith('"'))


def _folded(statement: list[Token]) -> str:
    return " ".join(token.text if _is_text(token) else token.text.lower() for token in statement)


def stripped(code: str) -> str:
    """The program without comments and without what stands in strings, a logical line per line.

    A string becomes `""`, a hex string `$$`. `require` and `forbid` are matched against this.
    """
    lines = []
    for line, tokens in _lines(code):
        text, at = line.text[: line.body], line.body
        for token in tokens:
            text += line.text[at : token.at] + (token.text[0] * 2 if _is_text(token) else token.text)
            at = token.at + len(token.text)
        lines.append(text.rstrip())
    return "\n".join(lines)


def statements(code: str) -> list[str]:
    """The statements, white space and case folded, names and literals kept; no comments, no line numbers, no labels.

    Programs with equal lists are the same program.
    """
    return [_folded(statement) for statement in _statements(code)]


def significant_statements(code: str) -> int:
    """How many different non-trivial statements the program has.

    Trivial are blanks, REM, a bare label, END, STOP, RELEASE, and a PRINT (`?` too) of nothing but literals.
    """
    return len({_folded(statement) for statement in _statements(code) if not _trivial(statement)})


def _trivial(statement: list[Token]) -> bool:
    first, rest = statement[0].word, statement[1:]
    if first in ("print", "?"):
        # Signs between literals do not make a PRINT say more; a name, a mnemonic or a position does.
        return all(t.kind in _LITERALS or (t.kind in (lexer.OP, lexer.BAD) and t.text != "@") for t in rest)
    return first in _LEAVING


def tokens(text: str) -> list[str]:
    """Tokens of prose and code alike, case folded: words with their suffix, quoted strings whole, single signs."""
    return re.findall(r'"[^"\n]*"?|\w+[$!%]?|[^\w\s]', text.lower())


def containment(code: str, prompt: str) -> float:
    """The share of the program's 8-grams of tokens that stand in the prompt too; comments do not count.

    Fewer than eight tokens have no 8-gram: 0, unless they are the whole prompt.
    """
    uncommented = "\n".join(
        line.text[: found[-1].at + len(found[-1].text) if found else line.body] for line, found in _lines(code)
    )
    ours, theirs = tokens(uncommented), tokens(prompt)
    if len(ours) < ECHO_GRAM:
        return float(bool(ours) and ours == theirs)
    grams, known = _grams(ours), _grams(theirs)
    return len(grams & known) / len(grams)


def _grams(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + ECHO_GRAM]) for i in range(len(words) - ECHO_GRAM + 1)}


def unchanged(code: str, given: str, mode: str) -> bool:
    """Whether an answer to a `fix` or `complete` task leaves the given program as it was.

    Fixing must change it somewhere; completing must add a statement that it did not have.
    """
    new, old = statements(code), statements(given)
    return new == old if mode == "fix" else set(new) <= set(old)
