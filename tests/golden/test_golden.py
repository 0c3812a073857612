"""A change of what a stage makes is noticed: raise its version, or record that results are as they were."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from bbjspec.digest import canonical
from bbjspec.stage import KINDS
from tests.golden import fingerprint

HOW = "python -m tests.golden.fingerprint"
RECORDED = json.loads(fingerprint.STAGES.read_text())
GOLDEN = json.loads(fingerprint.DIGESTS.read_text())


def said(kind: str, recorded: dict[str, object], now: dict[str, object]) -> str:
    """What is to be done about a stage that is not as it was recorded; empty when it is."""
    old, new = dict(recorded["modules"]), dict(now["modules"])  # type: ignore[call-overload]
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    if now["version"] != recorded["version"]:
        return f"{kind}: version {now['version']}, recorded is {recorded['version']}: record it with {HOW}"
    if changed:
        return (
            f"{kind}: {', '.join(changed)} changed: bump the version of {kind} in bbjspec/stage.py, "
            f"or re-record if results are unchanged: {HOW}"
        )
    return ""


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, object]]:
    return fingerprint.stages()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_edit_bumps_the_version_or_is_recorded(kind: str, stages: dict[str, dict[str, object]]) -> None:
    assert kind in RECORDED, f"{kind} is new: record it with {HOW}"
    message = said(kind, RECORDED[kind], stages[kind])
    assert not message, message


def test_digests_of_shipped_specs() -> None:
    now = fingerprint.digests()
    for name in sorted({*GOLDEN, *now}):
        roles = [r for r in now.get(name, {}) if GOLDEN.get(name, {}).get(r) != now[name][r]]
        assert not roles and name in now, (
            f"{name}: the digests of {', '.join(roles) or 'all stages'} changed, so every result of a spec like it is "
            f"made again. If only bbjspec changed, bump the version of {roles[0] if roles else 'the stage'}; re-record "
            f"if it is meant: {HOW}"
        )


def test_what_is_said() -> None:
    old = {"version": 1, "modules": {"bbjspec.a": "1", "bbjspec.b": "1"}}
    assert said("score", old, old) == ""
    assert said("score", old, {**old, "version": 2}).startswith("score: version 2, recorded is 1: record it with")
    edited = said("score", old, {"version": 1, "modules": {"bbjspec.a": "2", "bbjspec.c": "1"}})
    assert edited.startswith("score: bbjspec.a, bbjspec.b, bbjspec.c changed: bump the version of score")
    assert "re-record" in edited


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f(x):\n    return x + 1\n", True),
        ('"""Words."""\n\n# a comment\ndef f(x):\n    """More."""\n    return (x\n        + 1)\n', True),
        ("def f(x):\n    return x + 1\n\n\n'''Told of nothing.'''\n", True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x):\n    return x + 1.0\n", False),
        ("def f(y):\n    return y + 1\n", False),
        ("def f(x=None):\n    return x + 1\n", False),
    ],
)
def test_what_counts(tmp_path: Path, text: str, same: bool) -> None:
    plain, other = tmp_path / "plain.py", tmp_path / "other.py"
    plain.write_text("def f(x):\n    return x + 1\n")
    other.write_text(text)
    assert (fingerprint.module_hash(plain) == fingerprint.module_hash(other)) is same


def test_texts_that_are_values_count() -> None:
    shapes = {canonical(fingerprint.shape(ast.parse(f"x = {value}"))) for value in ("'a'", "'b'", "True", "1", "'1'")}
    assert len(shapes) == 5


def test_imports_are_followed(tmp_path: Path) -> None:
    for name, text in {
        "bbjspec/__init__.py": "",
        "bbjspec/errors.py": "import bbjspec.never",
        "bbjspec/never.py": "",
        "bbjspec/pack/__init__.py": "from bbjspec.deep import x",
        "bbjspec/pack/one.py": "",
        "bbjspec/deep.py": "",
        "bbjspec/stages/__init__.py": "",
        "bbjspec/stages/kind.py": "import json\ndef f():\n    from bbjspec.pack import one\nfrom bbjspec import errors",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert fingerprint.reached("bbjspec.stages.kind", tmp_path) == {
        "bbjspec.stages.kind", "bbjspec.pack", "bbjspec.pack.one", "bbjspec.deep",
    }  # fmt: skip


def test_stages_reach_what_they_use() -> None:
    assert {"bbjspec.bbj.checker", "bbjspec.metrics.intervals"} <= set(RECORDED["score"]["modules"])
    assert "bbjspec.embedded.pretrain" in RECORDED["base"]["modules"]
    assert not any("bbjspec.plan" in entry["modules"] for entry in RECORDED.values())
