"""The Modelfile as Ollama reads it, and its template in Go and in Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbjspec.errors import BadInput
from bbjspec.spec.eval import SamplingSpec
from bbjspec.stages.modelfile import CHAT, CLOSE, OPEN, modelfile, quoted, rendered

TEMPLATE = Path(__file__).parents[2] / "templates/Modelfile.j2"
SHOWN = "templates/Modelfile.j2"
SAMPLING = SamplingSpec().model_dump(mode="json")


def read(text: str) -> list[tuple[str, str]]:
    """(instruction with its parameter, value) as Ollama's parser finds them.

    It drops what does not print, and ends a value at the first line break before which its quotes are closed.
    """
    found: list[tuple[str, str]] = []
    name, value = "", None
    for character in text:
        if value is None:
            if name.startswith("#"):
                name = "" if character in "\r\n" else name
            elif character in " \t" and name == "PARAMETER":
                name += " "
            elif character in " \t" and name:
                assert name in ("FROM", "TEMPLATE", "SYSTEM", "LICENSE") or re.fullmatch(r"PARAMETER [a-z_]+", name)
                value = ""
            elif name or character not in " \t\r\n":
                name += character
        elif character in "\r\n" and (done := unquoted(value.strip())) is not None:
            found.append((name, done))
            name, value = "", None
        elif character.isprintable() or character in "\t\r\n":
            value += character
    assert not name and value is None, (name, value)
    return found


def unquoted(value: str) -> str | None:
    """The value without its quotes; None while they are open."""
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            closed = len(value) >= 2 * len(quotes) and value.endswith(quotes)
            return value[len(quotes) : -len(quotes)] if closed else None
    return value


def file(sampling: dict[str, Any] | None = None, **options: Any) -> str:
    return modelfile(TEMPLATE, SHOWN, "q4_k_m.gguf", SAMPLING | (sampling or {}), 4096, **options)


def test_the_whole_file() -> None:
    text = file({"stop": ["END IT", CLOSE]}, licence="apache-2.0")
    assert read(text) == [
        ("FROM", "./q4_k_m.gguf"),
        ("TEMPLATE", CHAT),
        ("SYSTEM", SAMPLING["system_prompt"]),
        ("PARAMETER temperature", "0.7"),
        ("PARAMETER top_p", "0.95"),
        ("PARAMETER top_k", "0"),
        ("PARAMETER min_p", "0.0"),
        ("PARAMETER repeat_penalty", "1.0"),
        ("PARAMETER repeat_last_n", "-1"),
        ("PARAMETER num_predict", "1024"),
        ("PARAMETER seed", "-1"),
        ("PARAMETER stop", "<|im_end|>"),
        ("PARAMETER stop", "<|endoftext|>"),
        ("PARAMETER stop", "END IT"),
        ("PARAMETER num_ctx", "4096"),
        ("LICENSE", "apache-2.0"),
    ]
    assert "# No parameter: n (10 answers a prompt) and batch_size (16 at once) are how the evaluation went.\n" in text
    assert "cuts by top_p after the temperature" in text
    assert not any(name == "LICENSE" for name, _ in read(file()))


def test_every_field_of_the_sampling_has_its_place() -> None:
    """A field that is new in the spec fails here until the Modelfile says what becomes of it."""
    assert set(SamplingSpec.model_fields) == {
        *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens", "stop"),  # parameters
        *("n", "batch_size", "seed"),  # comments
        "system_prompt",
    }


@pytest.mark.parametrize(
    ("sampling", "said"),
    [({"top_p": 0.5}, "top_p"), ({"min_p": 0.1, "top_p": 0.5}, "top_p and min_p"), ({"top_p": 1, "top_k": 5}, None)]
    + [({"temperature": temperature, "top_p": 0.5}, None) for temperature in (0.0, 1.0)],
)
def test_an_order_of_samplers_that_differs_is_told(sampling: dict[str, Any], said: str | None) -> None:
    text = file(sampling)
    assert ("No parameter: the order." in text) is bool(said)
    assert said is None or f"cuts by {said} after the temperature" in text


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        'Say "yes".',
        '"',
        '""',
        '"""',
        'a """ within a line',
        "Ends in '''\nand \"",
        'Ends in """',
        "C:\\dir\\n \\",
        "{{ .Prompt }} {{- end }} {% raw %} {# x #}",
        "  blanks around \t",
        "# no comment\n# none either\n",
        "one\r\ntwo\n\n\nthree\n",
        "",
        "FROM x\nSYSTEM y",
        "漢字, naïve, 🙂🏽",
    ],
)
def test_a_system_prompt_comes_back_as_it_was(text: str) -> None:
    assert dict(read(file({"system_prompt": text})))["SYSTEM"] == text
    assert ("PARAMETER stop", text) in read(file({"stop": [text]}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a """\nb', 'a Modelfile cannot hold a line that ends with """, where Ollama takes the text to end; '),
        ('"""  \t\r\nb', 'a Modelfile cannot hold a line that ends with """, where Ollama takes the text to end; '),
        ("a\u00a0b", "a Modelfile cannot hold the character U+00A0, which Ollama drops; write it without"),
        ("👩\u200d💻", "a Modelfile cannot hold the character U+200D, which Ollama drops; write it without"),
        ("a\x00", "a Modelfile cannot hold the character U+0000, which Ollama drops; write it without"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        file({"system_prompt": text})
    assert str(error.value).startswith(f"eval.sampling.system_prompt: {said}")
    with pytest.raises(BadInput, match=r"^eval\.sampling\.stop: a Modelfile cannot hold"):
        file({"stop": [text]})
    with pytest.raises(BadInput, match=r"^the licence: a Modelfile cannot hold"):
        file(licence=text)


@given(st.text(st.sampled_from('"""" \t\r\n\\#{}a\u00a0'), max_size=12) | st.text(max_size=12))
def test_a_value_comes_back_or_is_refused(text: str) -> None:
    try:
        written = quoted(text, "x")
    except BadInput:
        broken = f'SYSTEM """{text}"""\n'
        with pytest.raises(AssertionError):
            assert read(broken) == [("SYSTEM", text)]  # not refused for nothing
    else:
        assert read(f"SYSTEM {written}\nFROM x\n") == [("SYSTEM", text), ("FROM", "x")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("TEMPLATE {{ chat }}", "TEMPLATE mine"), "its TEMPLATE is not the one that was checked; write the line "),
        (("SYSTEM {{ system }}", ""), "its SYSTEM is not the one that was checked; write the line SYSTEM {{ system }}"),
        (("{{ gguf }}", "{{ file }}"), "'file' is undefined"),
    ],
)
def test_a_template_that_leaves_out_what_was_checked(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    template = tmp_path / "Modelfile.j2"
    template.write_text(TEMPLATE.read_text().replace(*change))
    with pytest.raises(BadInput) as error:
        modelfile(template, SHOWN, "x.gguf", SAMPLING, 4096)
    assert str(error.value).startswith(SHOWN) and said in str(error.value)


def go(template: str, messages: list[dict[str, str]]) -> str:
    """What the four actions of CHAT do: .System, range .Messages, if ne .Role "system", and .Role and .Content."""
    head, loop, tail = re.split(r'{{ range .Messages }}{{ if ne .Role "system" }}|{{ end }}{{ end }}', template)
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    turns = [message for message in messages if message["role"] != "system"]
    body = (re.sub(r"{{ \.(\w+) }}", lambda at, m=m: m[at[1].lower()], loop) for m in turns)  # type: ignore[misc]
    return head.replace("{{ .System }}", system) + "".join(body) + tail


def test_go_and_python_are_made_of_the_same_pieces() -> None:
    pieces = re.split(r"{{.*?}}", CHAT)
    assert pieces == [
        f"{OPEN}system\n",
        f"{CLOSE}\n",
        "",
        OPEN,
        "\n",
        f"{CLOSE}\n",
        "",
        f"{OPEN}assistant\n",
    ]
    assert re.findall(r"{{(.*?)}}", CHAT) == [
        " .System ",
        " range .Messages ",
        ' if ne .Role "system" ',
        " .Role ",
        " .Content ",
        " end ",
        " end ",
    ]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=3), st.text(), st.booleans())
def test_go_and_python_render_alike(turns: list[tuple[str, str]], system: str, given_one: bool) -> None:
    messages = [{"role": "system", "content": system}]
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    expected = go(CHAT, messages[:-1])
    if given_one:
        assert rendered(messages[:-1], "another") == expected
    else:
        assert rendered(messages[1:-1], system) == expected
