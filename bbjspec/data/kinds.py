"""What a row without the fields `kind` and `topic` is about, by its words: rules to be read, the same each time.

A kind is what is asked for, taken from the question; a topic is what it is about, taken from question and answer. The
first rule that matches wins, and each table is in the order in which it is tried.
"""

from __future__ import annotations

import re

from bbjspec.bbj.extract import blocks
from bbjspec.bbj.tables import functions

KINDS = (
    "completion",
    "explanation",
    "function-reference",
    "debugging",
    "comparison",
    "conversion",
    "code-generation",
)
CODE_KINDS = frozenset({"completion", "conversion", "code-generation"})
"""Kinds whose answer is a program."""

_KIND_RULES = (
    (
        "completion",
        r"^(?:please )?(?:complete|continue|finish|fill in)\b|\bcomplete (?:this|the (?:code|program|following))\b"
        r"|^add (?:the|a) (?:missing|password)\b|\bfill in the (?:blanks?|missing)\b",
    ),
    (
        "conversion",
        r"\b(?:convert|translate|port|migrate|modernis|moderniz|rewrite|turn this|turn the)\w*\b.{0,200}\b(?:to"
        r"|into|from|in|as|"
        r"without|using|with)\b|\b(?:equivalent|version) of\b.*\bin bbj\b|\bbbj (?:equivalent|version) of\b"
        r"|\bhow would (?:this|`).*\blook\b|\bplease port\b|^(?:turn|rewrite|port|convert) ",
    ),
    (
        "debugging",
        r"\b(?:fix|debug|bug|bugs|repair|correct) (?:this|the|my|it|in|these)?\b|\bwhat(?:'s| is) wrong\b"
        r"|\b(?:does(?:n't| not)|is(?:n't| not)|won't|will not|can(?:'t|not)) (?:work|compile|accepted|run"
        r"|print|show|open)\w*\b"
        r"|\b(?:rejected|refused|rejects|refuses|fails|crash(?:es|ed)?|hangs|syntax error|error !"
        r"|gives an? \w* ?error)\b"
        r"|\bwhy (?:do|does|did) i get\b|\berror \d+\b|\bnothing happens\b|\bfind the (?:error|mistake|bug)s?\b",
    ),
    (
        "comparison",
        r"\b(?:difference|differences|differ)\b|\b(?:compare|comparison|versus|vs)\b\.?|\bpros and cons\b"
        r"|^(?:when|why) (?:would|should) i\b.*\b(?:over|instead of|rather than)\b|\bor\b[^.?]*\?\s*$"
        r"|^[^.?]{3,40} or [^.?]{3,60}\?"
        r"|\b(?:better|faster|preferable) than\b|\binstead of\b.*\?",
    ),
    (
        "code-generation",
        r"\b(?:write|create|build|implement|generate|code|make|develop|show me|give me|provide|print|define"
        r"|declare|sort|"
        r"count|measure|rename|copy|read|open|list|let the|draw|throw|enable|extract|query)\b(?!.*\b(?:mean"
        r"|means|does)\b)"
        r"|\b(?:program|snippet|script|example|sample|code) (?:that|which|to|for|of|in|showing)\b"
        r"|^how (?:do|can|would|could|should) (?:i|we|you|one)\b|^how to\b",
    ),
)
_FLAGS = re.DOTALL | re.MULTILINE  # in lower case: the question is lowered first, which is faster than IGNORECASE
_KIND_PATTERNS = tuple((kind, re.compile(rule, _FLAGS)) for kind, rule in _KIND_RULES)
_EXPLAIN = re.compile(
    r"^(?:please )?(?:explain|describe|what|why|when|which|who|does|do|is|are|can|tell me)\b|\bexplain\b"
    r"|\bmeaning of\b",
)
_COMMAND = re.compile(r"^(?:please )?(?:write|create|build|implement|generate|show me|give me|provide|make)\b")
_CODE_WANTED = re.compile(
    r"\b(?:write|create|build|implement|generate|develop|show me|give me|provide)\b.{0,80}?\b(?:program|code"
    r"|function|method|"
    r"class|routine|subroutine|snippet|script|example|loop|window|form|dialog|statement|sample)s?\b"
    r"|^(?:please )?(?:complete|continue|finish|convert|translate|rewrite|port|fix)\b"
    r"|\b(?:in|with) code\b|\bcode (?:example|sample|snippet)s?\b|\bsample code\b",
    re.DOTALL,
)

_TOPIC_WORDS = {
    "dwc": "dwc css browser stylesheet webcomponent",
    "database": "sql sqlopen sqlprep sqlexec sqlfetch sqltmpl database databases bbjrecordset jdbc odbc query",
    "gui": "gui window windows button buttons bbjgui bbjsysgui getsysgui opensysgui sysgui setcallback callback "
    "callbacks grid grids checkbox listbox msgbox control controls process_events menu menus dialog dialogs addwindow",
    "oop": "class classes classend method methods methodend interface interfaces inherit inheritance constructor",
    "java-interop": "java javascript hashmap arraylist linkedhashmap",
    "error-handling": "seterr setesc exception exceptions errmes throw retry trap handler errors",
    "templates": "template templates fattr tmpl",
    "file-io": "file files mkeyed xkeyed vkeyed directory directories folder folders channel channels csv keyed fid",
    "collections": "bbjvector vector vectors hashtable array arrays collection collections stack stacks queue dim",
    "dates": "date dates jul julian time day weekday calendar",
    "printing": "printer printers report reports spooler spooling",
    "control-flow": "loop loops for while switch goto gosub if repeat endif break subroutine subroutines wend",
    "strings": "string strings text cvs pos pad substring substrings letters uppercase lowercase word words",
    "numbers": "number numbers round rounding sum calculate precision mod square squares average prime",
    "console": "console screen input cursor mnemonic mnemonics terminal print keyboard",
    "tooling": "bbjcpl compile compiler ide debugger config",
}
_TOPICS = {topic: frozenset(words.split()) for topic, words in _TOPIC_WORDS.items()}
OTHER_TOPIC = "other"


def _function_asked(question: str) -> bool:
    """Whether the question names a function of the language: `What does CVS() do?`, `explain the MASK function`."""
    names = {word.lower() for word in re.findall(r"\b([A-Za-z]{3,})\(", question)}
    names |= {word.lower() for word in re.findall(r"\b([A-Z]{3,})\b", question)}
    return bool(names & set(functions()))


def inferred_kind(question: str, answer: str) -> str:
    """What is asked for: one of `KINDS`. `function-reference` is a question of what a named built-in function does."""
    asked = question.strip().lower()
    found = next((kind for kind, rule in _KIND_PATTERNS if rule.search(asked)), None)
    if found in ("completion", "conversion", "debugging", "comparison"):
        return found
    if _COMMAND.match(asked):
        return "code-generation"
    if _function_asked(question) and (_EXPLAIN.search(asked) or found is None):
        return "function-reference"
    if _EXPLAIN.search(asked):
        return "explanation"
    if found or any(len(block.code) * 2 > len(answer) for block in blocks(answer)):
        return "code-generation"
    return "explanation"


def inferred_topic(question: str, answer: str) -> str:
    """What it is about: the first topic whose words stand in the question, else in the answer, else `other`."""
    for text in (question, answer):
        words = set(re.findall(r"[a-z_]+", text.lower()))
        for topic, telling in _TOPICS.items():
            if words & telling:
                return topic
    return OTHER_TOPIC


def asks_for_code(question: str, kind: str | None = None) -> bool:
    """Whether an answer without code falls short of the question. `kind` is the row's own, None where it has none."""
    return kind in CODE_KINDS if kind is not None else bool(_CODE_WANTED.search(question.lower()))
