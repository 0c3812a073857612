"""`audit`: what is wrong with the dataset, by check, with the lines, as `bbjspec audit` shows it."""

from __future__ import annotations

from bbjspec.bbj.compiler import open_compiler
from bbjspec.data.audit import Judges, audit
from bbjspec.data.chat import load_tokenizer
from bbjspec.data.rows import finding, read_rows
from bbjspec.data.statistics import document
from bbjspec.errors import BadInput
from bbjspec.stage import StageRun
from bbjspec.store import write_json


def run(stage: StageRun) -> None:
    """Audit the dataset. Raises BadInput, with every bad line, when training could not read it."""
    (dataset,) = stage.sources["dataset"]
    judge = stage.config["compiler"]
    compiler = open_compiler(judge["name"], judge["version"], stage.resources.get("compiler_path"))
    max_length = stage.config["max_length"]
    found = audit(read_rows(dataset), Judges(compiler, load_tokenizer(stage.input("tokenizer")), max_length))
    if found.bad:
        shown = dataset.relative_to(stage.root).as_posix()
        raise BadInput(finding(bad, shown) for bad in found.bad)
    result = document(found, max_length) | {"compiler": {"name": compiler.name, "version": compiler.version}}
    flagged = {check: entry["count"] for check, entry in result["checks"].items() if entry["count"]}
    stage.log.info("%d rows; flagged: %s", result["rows"], flagged or "none")
    write_json(stage.directory / "audit.json", result)
