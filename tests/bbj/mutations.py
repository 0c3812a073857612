"""Ways to break a valid program, each with the line that is then wrong. All are seeded; none is valid BBj.

Left out, since bbjcpl accepts them: a missing FI, NEXT or WEND, a lone METHODEND, `a!=b` (it is `a! = b`), and
`System.out.println(x)`, which is a method call like any other.
"""

from __future__ import annotations

import random
import re

from bbjspec.bbj.lexer import NAME, NUM, STR, Token
from bbjspec.bbj.tables import functions
from tests.bbj.broken import Mutant, Mutation, Program, behind, cut, edit, insert, kind, op, regex, tail


def _last_operand(found: list[Token], i: int) -> bool:
    closing = i + 1 == len(found) or found[i + 1].text in (",", ")", ";")
    return closing and i > 0 and found[i - 1].text in ("+", "-", "*", "/") and found[i].kind in (NAME, NUM, STR)


def _called_function(found: list[Token], i: int) -> bool:
    called = i + 1 < len(found) and found[i + 1].text == "(" and found[i].word in functions()
    return called and found[i].kind == NAME and (i == 0 or found[i - 1].text not in (".", "new"))


def _compares(found: list[Token], i: int) -> bool:
    return found[0].word in ("if", "while") and i > 1 and found[i].text in ("=", "<>") and "(" not in _texts(found[:i])


def _texts(found: list[Token]) -> set[str]:
    return {token.text for token in found}


def _unterminated(line: str, found: list[Token], _rng: random.Random) -> str | None:
    strings = [token for token in found if token.text.startswith('"')]
    if not strings:
        return None
    end = strings[-1].at + len(strings[-1].text)
    return line[: end - 1] + line[end:]


def _method_without_type(program: Program, rng: random.Random) -> Mutant | None:
    pattern = re.compile(r"(?i)(\s*method\s+(?:public|private|protected)\s+(?:static\s+)?)[\w.:/\[\]]+\s+(\w+\s*\()")
    places = [i for i, line in enumerate(program.lines) if pattern.match(line)]
    if not places:
        return None
    index = rng.choice(places)
    return program.replace(index, pattern.sub(r"\1\2", program.lines[index]))


def _class_without_end(program: Program, _rng: random.Random) -> Mutant | None:
    ends = [i for i, line in enumerate(program.lines) if line.strip().lower() == "classend"]
    starts = [i for i, line in enumerate(program.lines) if re.match(r"(?i)\s*class\s", line)]
    if not ends or not starts or starts[-1] > ends[-1]:
        return None
    lines = [line for i, line in enumerate(program.lines) if i != ends[-1]]
    return "\n".join(lines) + "\n", starts[-1] + 1


def _duplicate_field(program: Program, rng: random.Random) -> Mutant | None:
    places = [i for i, line in enumerate(program.lines) if re.match(r"(?i)\s*field\s+(public|private|prot)", line)]
    return program.insert((index := rng.choice(places)) + 1, program.lines[index]) if places else None


def _method_outside(program: Program, rng: random.Random) -> Mutant | None:
    depth, outside = False, []
    for index, line in enumerate(program.lines):
        word = (re.findall(r"[a-z]+", line.lower()) or [""])[0]
        if not depth and index in program.slots and word not in ("class", "interface"):
            outside.append(index)
        depth = (depth or word in ("class", "interface")) and word not in ("classend", "interfaceend")
    return program.insert(rng.choice(outside), "method public void loose()") if outside else None


def _wrong_arity(program: Program, rng: random.Random) -> Mutant | None:
    if not program.slots:
        return None
    able = [f for f in functions().values() if f.most is not None and f.name not in ("POS", "CAST")]
    function = rng.choice(able)
    kinds = [*function.kinds, *["any"] * 10][: (function.most or 0) + 1]
    arguments = ",".join({"string": '"a"', "number": "1"}.get(kind, "o!") for kind in kinds)
    return program.insert(rng.choice(program.slots), f"r! = {function.name.lower()}({arguments})")


def _reserved_variable(program: Program, rng: random.Random) -> Mutant | None:
    words = ["all", "case", "day", "err", "fi", "from", "list", "new", "tim", "until", "where"]
    return program.insert(rng.choice(program.slots), f"{rng.choice(words)} = 1") if program.slots else None


MUTATIONS: dict[str, Mutation] = {
    "parenthesis not closed": cut(op(")")),
    "parenthesis too many": tail(")"),
    "bracket not closed": cut(op("]")),
    "string not closed": edit(_unterminated),
    "operand missing": cut(_last_operand),
    "operand doubled": behind(kind(NUM), ' "two"'),
    "name doubled": behind(kind(STR), " twice"),
    "stray tokens": tail(' stray "token"'),
    "operator in front": insert("x = * 2", "print / 3", "x = ) 1", "x = , 2"),
    "comma doubled": behind(op(","), ","),
    "comma and nothing": insert("x = max(1,)", "v!.add(1,)", "let a=1,", 'call "p",a,'),
    "METHOD outside a class": _method_outside,
    "METHOD without type": _method_without_type,
    "undefined label": regex(r"(?i)\b(goto|gosub|err=|dom=|end=)\s*[a-z_]\w*", r"\1 no_such_label"),
    "!= between values": cut(_compares, " != "),
    "== between values": cut(_compares, "=="),
    "+=": regex(r"^(\s*[A-Za-z_]\w*[$!%]?)\s*=(?!=)", r"\1 += "),
    "++": insert("count++", "count--", "++count", "x = count++"),
    "// comment": tail(" // note"),
    "# comment": tail(" # note"),
    "' comment": tail(" ' note"),
    "comment of another language": insert("// note", "# note", "' note", "/* note */", "-- note", "! a note"),
    "REM without semicolon": insert("x = 1 rem note", "print x rem note", "gosub_done = 1 rem note"),
    "&& for AND": cut(lambda found, i: found[i].kind == NAME and found[i].word in ("and", "or"), "&&"),
    "&& in a condition": insert("if a && b then print 1", "while a || b", "if a=1 || b=2 then c=3"),
    "? :": insert("x = a>b ? a : b", 'x$ = a$="" ? "none" : a$'),
    "string to a number": regex(r"^(\s*[A-Za-z_]\w*\s*=\s*)[\d.]+\s*$", r'\1"text"'),
    "string to a plain name": insert('name = "Miller"', "total = str(5)", 'n = "a"+b$', "n% = date(0)"),
    "number to a $ name": regex(r'^(\s*[A-Za-z_]\w*\$\s*=\s*)"[^"]*"\s*$', r"\g<1>42"),
    "number to a string name": insert("name$ = 5", "a$ = len(b$)", "a$ = b*2", "a$ = num(b$)"),
    "string and number": insert('x$ = "n: "+5', 'x$ = "n: "+n', "if a$=3 then print 1", 'x = 3*"a"'),
    "wrong arity": _wrong_arity,
    "unknown function": behind(_called_function, "x"),
    "function of another language": insert(
        "x$ = upper(a$)", "x$ = left(a$,3)", "x$ = mid(a$,2,3)", "n = instr(a$,b$)", "n = sqrt(2)", "x$ = trim(a$)"
    ),
    "bare call": insert("showAll()", "foo(1,2)", 'msgbox("hi")', "a$(1,2)", "total"),
    "branch without target": insert("goto", "gosub", "if a then goto", "on a goto", 'open (1,err=)"f"', "seterr"),
    "FOR without =": regex(r"(?i)^(\s*for\s+\w+[!%]?)\s*=", r"\1 "),
    "FOR without TO": regex(r"(?i)^(\s*for\s.*?)\sto\s", r"\1 "),
    "FOR of another language": insert(
        "for each a$ in b!", "for i in range(10)", "for (i=0; i<5; i++)", "for x! : list!", "for i = 1, 10"
    ),
    "OPEN without channel": insert('open "file"', 'open 1,"file"', "open (1)", 'open #1,"f"', "open"),
    "CLOSE without channel": insert("close", "close 1", "close #1", "close ()"),
    "DIM without bounds": insert("dim a$", "dim a", "dim a[]", "dim a$()", "dim a(10)"),
    "class without end": _class_without_end,
    "FIELD twice": _duplicate_field,
    "USE not alone": insert("use java.util.HashMap; x = 1", "x = 1; use java.util.HashMap", "use java.util.List, x"),
    "USE of another language": insert("use HashMap", "import java.util.HashMap", 'use "file.bbj"', "using System"),
    "DEF without FN": insert("def square(x)=x*x", "def twice(x)", "def fn(x)=x", "def show():"),
    "reserved word as variable": _reserved_variable,
    "ELSEIF": insert("elseif a then", "elsif a=1 then", "elif a=1:", "else if a=1 then"),
    "END of something": insert("end if", "end while", "end sub", "end function", "end class", "end select", "end try"),
    "THEN missing its statement": insert("if then print 1", "while", "if a=1 then then b=2", "until", "switch"),
    "types of other languages": insert(
        "Dim x As Integer", "int x = 5", 'string s = "a"', "var x = 5", "const x = 5", "BBjWindow w!", "let x", "x := 5"
    ),
    "blocks of other languages": insert(
        "{", "}", "try {", "if (a) {", "} else {", "while a do", "loop", "do", "begin try"
    ),
    "statements of other languages": insert(
        'println("a")',
        'print f"{a}"',
        'throw "x"',
        "raise x",
        "pass",
        "catch e!",
        "sub foo()",
        "function foo(a)",
        "cls",
        "locate 1,2",
        'print #1,"x"',
        'print using "##";x',
        "exit for",
        "on error resume next",
        "return x,y",
    ),
    "operators of other languages": insert(
        "x = a mod b",
        "x = a % b",
        'print "a" & "b"',
        "x = not a",
        "x = a ** b",
        "x = a << 2",
        "x$ = a$ || b$",
        "x = a => b",
        "x$ = a$.b$ . c$",
        "x = a \\ b",
    ),
    "literals of other languages": insert(
        "x! = [1,2,3]",
        "x! = {}",
        "x$ = 'it is'",
        "x = 0x1F",
        "x = 1_000",
        'x$ = "a\\"b"',
        "x$ = $0G$",
        "x$ = `a`",
        "x$ = “a”",
        "x = @t",
        "x = &HFF",
    ),
    "NEW without parentheses": insert("v! = new BBjVector", "v! = new", "v! = new java.util.HashMap<String>()"),
    "misspelt verb": insert('pritn "x"', "gosbu there", 'inptu "a",b$', "lte a=1", 'wirte (1)"x"'),
    "member without name": insert("x = o!.", "o!..run()", "x = #", "o!.run().", "x = o!.(1)"),
    "sound of Markdown": insert("```", "```bbj", "**bold**", "- item one", "Here is the program:", "<code>"),
    "colon joins": insert("a = 1 : b = 2", "print a : print b", "if a then b = 1 : c = 2"),
    "PRINT with semicolons": insert('print "a";"b"', 'print a;"b"', 'print tab(5);"x"'),
    "method header of another language": insert("public void run()", "private sub x()", "void run() {", "static x = 1"),
    "DECLARE without name": insert(
        "declare BBjString", "declare", "declare x$ as BBjString", "declare auto java.util.List l!"
    ),
    "two statements on a line": insert("a = 1 print a", "gosub_x = 1 return", "print a print b"),
}
