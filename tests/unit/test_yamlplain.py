"""The quick reader gives what the whole YAML parser gives, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bbjspec import yamlplain

REPOSITORY = Path(__file__).resolve().parents[2]
SPECS = sorted([*REPOSITORY.glob("experiments/*.yaml"), *REPOSITORY.glob("docs/examples/*.yaml")])
TABLES = sorted(REPOSITORY.glob("tests/specs/*/*.yaml"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def whole(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        return f"an error: {type(error).__name__}"


def agree(text: str) -> bool:
    """Whether the quick reader knew the text; then its answer must be the whole parser's, types included."""
    quick = yamlplain.read(text)
    if quick is not None:
        assert repr(quick) == repr(whole(text))
    return quick is not None


@pytest.mark.parametrize("file", [*SPECS, *TABLES], ids=lambda p: p.stem)
def test_specs(file: Path) -> None:
    agree(file.read_text())


def test_it_knows_the_specs_that_ship() -> None:
    # Otherwise it would be correct and of no use.
    for file in SPECS:
        assert agree(file.read_text().replace("COMMIT-OF-40-HEX-DIGITS", COMMIT)), file.name


# Two blanks between values.
ODD = """\
1  0  01  007  1_000  0x1F  0o17  0b11  1e4  1E-4  1e+4  5e-3  1.  .5  1.5  1.5e3  01.5  0.10  1e400  -1  +1  .nan  .inf
~  null  Null  nULL  true  TRUE  yes  no  on  off  y  n  =  <<  2025-01-31  2025-1-1  1:30  26.03  4bit  1-2  a-b  a/b
./x  ../x  /x  *.x  a*b  a:b  a#b  a,b  it's  (a)  a=b  'q'  'it''s'  "q"  "a\\n"  ''  ""  []  {}  [a]  [a,b]  [a,,b]
[a,]  [,a]  [1, 1.0, null]  {a: 1}  {a: }  {a}  {a:1}  {a: {b: [c]}}  {a: 1, a: 2}  {true: 1}  [a b]  [a: b]
[[a], [b]]  [a] b  [a]b  'a'b  {a: 1}}  @a  `a`  %a  !a  &a  *a  |  >  -  -a  ?  ? a  a?  a ? b  a!  a ! b  <a  1e  1e5e
9223372036854775808  99999999999999999999  None  nan  inf  0e0  00  0.  1.e5  12e03  ---  ...  é  a…  a # b  a #b  a# b
a b: c  'a' # b  'a'# b  [a] # b  [a]# b  [a # b]  # b  [ a , b ]  { a: 1 , b: 2 }  a, b  a - b  a -b  a 'b'  'a: b'
['a, b', "c ] d"]  {a: 'b }'}  [a?]  [?]  [-]  [a-]  a:  a :b  a : b"""


@pytest.mark.parametrize(
    "value",
    [*ODD.replace("\n", "  ").split("  "), "a  b", COMMIT, "1" * 40, "1" * 38 + "e1", "0b" + "1" * 38, "a" * 40],
)
def test_values(value: str) -> None:
    for text in (
        f"k: {value}",
        f"k: {value}\nl: 1",
        f"k: {{m: {value}}}\n",
        f"k: [{value}]",
        f"k:\n  m: {value}\n  n: 1\n",
    ):
        agree(text)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  b: 1\n c: 2\n",
        "a: 1\n  b: 2\n",
        "a:\nb: 1\n",
        "a:\n",
        " a: 1\n",
        " a: 1\nb: 2\n",
        "a:\n    b: 1\nc:\n  d: 1\n",
        "a:\n# c\n  b: 1\n    # d\n  c: 2\n",
        "a: x\n  y\nb: 1\n",
        "a: x\n\n  y: z\n",
        "a: 'x\n  y'\n",
        "a: # c\n  b: 1\n",
        "a:\n  - b\n",
        "a:\n- b\n",
        "a: 1\na: 2\n",
        "null: 1\n",
        "yes: 1\n",
        "a: [\n b]\n",
        "a:\t1\n",
        "a: 1\r\nb: 2\r\n",
        "a: 1\n---\nb: 1\n",
        "--- # c\na: 1\n",
        "a: 1\n...\n",
        "# only\n",
        "",
        "a: \u2028\n",
        "a: 1 # \U0001f600\n",
        "a:  1\n",
        "a: 1 \n",
        "a:   # c\n",
        "a: \nb:  \n",
        "a: 1\n #b\n",
    ],
)
def test_layouts(text: str) -> None:
    agree(text)


PIECES = st.sampled_from(
    [
        *"abk01.,:-#'\"[]{} \n",
        ": ",
        ":\n  ",
        "\n",
        "\n  ",
        " # ",
        "a: ",
        "b: ",
        "null",
        "true",
        "1e-4",
        "[a, b]",
        "{a: 1}",
    ]
)


@given(st.lists(PIECES, max_size=25).map("".join))
@settings(max_examples=1500, deadline=None)
def test_any_pieces(text: str) -> None:
    agree(text)
    agree(f"a: {text}")


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_mutated_spec(data: st.DataObject) -> None:
    characters = list("a: 1e-4 # why\nb:\n  c: {d: [x, 'y z'], e: 2}\n  f: true\ng: some words, here\nh: \"q\"\n")
    for _ in range(data.draw(st.integers(1, 3))):
        characters[data.draw(st.integers(0, len(characters) - 1))] = data.draw(PIECES)
    agree("".join(characters))
