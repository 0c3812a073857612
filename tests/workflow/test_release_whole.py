"""One type of GGUF by real Snakemake, from the adapter to the Modelfile: converted, asked, scored, released, placed."""

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


def test_the_whole_way_to_a_modelfile(
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
    assert "`export.gate: none`" in card.partition("@")[0].partition("## Data")[0]
    assert str(small) not in card and document["parity"]["prompts"] == 24
    # 24 prompts, and an adapter of 48 steps: whether it is as good is told, whatever it is.
    assert entry["non_inferior"]["verdict"] in ("non-inferior", "inferior", "not settled")
    assert not list((small / "adapters").rglob("*.gguf"))
    if entry["released"]:
        assert sha256_file(models / "v1/q8_0.gguf") == entry["sha256"]
        assert (models / "v1/Modelfile.q8_0").read_bytes() == (small / "adapters/v1/Modelfile.q8_0").read_bytes()
        assert f"cd {models}/v1" in card
    # Another gate decides anew about the same files.
    replace_in(spec, "gate: none", "gate: pass")
    assert would_run(small) == {"release": 1, "card": 1, "publish": 1}
    assert snakemake(small).returncode == 0
    assert not (models / "v1/Modelfile.q8_0").exists() and not (models / "v1/q8_0.gguf").exists()
    assert "**withheld**, there is no Modelfile" in (small / "adapters/v1/MODEL_CARD.md").read_text()
    starts = log_starts(small)
    assert [count for stage, count in starts.items() if stage.startswith(("gguf", "train"))] == [1, 1]
