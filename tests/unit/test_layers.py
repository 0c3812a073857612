"""Imports point one way, and planning loads no machine learning library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "bbjspec"

# Each layer may import itself and what stands before it.
ORDER = [
    {"errors", "figures", "redact", "digest", "yamlplain", "bbj", "metrics", "embedded", "pairing"},
    {"markdown", "terminal", "progress", "signals"},
    {"yamlio", "spec", "suite", "suitefields", "data", "sandbox", "sandbox_child"},
    {"stage", "stagelog", "sources", "references"},
    {"owner", "store", "published", "publish", "parent", "placing", "leaderboard", "committing", "rating"},
    {"architecture", "memory"},
    {"stages", "generation"},
    {"selftest", "selftasks"},
    {"suites"},
    {"exporting", "experiment", "plan"},
    {"history", "needs", "gc", "cluster"},
    {"doctor", "cardview", "loop", "misuse"},
    {"why", "planview", "auditview", "comparing", "report"},
    {"workflow", "backends"},
    {"remote", "cli", "__main__"},
]
LAYER = {name: level for level, names in enumerate(ORDER) for name in names}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "bitsandbytes",
    "accelerate",
    "matplotlib",
    "scipy",
    "numpy",
    "llama_cpp",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "bbjspec":
                found |= {f"bbjspec.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("bbjspec.")}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    if top(path) == "__init__":
        return
    for name in imported(path):
        if name in LAYER:
            assert LAYER[name] <= LAYER[top(path)], f"{top(path)} imports {name}"


def test_every_module_has_its_layer() -> None:
    assert {top(path) for path in modules()} - {"__init__"} <= set(LAYER)


@pytest.mark.parametrize("module", ["bbjspec.workflow", "bbjspec.cli", "bbjspec.plan"])
def test_planning_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & HEAVY


def test_a_plan_loads_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from bbjspec.plan import read_plan; read_plan(Path.cwd());"
        "print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert not set(done.stdout.split()) & HEAVY
