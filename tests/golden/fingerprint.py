"""What a stage's results may depend on in this package: its module and all that it imports, as one hash a module.

Comments, formatting and docstrings do not count. `python -m tests.golden.fingerprint` records what is there now, after
a version was raised, or when an edit is known to leave results as they were.
"""

from __future__ import annotations

import ast
import json
import tempfile
from pathlib import Path
from typing import Any

from bbjspec.digest import canonical, sha256_bytes, sha256_file
from bbjspec.plan import read_plan
from bbjspec.stage import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = Path(__file__).with_name("stages.json")
DIGESTS = Path(__file__).with_name("digests.json")
# They move results and name them, and make none; `digest` and `sources` count.
MACHINERY = {
    *("bbjspec", "bbjspec.errors", "bbjspec.stage", "bbjspec.store", "bbjspec.publish", "bbjspec.published"),
    *("bbjspec.parent", "bbjspec.placing", "bbjspec.rating"),
}


def file_of(module: str, root: Path = REPOSITORY) -> Path | None:
    """The source of a module of the package, or None when there is no such module."""
    path = root / module.replace(".", "/")
    found = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return found[0] if found else None


def imported(tree: ast.Module, root: Path = REPOSITORY) -> set[str]:
    """Modules of the package that a module imports, at its top or inside its functions, with their packages."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name for name in names if name.split(".")[0] == "bbjspec"}
    parents = {name.rsplit(".", count)[0] for name in ours for count in range(1, name.count(".") + 1)}
    return {name for name in ours | parents if file_of(name, root)}


def reached(module: str, root: Path = REPOSITORY) -> set[str]:
    """A module and all that it imports, and so on, without the machinery."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = file_of(name, root)
        if file is not None and name not in found | MACHINERY:
            found.add(name)
            waiting += imported(ast.parse(file.read_text(encoding="utf-8")), root)
    return found


def shape(node: Any) -> Any:
    """A syntax tree as JSON: no places, no docstrings, and nothing that only some versions of Python write down."""
    if isinstance(node, ast.AST):
        fields = {name: shape(value) for name, value in ast.iter_fields(node) if name != "kind"}
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]
    if isinstance(node, list):
        return [shape(item) for item in node if not _is_text_alone(item)]
    return node if node is None or isinstance(node, bool | int | str) else repr(node)


def _is_text_alone(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def module_hash(file: Path) -> str:
    """16 hex digits for a module's code, and for the data files beside it."""
    data = sorted((file.parent / "data").glob("*")) if file.name == "__init__.py" else []
    code = shape(ast.parse(file.read_text(encoding="utf-8")))
    return sha256_bytes(canonical([code, [[path.name, sha256_file(path)] for path in data]]))[:16]


def stages() -> dict[str, Any]:
    """Of each kind its version, and the hash of every module that it reaches."""
    found = {}
    for kind in sorted(KINDS):
        modules = {name: file_of(name) for name in sorted(reached(f"bbjspec.stages.{kind}"))}
        hashes = {name: module_hash(file) for name, file in modules.items() if file}
        found[kind] = {"version": KINDS[kind].version, "modules": hashes}
    return found


def digests() -> dict[str, dict[str, str]]:
    """The stages' digests of the specs that ship, over files that never change."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        chat = [{"role": role, "content": f"a {role}'s text"} for role in ("system", "user", "assistant")]
        row = json.dumps({"id": "r1", "kind": "code-generation", "messages": chat})
        prompt = {"id": "t/x", "tier": "syntax", "category": "x", "difficulty": "basic", "generation": "all"}
        checks = {"require": ["print"], "forbid": [], "min_statements": 1, "mode": "write"}
        prompt |= {"input": "Print 1.", "reference": "print 1\n"}
        for name, text in {
            "dataset/sample.jsonl": row,
            "dataset/dataset.jsonl": row,
            "templates/MODEL_CARD.md.j2": "card",
            "templates/Modelfile.j2": "FROM",
            **{
                f"eval/prompts/{tier}/{tier}.jsonl": json.dumps({**prompt, "id": f"t/{tier}", "checks": checks})
                for tier in ("syntax", "factual", "general", "realistic", "starter")
            },
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n", encoding="utf-8")
        (root / "experiments").mkdir()
        for spec in [*(REPOSITORY / "docs/examples").glob("*.yaml"), REPOSITORY / "experiments/demo.yaml"]:
            pinned = spec.read_text(encoding="utf-8").replace("COMMIT-OF-40-HEX-DIGITS", "c0ffee00" * 5)
            (root / "experiments" / spec.name).write_text(pinned, encoding="utf-8")
        plan = read_plan(root)
        if plan.bad:
            raise AssertionError(f"a shipped spec is bad: {plan.findings()[0]}")
        return {
            name: {role: stage.digest for role, stage in experiment.roles.items()}
            for name, experiment in plan.experiments.items()
        }


def record() -> None:
    """Write down what is there now."""
    for path, value in ((STAGES, stages()), (DIGESTS, digests())):
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
