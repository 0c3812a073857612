"""Answers are text: whatever a model writes is seen as itself and does nothing."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbjspec.rating import highlight
from bbjspec.rating.render import DEEPEST, LONGEST, html
from tests.harness import REPOSITORY

TAGS = set("p h4 ul ol li blockquote hr br pre code span em strong table thead tbody tr th td".split())
CLASSES = {"plain", "code", "aside", "right", "center", *"ksnclb"}
FENCED = "```bbj\nx = 1\n```\n\n"  # a text with a fence is Markdown


class Seen(HTMLParser):
    """What a browser would make of it: tags, attributes, and the text that is seen."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.others: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def check(source: str) -> Seen:
    """Only the few tags, only classes that are ours, and where a list begins; no comments or declarations."""
    seen = Seen(source)
    assert seen.tags <= TAGS
    assert not seen.others
    for name, value in seen.attributes:
        assert (name == "class" and value in CLASSES) or (name == "start" and re.fullmatch("[0-9]{1,9}", value))
    source.encode("utf-8")  # no half characters
    return seen


PIECES = st.sampled_from(
    "<script> </script> <svg/onload=x()> <img src=x onerror=x()> &lt; &#x202e; &amp; ``` ~~~ ```bbj ` * _ ** [a](b) "
    "![a](data:b) <http://a.b> [a]: b # > - 1. 7) | |-|:-| \\ <!-- --> <![CDATA[ ]]> <?x ?> <!DOCTYPE rem print "
    "10 lab: 'CS' $0A$ \" ' = --- === </template> </textarea>".split()
) | st.sampled_from([" ", "    ", "\n", "\n\n", "\t", "\r", "\x00", "\x1b[2J", "\u202e", "\ud800", "\u2028", "\ufeff"])
TEXTS = st.text() | st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join)


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_any_text_gives_few_tags(text: str) -> None:
    check(html(text))
    check(html(FENCED + text))


@given(st.text(), st.sampled_from(["", "bbj", "java", "sql", "html", "css", "python", "no such language"]))
@settings(max_examples=300, deadline=None)
def test_highlighting_changes_no_character(code: str, language: str) -> None:
    code = code.replace("\r", "").removeprefix("\ufeff")  # as `spelled` leaves it
    seen = check(highlight.spans(code.encode("utf-8", "replace").decode(), language))
    assert seen.text == code.encode("utf-8", "replace").decode()


@given(st.text(st.sampled_from("ab cd*_<>[]()!#->&;.:\\'\"1\n"), max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_letter_is_lost_to_markdown(text: str) -> None:
    shown = check(html(FENCED + text)).text
    assert re.findall("[abcd]", shown.replace("x = 1", "", 1)) == re.findall("[abcd]", text)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>window.hit=1</script>",
        "<img src=x onerror=window.hit=1>",
        "<svg onload=window.hit=1><a href=data:text/html,x>",
        "<iframe srcdoc='<script>1</script>'></iframe>",
        "[click](javascript:window.hit=1)",
        "![see](data:image/svg+xml,<svg/onload=1>)",
        "<javascript:window.hit=1>",
        "<https://example.com/>",
        "&lt;b&gt; &quot; &#60;script&#62;",
        "</template></script></style></textarea>",
        "<!-- a comment --> <![CDATA[x]]> <?php 1 ?> <!DOCTYPE html>",
        "[a]: javascript:1 'title'",
        '<p style="position:fixed" class="named" id="end">',
    ],
)
def test_hostile_text_is_seen_as_itself(hostile: str) -> None:
    for text in (hostile, FENCED + hostile, f"```bbj\n{hostile}\n```", f"```html\n{hostile}\n```"):
        assert hostile in check(html(text)).text
    assert hostile in check(html(FENCED + f"`{hostile}`")).text


@pytest.mark.parametrize(
    "info", ['"><script>x</script>', "bbj onload=x", "</pre><svg>", "../../etc", "a" * 5000, "{.named #end}", "BBj"]
)
def test_a_fence_with_a_hostile_tag(info: str) -> None:
    seen = check(html(f"~~~{info}\nprint 1\n~~~"))
    assert seen.text.strip() == "print 1"
    assert "onload" not in seen.text and "end" not in seen.text


def test_what_is_not_seen_is_spelled_out() -> None:
    text = "a\u202eb\x1b[2Jc\x00d\u200be\ud800f"
    spelled = r"a\u202eb\u001b[2Jc\u0000d\u200be\ud800f"
    assert check(html(text)).text == spelled + "\n"
    assert spelled in check(html(FENCED + text)).text
    assert "&#x202e;" in check(html(FENCED + "&#x202e;")).text  # an entity does not bring it back


def test_a_text_without_a_fence_stands_as_it_is() -> None:
    code = '0010 print "<b>", *x*\n    # no heading\n0020 goto 0010'
    assert (
        html(code)
        == f'<pre class="plain">{code.replace("<", "&lt;").replace(">", "&gt;").replace(chr(34), "&quot;")}</pre>\n'
    )
    assert html(" \n") == '<p class="aside">(nothing)</p>'


def test_markdown() -> None:
    made = html("# One\n### Two\n\n3. *a*\n4. `b`\n\n| n | t |\n|--:|:-:|\n| 1 | **x** |\n\n" + FENCED)
    assert "<h4>One</h4>\n<h4>Two</h4>" in made
    assert '<ol start="3">\n<li><em>a</em></li>\n<li><code>b</code></li>' in made
    assert '<td class="right">1</td>\n<td class="center"><strong>x</strong></td>' in made
    assert '<pre class="code">x = <span class="n">1</span></pre>' in made


@pytest.mark.parametrize(
    ("code", "made"),
    [
        ("0010 print 'CS',\"a\"", "<l>0010</l> <k>print</k> <s>'CS'</s>,<s>\"a\"</s>"),
        ("next_line: READ (1,END=done)a$", "<l>next_line</l>: <k>READ</k> (<n>1</n>,<k>END</k>=done)a$"),
        ("20 loop: goto 20", "<l>20</l> <l>loop</l>: <k>goto</k> <n>20</n>"),
        ("x = len(a$) ; rem len", "x = <b>len</b>(a$) ; <c>rem len</c>"),
        ("rem!!! print", "<c>rem!!! print</c>"),
        ("rem! = 1", "rem! = <n>1</n>"),
        ("print$ = $0A0D$ + w!.close()", "print$ = <s>$0A0D$</s> + w!.close()"),
        ('if a then print "open', '<k>if</k> a <k>then</k> <k>print</k> <s>"open'),
        ("::a.bbj::B x = .5e-3", "::a.bbj::B x = <n>.5e-3</n>"),
    ],
)
def test_bbj_is_coloured(code: str, made: str) -> None:
    seen = re.sub(r'<span class="(.)">(.*?)</span>', r"<\1>\2</\1>", highlight.spans(code, "bbj"))
    seen = seen.replace("&quot;", '"').replace("&#x27;", "'")
    assert seen.removesuffix("</s>") == made.removesuffix("</s>")


def test_every_reference_is_coloured_alike_however_it_is_tagged() -> None:
    for line in (REPOSITORY / "eval/prompts/realistic/scenarios.jsonl").read_text().splitlines():
        text = json.loads(line)["reference"]
        assert html(text) == html(text.replace("```bbj", "```")) == html(text.replace("```bbj", "```BASIC"))
        assert '<span class="k">' in html(text)


def test_a_long_text_is_cut_and_says_so() -> None:
    made = html("a" * (LONGEST + 1234))
    assert made.endswith('<p class="aside">… 1,234 more characters are not shown</p>')
    assert len(made) < LONGEST + 200
    long = "rem\n" * (highlight.LONGEST // 4 + 1)
    assert "<span" not in html(f"```bbj\n{long}```")


def test_what_is_nested_too_deep_is_shown_as_it_was_written() -> None:
    for deep in (">" * 2 * DEEPEST + " end", "- " * 2 * DEEPEST + "end", FENCED + ">" * 2 * DEEPEST + " end"):
        assert check(html(deep)).text.strip() == deep.strip()


@pytest.mark.parametrize(
    "piece", ["[", "*a **b ", "`", ">", "- ", '"', "_", "(", "|a", "rem  ", "$0", " ", "<", "&", "'x"]
)
@pytest.mark.parametrize("tag", ["", "bbj", "sql"])
def test_no_text_takes_long(piece: str, tag: str) -> None:
    text = piece * (LONGEST // len(piece))
    before = time.process_time()
    html(f"```{tag}\nx\n```\n{text}")
    html(f"```{tag}\n{text[: highlight.LONGEST - 1]}")
    assert time.process_time() - before < 5
