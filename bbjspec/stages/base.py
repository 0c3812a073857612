"""Stage `base`: which weights are adapted. Built here (embedded), downloaded (Hub), or found (a local directory).

Config: base, revision (Hub alone), recipe (embedded alone). Outputs: `model.json`, the SHA-256 of every file, and
`model/`, the embedded weights. Hub snapshots stay in the Hub's cache, local directories where they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bbjspec.digest import sha256_file
from bbjspec.embedded import recipe, source_of
from bbjspec.errors import BadInput
from bbjspec.stage import StageRun
from bbjspec.stages import hub
from bbjspec.store import write_json


def run(stage: StageRun) -> None:
    """Make `model.json` and `model/`. Raises BadInput for unusable weights, EnvironmentLacks without the network."""
    base, revision = stage.config["base"], stage.config.get("revision")
    model = stage.directory / "model"
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir(parents=True)
    source = source_of(base)
    if source == "embedded":
        hub.go_offline()
        from bbjspec.embedded.pretrain import build

        build(recipe(base), stage.input("tokenizer") / "tokenizer", model, stage.log)
        where = model
    else:
        if source == "hub":
            stage.log.info("fetching the weights of %s", base)
        where = hub.locate(base, revision, stage.root, patterns=hub.WEIGHTS)
        # A branch moves; the snapshot's folder is named after the commit that it was when we looked.
        revision = where.name if source == "hub" else revision
    files = weight_files(where, base)
    write_json(
        stage.directory / "model.json",
        {
            "base": base,
            "revision": revision,
            "source": source,
            "files": {file.name: sha256_file(file) for file in files},
        },
    )
    stage.log.info("%s: %d files, %.1f MB", base, len(files), sum(file.stat().st_size for file in files) / 1e6)


def weight_files(directory: Path, base: str) -> list[Path]:
    """The files of a model that count, by name. Raises BadInput for a model without config or safetensors weights.

    Pickled weights are not taken: loading one runs the code that it carries.
    """
    files = sorted({file for pattern in hub.WEIGHTS for file in directory.glob(pattern) if file.is_file()})
    names = {file.name for file in files}
    if "config.json" not in names:
        raise BadInput(f"{base}: no config.json there; a base is a directory as transformers saves it")
    if not any(name.endswith(".safetensors") for name in names):
        raise BadInput(f"{base}: no *.safetensors there; convert the weights to safetensors (pickled ones are refused)")
    return files
