"""bbjcpl's command line over the checker, and the driver: `bbjspec cpl` in bbjcpl's place, and fakes that misbehave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bbjspec.bbj.compiler import Bbjcpl, open_compiler
from bbjspec.bbj.cpl import main as cpl
from bbjspec.errors import EnvironmentLacks

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def bbjspec(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bbjspec", *arguments]
    return subprocess.run(command, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=60)


def script(folder: Path, text: str) -> Path:
    """An executable bbjcpl of a few lines of Python, with `cpl` at hand."""
    folder.mkdir(exist_ok=True)
    fake = folder / "bbjcpl"
    head = f"#!{sys.executable}\nimport os, sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
    fake.write_text(head + "from bbjspec.bbj.cpl import main as cpl\nargv = sys.argv[1:]\n" + text + "\n")
    fake.chmod(0o755)
    return fake


def fake(folder: Path, text: str, timeout: float = 20) -> Bbjcpl:
    return Bbjcpl((str(script(folder, text)),), "26.03", timeout=timeout)


def test_errors_are_lines_in_bbjcpls_form(tmp_path: Path) -> None:
    good, bad, listed = tmp_path / "good.bbj", tmp_path / "bad.bbj", tmp_path / "list.txt"
    good.write_text("print 1\n")
    bad.write_bytes(b"print 1\r\n  x == 2\r\ngosub nowhere\r\n")
    listed.write_text(f"{good}\n{bad}\n")
    expected = (
        f"{bad}: error at line 20 (2):   x == 2\n"
        f"{bad}: error: label nowhere used but not defined at line 30 (3): gosub nowhere\n"
    )
    for arguments in (["-N", str(good), str(bad)], ["-N", "-t", str(bad)], [f"-@{listed}"], ["-t", str(bad), "-N"]):
        ran = bbjspec("cpl", *arguments)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", expected), arguments


def test_a_missing_file_is_a_line_and_no_failure(tmp_path: Path) -> None:
    ran = bbjspec("cpl", "-N", str(tmp_path / "none.bbj"))
    assert ran.returncode == 0 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1
    assert "none.bbj" in ran.stderr


def test_explain_adds_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.bbj"
    bad.write_text('name = "Ada"\n')
    assert cpl(["--explain", str(bad)]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == f'{bad}: error at line 10 (1): name = "Ada"'
    assert second == "    type: name takes a number, but this is a string."


def test_a_latin_1_file_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a.bbj"
    program.write_bytes('print "ü"\nprint "ü\n'.encode("latin-1"))
    assert "(2)" in bbjspec("cpl", str(program), PYTHONIOENCODING="utf-8").stderr


def test_the_driver_reads_the_lines_of_a_process(tmp_path: Path) -> None:
    programs = ["print 1\n", "x == 2\n", "gosub nowhere\n", "a: rem at line 5 (5): x\nx == 3\n", 'print "ü\n'] * 40
    verdicts = open_compiler("bbjcpl", None, str(script(tmp_path, "sys.exit(cpl(argv))"))).compile(programs)
    builtin = open_compiler("builtin", None).compile(programs)
    assert [v.verdict for v in verdicts] == ["valid", *["compile_error"] * 4] * 40
    assert [[(e.line, e.source) for e in v.errors] for v in verdicts] == [
        [(e.line, e.source) for e in v.errors] for v in builtin
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cpl(argv); sys.exit(1)", "exit status is 1"),
        ("", "canaries"),
        ("cpl([*argv[:-1]])", "canaries"),
        (
            "cpl(argv); print('p00000.bbj: error at line 10 (1): x', file=sys.stderr) if 0 else os._exit(7)",
            "status is 7",
        ),
        ("print('Picked up JAVA_TOOL_OPTIONS: -Xmx1g', file=sys.stderr); cpl(argv)", "not understood"),
        ("print('Exception in thread \"main\" java.lang.OutOfMemoryError', file=sys.stderr)", "not understood"),
        ("print('OpenJDK 64-Bit Server VM warning: sharing is off'); cpl(argv)", "not understood"),
        ("cpl(argv); sys.stderr.write('p00000.bbj: error at li')", "not understood"),
        ("sys.stderr.write('p00000.bbj: error at line 10 (1')", "not understood"),
        ("print('other.bbj: error at line 10 (1): x', file=sys.stderr); cpl(argv)", "not understood"),
        ("cpl(argv[: len(argv) // 2]); os._exit(0)", "canaries"),
        ("cpl(argv[: len(argv) // 2]); os.kill(os.getpid(), 9)", "exit status"),
        ("time.sleep(60)", "ran past"),
        ("cpl(argv)\nif os.fork() == 0: time.sleep(60)\ntime.sleep(60)", "ran past"),
        ("os.write(2, b'x' * 4_000_000) and None\nwhile 1: os.write(2, b'y' * 65536)", "more than"),
    ],
)
def test_a_compiler_that_misbehaves_gives_no_verdict(tmp_path: Path, text: str, why: str) -> None:
    compiler = fake(tmp_path, text, timeout=2 if "sleep" in text else 20)
    began = time.monotonic()
    verdicts = compiler.compile(["print 1\n", "x == 2\n"])
    assert [v.verdict for v in verdicts] == ["infra_error"] * 2
    assert why in verdicts[0].errors[0].message
    assert time.monotonic() - began < 30


def test_a_program_that_brings_the_compiler_down_costs_only_itself(tmp_path: Path) -> None:
    text = (
        "bad = [f for f in argv if f.endswith('.bbj') and 'crash' in open(f).read()]\nsys.exit(3 if bad else cpl(argv))"
    )
    verdicts = fake(tmp_path, text).compile(["print 1\n", "rem crash\n", "x == 2\n"])
    assert [v.verdict for v in verdicts] == ["valid", "infra_error", "compile_error"]


def test_a_stumble_is_tried_again(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"if not os.path.exists({str(mark)!r}):\n    open({str(mark)!r}, 'w'); sys.exit(1)\ncpl(argv)"
    assert [v.verdict for v in fake(tmp_path / "bin", text).compile(["print 1\n"])] == ["valid"]


def test_java_options_do_not_reach_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1g")
    text = "if 'JAVA_TOOL_OPTIONS' in os.environ: print('Picked up JAVA_TOOL_OPTIONS', file=sys.stderr)\ncpl(argv)"
    assert [v.verdict for v in fake(tmp_path, text).compile(["print 1\n"])] == ["valid"]


def generations(path: Path) -> Path:
    texts = ["```bbj\nprint 1\n```", "```bbj\nx == 2\n```", "```bbj\nprint date\n```", "```python\nx\n```"]
    rows = [{"task_id": "t", "sample_idx": i, "completion": text} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_agreement_with_a_real_compiler(tmp_path: Path) -> None:
    text = "for f in argv:\n    if f.endswith('.bbj') and 'date' in open(f).read():\n"
    text += "        print(f'{f}: error at line 10 (1): print date', file=sys.stderr)\ncpl(argv)"
    script(tmp_path / "bin", text)
    ran = bbjspec("cpl", "--agreement", str(generations(tmp_path / "g.jsonl")), BBJ_HOME=str(tmp_path), PATH="/none")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("4 samples, 3 with a program, 3 with a verdict of bbjcpl")
    assert [line.split()[-2:] for line in lines[2:4]] == [["1", "1"], ["0", "1"]]
    assert lines[4] == "agreement: 2 of 3 (66.7%)"
    assert "t #2: line 1: print date" in lines[6]


def test_agreement_without_a_compiler_is_one_line_and_exit_3(tmp_path: Path) -> None:
    ran = bbjspec("cpl", "--agreement", str(generations(tmp_path / "g.jsonl")), BBJ_HOME="", PATH="/none")
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (3, "", 1)
    assert "bbjcpl" in ran.stderr


def test_agreement_of_a_bad_file(tmp_path: Path) -> None:
    script(tmp_path / "bin", "cpl(argv)")
    bad = tmp_path / "g.jsonl"
    bad.write_text('{"task_id": "t"}\n')
    ran = bbjspec("cpl", "--agreement", str(bad), BBJ_HOME=str(tmp_path), PATH="/none")
    assert ran.returncode == 1 and "g.jsonl:1: a row wants task_id" in ran.stderr
    ran = bbjspec("cpl", "--agreement", str(tmp_path / "none"), BBJ_HOME=str(tmp_path), PATH="/none")
    assert ran.returncode == 1 and "cannot be read" in ran.stderr


def test_the_builtin_names_its_version() -> None:
    with pytest.raises(EnvironmentLacks, match="builtin 999"):
        open_compiler("builtin", "999")
