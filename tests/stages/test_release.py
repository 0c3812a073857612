"""Stage release: what the gate and each quantization's own figures let through, and what Ollama is told.

Scores and comparison are made by the real stages of made-up answers. The check of prompts needs a real GGUF, which
only a whole run has: here it is one that agrees, or one that does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

from bbjspec.errors import EnvironmentLacks, StageFailed
from bbjspec.stage import StageRun
from bbjspec.stages import cardtext, models, release
from bbjspec.stages.card import FILTERS
from bbjspec.store import write_json
from tests.harness import write_project
from tests.unit.test_scoring import IDS, compared, scored

ADAPTER = "3f2a91c0" + "0" * 56
SAMPLING = {
    "n": 2, "temperature": 0.7, "top_p": 0.95, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
    "max_new_tokens": 72, "stop": [], "seed": 42, "batch_size": 16, "system_prompt": "You write BBj.",
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "gate": "provisional",
    "types": ["f16", "q4_k_m"],
    "ollama": {"num_ctx": 512, "create": False},
    "sampling": SAMPLING,
    "licence": "Apache-2.0",
    "margin": 0.10,
}
ALL, NONE = dict.fromkeys(IDS, 2), dict[str, int]()


@pytest.fixture(autouse=True)
def _other_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(tokenizer: Any, gguf: Path, prompts: Any, sampling: Any, num_ctx: int) -> dict[str, Any]:
        assert gguf.is_file() and sampling["system_prompt"] and num_ctx == 512
        return {"prompts": len(prompts), "checked": ["evaluation prompts"], "longest_prompt": 30}

    monkeypatch.setattr(models, "load_tokenizer", lambda stage, side: SimpleNamespace(eos_token="<|im_end|>"))
    monkeypatch.setitem(sys.modules, "bbjspec.stages.parity", SimpleNamespace(check=check))  # type: ignore[arg-type]


class Site:
    """A root with prompts, what upstream stages made, and the stage over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_project(root / "project")
        self.project = root / "project"
        self.prompts = self.project / "eval/prompts/print.jsonl"
        self.base = scored(self.project / "base", self.prompts, NONE)
        self.tuned = scored(self.project / "tuned", self.prompts, ALL)
        self.compare = self.compared()
        self.scores = {"f16": self.tuned, "q4_k_m": self.tuned}

    def compared(self, **edit: Any) -> Path:
        out = self.project / "compare"
        document = compared(out, base=self.base, tuned=self.tuned)
        write_json(out / "comparison.json", document | edit)
        return out

    def score(self, kind: str, passes: Mapping[str, int], **how: Any) -> None:
        self.scores[kind] = scored(self.project / kind, self.prompts, passes, **how)

    def run(self, **config: Any) -> dict[str, Any]:
        gguf = self.project / "gguf"
        files = {}
        for number, kind in enumerate(self.scores):
            (gguf / "gguf").mkdir(parents=True, exist_ok=True)
            (gguf / f"gguf/{kind}.gguf").write_text(kind)
            files[kind] = {"file": f"gguf/{kind}.gguf", "size": len(kind), "sha256": f"{number}" * 64}
        made = {"files": files, "base": "pico-qwen2", "adapter_sha256": ADAPTER, "base_weights": "bf16"}
        write_json(gguf / "gguf.json", made)
        directory = self.project / "release"
        directory.mkdir(exist_ok=True)
        template = self.project / "templates/Modelfile.j2"
        inputs = {"compare": self.compare, "gguf": gguf, "tokenizer": gguf, "base": gguf, "tuned_score": self.tuned}
        inputs |= {f"{kind}_score": path for kind, path in self.scores.items()}
        sources = {"prompts": [self.prompts], "template": [template]}
        stage = StageRun("release", "0" * 16, self.project, directory, CONFIG | config, inputs, sources)
        release.run(stage)
        document: dict[str, Any] = json.loads((directory / "export.json").read_text())
        return document

    @property
    def modelfiles(self) -> set[str]:
        return {path.name for path in self.project.glob("release/release/*")}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_is_as_good_is_released(site: Site) -> None:
    document = site.run()
    assert document["released"] is True and document["withheld"] is None
    assert document["decision"] == "PASS (provisional)" and document["gate"] == "provisional"
    assert document["adapter"] == {"value": 1.0, "ci": [1.0, 1.0], "sha256": ADAPTER}
    assert document["parity"] == {"prompts": 24, "checked": ["evaluation prompts"], "longest_prompt": 30}
    one = document["types"]["q4_k_m"]
    assert (one["size"], one["sha256"], one["released"], one["reason"]) == (6, "1" * 64, True, None)
    assert one["score"] == {"value": 1.0, "ci": [1.0, 1.0]}
    assert one["non_inferior"]["verdict"] == "non-inferior" and one["non_inferior"]["margin"] == 0.10
    assert site.modelfiles == {"Modelfile.f16", "Modelfile.q4_k_m"}
    text = (site.project / "release/release/Modelfile.q4_k_m").read_text()
    assert "\nFROM ./q4_k_m.gguf\n" in f"\n{text}" and "PARAMETER num_ctx 512\n" in text and "Apache-2.0" in text
    assert document["commands"] == [
        "ollama create bbjspec-3f2a91c0:f16 -f Modelfile.f16",
        "ollama run bbjspec-3f2a91c0:f16 'Write a BBj program that prints hello.'",
        "ollama create bbjspec-3f2a91c0:q4_k_m -f Modelfile.q4_k_m",
        "ollama run bbjspec-3f2a91c0:q4_k_m 'Write a BBj program that prints hello.'",
    ]
    assert document["created"] == []
    assert cardtext.release_sentence(document) == (
        "Export: f16, q4_k_m released. "
        "`export.gate: provisional`: a PASS by the builtin checker alone is enough for it."
    )


GATES = [
    ("pass", {}, "the gate's PASS is provisional: the builtin checker judged, not BBj's own compiler"),
    ("pass", {"decision": "PASS", "provisional": False}, None),
    ("provisional", {}, None),
    ("provisional", {"decision": "FAIL", "reason": "too little"}, "the gate says FAIL (too little)"),
    ("pass", {"decision": "INCONCLUSIVE", "reason": "who knows"}, "the gate says INCONCLUSIVE (who knows)"),
    ("none", {"decision": "FAIL", "reason": "too little"}, None),
]


@pytest.mark.parametrize(("gate", "found", "why"), GATES)
def test_nothing_is_deployed_without_evaluation(site: Site, gate: str, found: dict[str, Any], why: str | None) -> None:
    site.compared(**found)
    document = site.run(gate=gate)
    assert document["withheld"] == why and document["released"] is (why is None)
    assert bool(site.modelfiles) is (why is None) and bool(document["commands"]) is (why is None)
    assert {entry["reason"] for entry in document["types"].values()} == {why}
    assert document["types"]["f16"]["score"]["value"] == 1.0, "what is withheld is measured all the same"
    said = cardtext.release_sentence(document)
    if why:
        assert said.startswith(f"Export: **withheld**, there is no Modelfile: {why}.")
    if gate == "none":
        assert "**`export.gate: none`: no verdict is waited for; the gate says FAIL.**" in said


def test_a_worse_quantization_is_withheld_by_itself(site: Site) -> None:
    site.score("q4_k_m", dict.fromkeys(IDS[:12], 2))
    document = site.run()
    bad = document["types"]["q4_k_m"]
    assert document["released"] and document["withheld"] is None and site.modelfiles == {"Modelfile.f16"}
    assert bad["non_inferior"]["verdict"] == "inferior" and bad["non_inferior"]["diff"] == -0.5
    assert bad["reason"].startswith("worse than the adapter at a margin of 0.10 (-0.500 [")
    assert not any("q4_k_m" in command for command in document["commands"])
    said = cardtext.release_sentence(document)
    assert said.startswith("Export: f16 released. Withheld: q4_k_m (worse than the adapter at a margin of 0.10 (")
    site.score("f16", dict.fromkeys(IDS[:23], 2))  # one prompt fewer: nobody knows
    (site.project / "release/release/Modelfile.f16").unlink()
    document = site.run()
    assert document["types"]["f16"]["non_inferior"]["verdict"] == "not settled"
    assert document["types"]["f16"]["reason"].startswith("not known to be as good as the adapter at a margin of 0.10")
    assert document["withheld"] == "no quantization is known to be as good as the adapter"
    assert not document["released"] and not site.modelfiles and document["commands"] == []


def test_an_adapter_that_knows_nothing_loses_nothing_that_could_be_seen(site: Site) -> None:
    site.tuned = scored(site.project / "poor", site.prompts, dict.fromkeys(IDS[:2], 2))
    site.scores = {"f16": site.tuned, "q4_k_m": site.base}
    document = site.run(gate="none")
    assert not document["released"]
    for entry in document["types"].values():
        assert entry["non_inferior"]["verdict"] == "not settled"
        assert entry["reason"] == (
            "not known to be as good as the adapter at a margin of 0.10 (the adapter passes 0.083: too little to see "
            "0.1 of it go)"
        )


def card(document: Any) -> str:
    """The parts of the card about the export."""
    template = Path("templates/MODEL_CARD.md.j2").read_text()
    start, told = (template.index(f"{{% if release is not none {more}") for more in ("%}\n## Export", "and release."))
    parts = template[start : template.index("## Instructive")] + template[told : template.index("## Provenance")]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    return environment.from_string(parts).render(release=document)


def test_the_card_shows_each_against_the_adapter(site: Site) -> None:
    assert card(None) == ""
    site.score("q4_k_m", dict.fromkeys(IDS[:12], 2))
    text = card(site.run())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5 and len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| adapter | | 1.000 | [1.000, 1.000] |")
    assert (
        rows[3] == "| f16 | 0.0 MB | 1.000 | [1.000, 1.000] | +0.000 [0.000, 0.000] | −0.10 | non-inferior | released |"
    )
    assert "| 0.500 |" in rows[4] and rows[4].endswith("| inferior | **withheld** |")
    assert "cd @EXPORT_DIR@\nollama create bbjspec-3f2a91c0:f16 -f Modelfile.f16\n" in text and "### By Ollama" in text
    site.compared(decision="FAIL", reason="too little")
    (site.project / "release/release/Modelfile.f16").unlink()
    withheld = card(site.run())
    assert "ollama" not in withheld and withheld.count("**withheld**") == 2


def test_leaked_prompts_do_not_count(site: Site) -> None:
    site.score("q4_k_m", dict.fromkeys(IDS[3:], 2))
    document = json.loads((site.compare / "comparison.json").read_text())
    document["leaked"]["excluded"] = IDS[:3]
    write_json(site.compare / "comparison.json", document)
    found = site.run()
    assert found["types"]["q4_k_m"]["released"] and found["n_prompts"] == 21


def test_other_samples_are_not_compared(site: Site) -> None:
    site.score("q4_k_m", ALL, n=1)
    with pytest.raises(StageFailed, match=r"^release: sampling differs: tuned n 2, q4_k_m n 1; score both alike$"):
        site.run()


def test_inputs_that_do_not_fit(site: Site) -> None:
    with pytest.raises(StageFailed, match=r"gguf\.json tells of no q8_0; remove build/gguf and run again"):
        site.scores["q8_0"] = site.tuned
        made = site.run(types=["q8_0"])
        assert made["types"]["q8_0"]
        del site.scores["q8_0"]
        (site.project / "other").mkdir()
        release.run(_without_files(site))
    (site.compare / "comparison.json").write_text("[]")
    with pytest.raises(StageFailed, match=r"comparison\.json of compare is not readable; remove build/compare"):
        site.run()


def _without_files(site: Site) -> StageRun:
    write_json(site.project / "gguf/gguf.json", {"files": {}, "adapter_sha256": ADAPTER})
    inputs = {"compare": site.compare, "gguf": site.project / "gguf", "tuned_score": site.tuned}
    inputs |= {"q8_0_score": site.tuned}
    config = CONFIG | {"types": ["q8_0"]}
    return StageRun("release", "0" * 16, site.project, site.project / "other", config, inputs, {})


def test_prompts_that_differ_fail_the_stage(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: Any) -> dict[str, Any]:
        raise StageFailed("t/print/100: token 3 differs")

    monkeypatch.setitem(sys.modules, "bbjspec.stages.parity", SimpleNamespace(check=check))  # type: ignore[arg-type]
    with pytest.raises(StageFailed, match="token 3 differs"):
        site.run()
    assert not site.modelfiles and not (site.project / "release/export.json").exists()


OLLAMA = """\
#!/bin/sh
echo "$@" >> {log}
case $1 in
    create) test -f q4_k_m.gguf -o -f f16.gguf && test -f "$4" && {create} ;;
    run) {run} ;;
esac
"""


def ollama(
    site: Site, monkeypatch: pytest.MonkeyPatch, create: str = "true", run: str = "echo 'print \"hello\"'"
) -> Path:
    """A program of that name on PATH, which notes how it is called."""
    folder, log = site.root / "bin", site.root / "calls"
    folder.mkdir(exist_ok=True)
    file = folder / "ollama"
    file.write_text(OLLAMA.format(log=log, create=create, run=run))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin:/bin")
    return log


CREATE = {"num_ctx": 512, "create": True}


def test_released_models_are_created_and_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ollama(site, monkeypatch)
    site.score("f16", NONE)
    document = site.run(ollama=CREATE)
    assert document["created"] == ["bbjspec-3f2a91c0:q4_k_m"]
    assert log.read_text().splitlines() == [
        "create bbjspec-3f2a91c0:q4_k_m -f Modelfile.q4_k_m",
        "run bbjspec-3f2a91c0:q4_k_m Write a BBj program that prints hello.",
    ], "what is withheld is not created"


def test_without_ollama_there_are_commands(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    document = site.run(ollama=CREATE)
    assert document["released"] and document["created"] == [] and len(document["commands"]) == 4


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (
            {"create": "{ echo 'Error: could not connect to ollama server' >&2; exit 1; }"},
            EnvironmentLacks,
            "release: ollama create: Error: could not connect to ollama server; start Ollama and run again, or write "
            "export.ollama.create: false",
        ),
        ({"create": "exit 1"}, EnvironmentLacks, "release: ollama create: no reason given; start Ollama"),
        ({"run": "echo; exit 0"}, StageFailed, "release: bbjspec-3f2a91c0:f16 answers nothing to “Write a BBj"),
    ],
)
def test_what_ollama_refuses(
    site: Site, monkeypatch: pytest.MonkeyPatch, how: dict[str, str], error: type[Exception], message: str
) -> None:
    ollama(site, monkeypatch, **how)
    with pytest.raises(error) as caught:
        site.run(ollama=CREATE)
    assert str(caught.value).startswith(message)


def test_ollama_is_not_waited_for_without_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ollama(site, monkeypatch, run="exec sleep 30")
    monkeypatch.setattr(release, "SMOKE_S", 0.5)
    with pytest.raises(EnvironmentLacks, match=r"^release: ollama run: no end after 0\.5 s; start Ollama"):
        site.run(ollama=CREATE)
