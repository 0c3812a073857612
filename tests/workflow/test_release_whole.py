"""One type of GGUF by real Snakemake, from the adapter to a decision: converted, asked, scored, checked, told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bbjspec.digest import sha256_file
from bbjspec.errors import EnvironmentLacks
from tests.harness import log_starts, snakemake, would_run

converter = pytest.importorskip("bbjspec.stages.converter")
pytest.importorskip("bbjspec.stages.parity")
pytest.importorskip("bbjspec.stages.merge")


def test_one_type_is_made_measured_and_decided_on(
    small: Path, tmp_path: Path, replace_in: Callable[[Path, str, str], None]
) -> None:
    try:
        converter.find()
    except EnvironmentLacks as error:
        pytest.skip(str(error))
    spec, models = small / "experiments/v1.yaml", tmp_path / "models"
    replace_in(spec, "gguf: []", f"gguf: [q8_0], gate: none, dir: {models}")
    done = snakemake(small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert would_run(small) == {}
    document = json.loads((small / "adapters/v1/export.json").read_text())
    entry, card = document["types"]["q8_0"], (small / "adapters/v1/MODEL_CARD.md").read_text()
    assert "`export.gate: none`" in card.partition("## Data")[0]
    assert str(small) not in card and document["parity"]["prompts"] == 24
    # An adapter of 48 steps passes nothing, so nothing could be lost: it is withheld, but measured.
    assert entry["non_inferior"]["verdict"] == "not settled" and not entry["released"]
    assert entry["sha256"] == sha256_file(next(small.glob("build/gguf/*/gguf/q8_0.gguf")))
    assert (small / "adapters/v1/gguf/q8_0/generations.jsonl").is_file() and not models.exists()
    assert not list((small / "adapters").rglob("*.gguf"))
    # Another gate decides anew about the same files.
    replace_in(spec, "gate: none", "gate: pass")
    assert would_run(small) == {"release": 1, "card": 1, "publish": 1}
    assert snakemake(small).returncode == 0
    assert "**withheld**, there is no Modelfile" in (small / "adapters/v1/MODEL_CARD.md").read_text()
    starts = log_starts(small)
    assert [count for stage, count in starts.items() if stage.startswith(("gguf", "train"))] == [1, 1]
