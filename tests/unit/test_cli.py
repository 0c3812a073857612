"""The command line: help with examples, data for scripts, one line for what is wrong, and colour on terminals alone."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bbjspec import gc
from bbjspec.cardview import body
from bbjspec.cli import app, entry
from bbjspec.loop import loop
from bbjspec.terminal import WIDTH
from tests.answers import evaluate
from tests.harness import environment, write_project

Edit = Callable[..., None]
COMMANDS = sorted(getattr(get_command(app), "commands", {}))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CARD = """\
---
base_model: tiny
---
# v1

Better than its base: **0.5** against 0.0.

```text
## Data
```

| a | b |
|---|---|
| 1 | 2 |

## Data

The rows.
"""


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


def bbjspec(
    *words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines of stderr of the command as a person calls it."""
    monkeypatch.setattr(sys, "argv", ["bbjspec", *words])
    with pytest.raises(SystemExit) as ended:
        entry()
    said = capsys.readouterr()
    return int(str(ended.value.code or 0)), said.out, said.err.splitlines()


Call = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return lambda *words: bbjspec(*words, monkeypatch=monkeypatch, capsys=capsys)


def on_a_terminal(root: Path, *words: str, **variables: str) -> str:
    """What the command prints where standard output is a terminal."""
    ours, theirs = pty.openpty()
    settings = {name: value for name, value in environment().items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "bbjspec", *words],
        cwd=root,
        env={**settings, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm-256color", **variables},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            data = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        out += data
    os.close(ours)
    process.wait(60)
    return out.decode()


# Help.


@pytest.mark.parametrize(
    ("command", "flag"),
    [(command, flag) for command in COMMANDS for flag in ("-h", "--help") if (command, flag) != ("cpl", "-h")],
)
def test_help_of_each_command_has_an_example(command: str, flag: str) -> None:
    """`cpl -h` is not among them: its options are bbjcpl's own."""
    result = CliRunner().invoke(app, [command, flag], env={"TERMINAL_WIDTH": "120", "NO_COLOR": "1"})
    assert result.exit_code == 0
    words = " ".join(result.stdout.replace("│", " ").split())
    assert f"Example: bbjspec {command} " in words or f"Example: bbjspec {command}" in words
    assert all(line.rstrip().endswith("│") for line in result.stdout.splitlines() if line.startswith("│ --"))


def test_examples_are_commands_that_are_understood() -> None:
    group = get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        example = " ".join((command.help or "").split()).partition("Example: bbjspec ")[2].split("\n")[0]
        words = example.split(" > ")[0].split()
        assert words[0] == name
        if name != "cpl":
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word.partition("=")[0] for word in words[1:] if word.startswith("-")} <= options


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_all(flag: str) -> None:
    result = CliRunner().invoke(app, [flag])
    assert result.exit_code == 0 and all(f" {command} " in result.stdout for command in COMMANDS)


# Without a command: the loop.


def test_the_loop_has_the_names_of_the_project(tmp_path: Path) -> None:
    assert any("bbjspec compare v3 v4" in line for line in loop(tmp_path))
    (tmp_path / "experiments").mkdir()
    assert any("bbjspec compare v3 v4" in line for line in loop(tmp_path))
    for at, name in enumerate(("v9", "v10", "base", "not a name", "run-007")):
        file = tmp_path / f"experiments/{name}.yaml"
        file.write_text("")
        os.utime(file, (1000 + at * (name != "not a name"), 1000 + at))
    said = "\n".join(loop(tmp_path))
    assert "bbjspec new run-008 --from run-007 --set lora.r=16" in said and "bbjspec card run-008" in said
    for name, following in (("v9", "v11"), ("base", "base-2")):
        os.utime(tmp_path / f"experiments/{name}.yaml")
        assert f"bbjspec compare {name} {following}" in "\n".join(loop(tmp_path))
        os.utime(tmp_path / f"experiments/{name}.yaml", (1, 1))


def test_without_a_command(here: Path, call: Call) -> None:
    code, out, err = call()
    assert (code, err) == (0, []) and len(out.splitlines()) <= 14
    order = [out.index(step) for step in ("bbjspec new v2 --from v1", "check v2", "plan v2", "snakemake", "card v2")]
    assert order == sorted(order) and "bbjspec compare v1 v2" in out and "--help" in out


def test_the_loop_is_made_of_commands_that_work(here: Path, call: Call) -> None:
    """The first command makes the spec that the next ones speak of."""
    commands = [line.split()[2:] for line in loop(here) if line.startswith("  ") and " bbjspec " in line]
    new, check, plan = commands[:3]
    assert call(*new)[0] == 0 and call(*check)[:2] == (0, "1 good: v2\n") and call(*plan)[0] == 0


# Wrong words.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek"], "no such command: chek; did you mean check? bbjspec --help tells more"),
        (["xyzzy"], "no such command: xyzzy; bbjspec --help tells more"),
        (["plan", "--jsn"], "no such option: --jsn; did you mean --json? bbjspec plan --help tells more"),
        (["gc", "--remove-all"], "no such option: --remove-all; bbjspec gc --help tells more"),
        (["new"], "missing argument 'name'; bbjspec new --help tells more"),
        (["schema", "x"], "got unexpected extra argument(s) (x); bbjspec schema --help tells more"),
        (["audit", "x.jsonl", "--max-length", "many"], "invalid value for '--max-length': "),
        (["compare", "v1"], "missing argument"),
    ],
)
def test_what_is_not_understood_is_one_line(words: list[str], said: str, call: Call) -> None:
    code, out, err = call(*words)
    assert (code, out, len(err)) == (2, "", 1) and err[0].startswith(f"bbjspec: {said}")


# Data.


def test_check_as_data(here: Path, edit: Edit, call: Call) -> None:
    code, out, err = call("check", "--json")
    assert (code, json.loads(out), err) == (0, {"good": ["v1"], "findings": []}, [])
    (here / "experiments/v2.yaml").write_text("extends: v1\nlora:\n  r: many\n")
    code, out, err = call("check", "--json")
    document = json.loads(out)
    assert code == 1 and document["good"] == ["v1"] and len(document["findings"]) == len(err) == 1
    finding = document["findings"][0]
    assert (finding["file"], finding["line"], finding["column"], finding["path"]) == (
        "experiments/v2.yaml",
        3,
        6,
        "lora.r",
    )
    assert err == [f"experiments/v2.yaml:3:6: lora.r: {finding['message']}"]
    code, out, err = call("check", "--json", "v3")
    assert (code, out) == (2, "") and err == ["bbjspec: no such experiment: v3; there are v1, v2"]


def test_check_of_the_suite_as_data(here: Path, call: Call) -> None:
    code, out, _ = call("check", "--suite", "--json")
    document = json.loads(out)
    assert code == (1 if document["findings"] else 0) and all(f["message"] for f in document["findings"])
    (here / "bad.jsonl").write_text("{}\n")
    code, out, err = call("check", "--suite", "bad.jsonl", "--json")
    assert code == 1 and json.loads(out)["findings"][0]["file"] == "bad.jsonl" and err


def test_gc_as_data(here: Path, edit: Edit, call: Call) -> None:
    edit("learning_rate: 1e-3", "learning_rate: 2e-3")
    listed = json.loads(call("gc", "--json")[1])
    assert len(listed["garbage"]) == 6 and not listed["deleted"]
    thing = listed["garbage"][0]
    assert set(thing) == {"path", "size", "why", "deleted", "kept"} and not thing["deleted"]
    gone = json.loads(call("gc", "--json", "--delete")[1])
    assert [t["path"] for t in gone["garbage"]] == [t["path"] for t in listed["garbage"]]
    assert all(t["deleted"] for t in gone["garbage"]) and gc.find(here) == []


def test_diff_as_data(here: Path, call: Call) -> None:
    (here / "experiments/v2.yaml").write_text("extends: v1\nlora: {r: 8}\ndata: {seed: 7}\n")
    code, out, err = call("diff", "v1", "v2", "--json")
    document = json.loads(out)
    assert (code, err) == (0, []) and len(document["warnings"]) == 1
    assert {"section": "lora", "field": "lora.r", "old": 4, "new": 8} in document["changes"]


def test_plan_compare_and_compile_are_data(here: Path, call: Call) -> None:
    assert set(json.loads(call("plan", "--json")[1])) == {"v1"}
    assert json.loads(call("compile", "--to", "json")[1])
    assert json.loads(call("schema")[1])["title"] == "Experiment"


# The card.


def test_the_card(here: Path, edit: Edit, call: Call) -> None:
    assert call("card", "v2") == (2, "", ["bbjspec: no such experiment: v2; there are v1"])
    (here / "adapters/v1/MODEL_CARD.md").write_text(CARD)
    lock = json.loads((here / "adapters/v1/lock.json").read_text())
    import hashlib

    lock["files"]["MODEL_CARD.md"] = hashlib.sha256(CARD.encode()).hexdigest()
    (here / "adapters/v1/lock.json").write_text(json.dumps(lock))
    code, out, err = call("card", "v1")
    first = CARD.partition("\n---\n")[2].rpartition("## Data")[0].strip()
    assert (code, err) == (0, [])
    assert out == f"{first}\n\nthe whole card: bbjspec card v1 --full\nadapters/v1/MODEL_CARD.md\n"
    code, out, _ = call("card", "v1.yaml", "--full")
    assert out.endswith("## Data\n\nThe rows.\n\nadapters/v1/MODEL_CARD.md\n")
    edit("r: 4", "r: 8")
    again = "not what experiments/v1.yaml says now: snakemake --cores 8 v1 --resources gpu=1 makes it anew"
    assert again in call("card", "v1")[1].splitlines()
    (here / "experiments/v1.yaml").write_text("model: 1\n")
    assert "experiments/v1.yaml has errors now: bbjspec check v1" in call("card", "v1")[1].splitlines()
    (here / "experiments/v1.yaml").unlink()
    assert "experiments/v1.yaml is gone" in call("card", "v1")[1].splitlines()


@pytest.mark.parametrize("name", ["..", ".", "a/../..", "$(id)", "V1", "v1\n"])
def test_no_card_outside_of_adapters(here: Path, call: Call, name: str) -> None:
    (here / "MODEL_CARD.md").write_text("outside")
    code, out, err = call("card", name)
    assert (code, out) == (2, "") and err[0].startswith("bbjspec: no such experiment: ")


def test_a_card_that_is_not_there(here: Path, call: Call) -> None:
    shutil.rmtree(here / "adapters")
    assert call("card", "v1")[2] == ["bbjspec: v1 has no card yet; run snakemake --cores 8 v1 --resources gpu=1"]
    (here / "experiments/v2.yaml").write_text("model: 1\n")
    assert call("card", "v2")[2] == ["bbjspec: v2 has no card, and its spec has errors; run bbjspec check v2"]


def test_a_card_moves_no_cursor() -> None:
    assert list(body("a\x1b[2Jb\u202ec\x07\td")) == ["a\\u001b[2Jb\\u202ec\\u0007\td"]


def test_the_example_card_on_a_terminal(here: Path) -> None:
    example = Path(__file__).parents[2] / "docs/example-card/MODEL_CARD.md"
    shutil.copy(example, here / "adapters/v1/MODEL_CARD.md")
    coloured = on_a_terminal(here, "card", "v1")
    assert COLOUR.search(coloured) and "base_model:" not in coloured and "## " not in coloured
    plain = on_a_terminal(here, "card", "v1", NO_COLOR="1")
    assert "\x1b" not in plain and plain.splitlines()[-1] == "adapters/v1/MODEL_CARD.md"


# Colour.


@pytest.mark.parametrize("words", [["plan"], ["doctor"], ["audit", "dataset/rows.jsonl"]])
def test_colour_is_for_terminals_without_no_color(here: Path, call: Call, words: list[str]) -> None:
    if words == ["plan"]:
        (here / "experiments/v2.yaml").write_text("extends: v1\nlora: {r: 8}\n")
    assert COLOUR.search(on_a_terminal(here, *words))
    assert "\x1b" not in on_a_terminal(here, *words, NO_COLOR="1")
    assert "\x1b" not in call(*words)[1]


def test_a_comparison_on_a_terminal_and_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    from bbjspec.plan import read_plan

    root = tmp_path / "project"
    write_project(root)
    (root / "experiments/v2.yaml").write_text("description: more steps\nextends: v1\ntraining: {max_steps: 64}\n")
    plan = read_plan(root)
    passes = {f"t/print/{i}": 2 for i in range(100, 120)}
    for name, rate in (("v1", {}), ("v2", passes)):
        evaluate(root, plan.experiments[name], {}, rate)
    monkeypatch.chdir(root)
    assert COLOUR.search(on_a_terminal(root, "compare", "v1", "v2"))
    assert "\x1b" not in on_a_terminal(root, "compare", "v1", "v2", NO_COLOR="1")
    out = call("compare", "v1", "v2")[1]
    assert "\x1b" not in out and max(map(len, out.splitlines())) <= WIDTH
    assert json.loads(call("compare", "v1", "v2", "--json")[1])["verdict"] == "better"


def test_help_has_no_colour_elsewhere(here: Path) -> None:
    assert not re.search(r"\x1b\[[0-9;]*(?:3|9|4)[0-7]", on_a_terminal(here, "plan", "-h", NO_COLOR="1"))
    assert "\x1b" not in CliRunner().invoke(app, ["plan", "-h"]).stdout
