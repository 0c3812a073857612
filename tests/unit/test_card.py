"""The model card: every number is some artefact's, and nothing that a model or a user wrote acts in it.

Scores and comparison are made by the real stages of made-up answers; where numbers are looked for, each of theirs is
replaced by one of its own.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from bbjspec import figures
from bbjspec.bbj.agreement import recorded
from bbjspec.markdown import prose, render
from bbjspec.stage import KINDS, StageRun
from bbjspec.stages import card, cardplots, cardtext, train
from bbjspec.stages.verdicts import GENERAL_OUTCOMES
from tests.harness import REPOSITORY, write_project
from tests.unit.test_scoring import IDS, compared, scored

TEMPLATE = REPOSITORY / "templates/MODEL_CARD.md.j2"
ROLES = {
    "audit": ["audit.json"],
    "contamination": ["contamination.json"],
    "train": ["ledger.json", "training_log.json", "training_config.json"],
    "base_score": ["results.json"],
    "tuned_score": ["results.json"],
    "other_score": ["results.json"],
    "compare": ["comparison.json"],
    "release": ["export.json"],
}
HOSTILE = (
    "</details><script>alert(1)</script> ![x](http://e.org/x.png) [a](javascript:alert(1)) <http://e.org> | a | `b` "
    "```` {{ 7*7 }} {% raw %} @PARENT@ @EXPERIMENT@ @DESCRIPTION@ \u202eRTL \\| $x^2$\n---\n# heading\n\n***\n"
    "```\n</details>\n| a |\n|---|\n\x00\x1b[31m"
)
Documents = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Every artefact by `role/file`, `scores` (rows) and `spec`: a PASS with references, GGUFs and a leaked prompt."""
    root = tmp_path_factory.mktemp("card") / "project"
    write_project(root)
    prompts = root / "eval/prompts/print.jsonl"
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    for at, row in enumerate(rows):
        row["category"] = ("print", "loop", "file", "gui")[at % 4]
    rows += [
        {
            "id": f"t/fact/{at}",
            "tier": "factual",
            "category": "fact",
            "difficulty": "basic",
            "generation": "all",
            "input": f"Which verb prints {at}?",
            "reference": "PRINT",
            "must": ["print"],
            "must_not": [],
            "scope": "whole",
            "max_chars": 99,
            "pass_examples": ["print"],
            "fail_examples": ["read", "write"],
        }
        for at in (100, 101)
    ]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = scored(root / "base", prompts, dict.fromkeys(IDS[:3], 1))
    tuned = scored(root / "tuned", prompts, dict.fromkeys(IDS[1:19], 2) | {"t/fact/100": 2})
    comparison = compared(root / "compared", base=base, tuned=tuned)
    spec = json.loads(json.dumps(_spec(root)))
    results = {"base": _read(base / "results.json"), "tuned": _read(tuned / "results.json")}
    other = copy.deepcopy(results["base"]) | {"volatile": True}
    env = {"backend": "transformers", "batch_size": 24, "dtype": "float32", "quantization": "none"}
    who = {"base": "pico-qwen2", "revision": None, "adapter_sha256": "cd" * 32, "quantization": None}
    comparison |= {"env": env, "sampling": {**spec["eval"]["sampling"], "temperature": 0.7}}
    comparison["b"]["model"] = who
    for one in (*results.values(), other):
        one |= {"env": env, "model": who}
        one["metrics"]["general_pass@1"] = copy.deepcopy(one["metrics"]["factual_accuracy"])
        one["outcomes"]["general"] = dict.fromkeys(GENERAL_OUTCOMES, 1)
    comparison["metrics"]["general_pass@1"] = copy.deepcopy(comparison["metrics"]["factual_accuracy"])
    comparison["baselines"]["few_shot"] = copy.deepcopy(comparison["baselines"]["base"]) | {"name": "base, few-shot"}
    comparison["forgetting"] = {
        "decision": "not forgotten",
        "reason": "why",
        "diff": 0.0,
        "ci": [-0.1, 0.1],
        "margin": 0.1,
        "n_prompts": 49,
    }
    judged = {"ci": [-0.05, 0.01], "diff": -0.02, "margin": 0.1, "reason": "why", "verdict": "non-inferior"}
    gguf = {"score": {"ci": [0.3, 0.5], "value": 0.4}, "sha256": "ab" * 32, "size": 19_800_000_000, "released": True}
    log = [
        {"step": step, "epoch": step / 7, "loss": 2 / step, "learning_rate": 0.1}
        | ({"eval_loss": 1 / step, "perplexity": 1.2} if step % 10 == 0 else {})
        for step in range(1, 31)
    ]
    return {
        "spec": spec,
        "scores": [json.loads(line) for line in (tuned / "scores.jsonl").read_text().splitlines()],
        "audit/audit.json": {
            "checks": {"near": {"count": 7, "severity": "warning"}, "empty": {"count": 0, "severity": "error"}},
            "rows": 48,
        },
        "contamination/contamination.json": {"leaked": [{"id": IDS[0]}], "prompts": 26, "train_rows": 43},
        "train/ledger.json": {
            "dropped": {"over_length": 3, "where.tags": 5},
            "mixed": {"rows": 2},
            "repaired": {"fence_code": 4},
            "rows": 48,
            "train": {"rows": 43, "supervised_tokens": 1234, "tokens": 5678},
            "val": {"rows": 5, "supervised_tokens": 123, "tokens": 567},
            "truncated": {"rows": 6, "tokens": 61},
        },
        "train/training_log.json": {
            "log": log,
            "best": log[19],
            "final": log[29] | {"stopped_early": True, "max_steps": 48},
        },
        "train/training_config.json": {
            "wall_time_s": 73.4,
            "train_time_s": 66.3,
            "tokens_per_s": 9786.4,
            "trainable_parameters": 278528,
            "date": "2026-01-02",
            "resumed_at": [12],
            "peak_memory": {"ram_gb": 0.876, "gpu_gb": 12.5},
            "versions": {"torch": "2.13.0"},
            "git": {"commit": "c0ffee", "dirty": True, "user": "Ada"},
            "machine": {"gpus": [{"name": "H100", "memory_gb": 80}], "cpu": "x", "driver": "570", "cuda": "12.8"},
            "ways": {"attention": "sdpa", "per_device": 8, "processes": 3, "recompute": False},
        },
        "base_score/results.json": results["base"],
        "tuned_score/results.json": results["tuned"],
        "other_score/results.json": other,
        "compare/comparison.json": comparison,
        "release/export.json": {
            "adapter": {"ci": [0.4, 0.6], "value": 0.5},
            "base_weights": "bf16",
            "commands": ["ollama run x"],
            "created": [],
            "decision": "PASS",
            "gate": "pass",
            "metric": "compile@1",
            "n_prompts": 23,
            "n_samples": 2,
            "parity": {"prompts": 26},
            "released": True,
            "withheld": None,
            "types": {
                "q8_0": gguf | {"non_inferior": judged, "reason": None},
                "q4_k_m": gguf | {"non_inferior": judged, "reason": "too bad", "released": False},
            },
        },
    }


def _spec(root: Path) -> Any:
    """What the plan tells the card of the small project's spec, with a reference and a licence."""
    from bbjspec.plan import read_plan

    spec = dict(read_plan(root).experiments["v1"].card.config["spec"])
    spec["eval"] = {**spec["eval"], "references": [{"name": "other"}]}
    spec["export"] = {"gguf": ["q8_0", "q4_k_m"], "licence": "Apache-2.0", "gate": "pass"}
    spec["data"] = {**spec["data"], "mix": {"path": "dataset/more.jsonl"}}
    return spec


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def stage(made: Documents, root: Path, but: str | None = None) -> StageRun:
    """The card stage over the artefacts. `but`: only this one is written, for all others lie there."""
    roles = {role: root / role for role in ROLES if any(name.startswith(f"{role}/") for name in made)}
    for name, document in made.items():
        if "/" in name and but in (None, name):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(json.dumps(document))
    if but in (None, "scores"):
        (root / "tuned_score/scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made["scores"]))
    (root / "out").mkdir(exist_ok=True)
    return StageRun("card", "0" * 16, REPOSITORY, root / "out", {"spec": made["spec"]}, roles, {"template": [TEMPLATE]})


def text_of(made: Documents, root: Path, but: str | None = None) -> str:
    """The card's text; nothing is drawn."""
    return render(TEMPLATE, "template", card.context(stage(made, root, but)), card.FILTERS)


@pytest.fixture
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling the template takes most of the time of a card, and hundreds are made."""
    compile_, known = jinja2.Environment.from_string, {}

    def from_string(environment: jinja2.Environment, source: str) -> jinja2.Template:
        if source not in known:
            known[source] = compile_(environment, source)
        return known[source]

    monkeypatch.setattr(jinja2.Environment, "from_string", from_string)


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Every number in a document, with its place."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*at, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at, value


def put(document: Any, at: tuple[Any, ...], value: Any) -> None:
    for key in at[:-1]:
        document = document[key]
    document[at[-1]] = value


# Places whose numbers say which rows belong together, and how often things were asked: another one is another shape.
KEPT = re.compile(
    r"(spec|compare|other_score|(base|tuned)_score)/.*(\bk|n_samples|\bn|by_prompt/.*|extractor_version)$"
    r"|spec/(data/val_size|eval/few_shot|eval/k/.*)|train/training_log.json/(log/\d+|best|final)/step"
)


def renumbered(made: Documents, seed: int) -> Documents:
    """The artefacts with every number but those KEPT replaced by one that no other place has."""
    found, draw = copy.deepcopy(made), random.Random(seed)
    whole = iter(draw.sample(range(10_000, 999_999), 20_000))
    for name, document in found.items():
        for at, value in list(leaves(document)):
            if name == "scores" or KEPT.fullmatch("/".join(map(str, (name, *at)))):
                continue
            shown = next(whole)
            if isinstance(value, float):
                shown = shown / 7 if value > 1.5 else -shown / 1_000_000 if "diff" in at else shown / 1_000_000
            put(document, at, shown)
    return found


CONSTANTS = {
    "95": "every interval's confidence, %",
    "0.2": "means from which on intervals are known to hold (metrics)",
    "0.8": "means up to which they are",
    "80": "the power that is asked for, %",
    "4": "load_in_4bit",
    "0": "first sample's number and prompts that never passed, in by_prompt",
    "2": "samples a prompt (KEPT)",
    "-256": "SHA-256",
}
WORDS = ("normal approximation with the standard deviation", "compile@1_raw", "compile@2_raw")


def numbers(text: str, made: Documents) -> list[str]:
    """The numbers of a card's prose and tables: not of code, headings, link targets, or text that artefacts hold."""
    text = text.split("\n---\n", 1)[1]
    text = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.M | re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    text = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    comparison = made["compare/comparison.json"]
    known = [comparison["reason"], comparison["power"]["method"], comparison["forgetting"]["reason"], str(recorded())]
    for said in known:
        assert said in text
        text = text.replace(said, "")
    text = re.sub(r"\w+@\d+|\]\([^)]*\)|\w*[a-z]+\d\w*(\.gguf)?|@\w+@|q\d_\w+", "", text)
    return re.findall(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", text)


def test_no_number_stands_in_the_card_by_itself(made: Documents, tmp_path: Path) -> None:
    """With all artefacts' numbers changed, all numbers of the card change, but for constants with a reason."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = renumbered(made, 1), renumbered(made, 2)
    a, b = (
        numbers(text_of(documents, tmp_path / where), made) for documents, where in ((first, "one"), (second, "two"))
    )
    assert len(a) == len(b) > 300
    same = {one for one, other in zip(a, b, strict=True) if one == other}
    lengths = {str(len(x)) for x in made["compare/comparison.json"].values() if isinstance(x, list | dict)}
    steps = {str(made["train/training_log.json"][which]["step"]) for which in ("best", "final")} | {"10"}
    failing = {str(at) for at in range(1, 11)}  # failures and samples, counted in by_prompt
    assert same - set(CONSTANTS) <= lengths | steps | failing | {"24", "26", "23"}


@pytest.mark.parametrize("renumber", [False, True], ids=["as made", "renumbered"])
def test_every_number_is_the_rounding_of_an_artefacts(made: Documents, tmp_path: Path, renumber: bool) -> None:
    documents = renumbered(made, 3) if renumber else made
    held = [abs(value) for name in documents for _, value in leaves(documents[name])]
    held += [len(inner) for document in documents.values() if isinstance(document, dict) for inner in _lists(document)]
    log = documents["train/training_log.json"]["log"]
    held += [  # a training loss is the mean since the evaluation before
        math.fsum(entry["loss"] for entry in log[first:last]) / (last - first)
        for first, last in ((0, 10), (10, 20), (20, 30))
    ]
    failed = [one for one in documents["tuned_score/results.json"]["by_prompt"].values() if one["strict"] < one["n"]]
    held += [sum(one["tier"] == "syntax" for one in failed)]  # prompts that fail at least once
    held += [value * 100 for value in held]  # %
    held += [value / unit for value in held for unit in (60, 3600, 1e6, 1e9)]  # minutes, hours, MB, GB
    for shown in numbers(text_of(documents, tmp_path), documents):
        if shown in CONSTANTS:
            continue
        digits = len(shown.partition(".")[2].partition("e")[0])
        value = abs(float(shown.replace(",", "").replace("−", "-")))
        close = 0.5000001 * 10**-digits if "e" not in shown else value * 0.06
        assert any(abs(value - one) <= close or math.isclose(value, one, rel_tol=0.06) for one in held), shown


def _lists(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _lists(inner)


# What a card does not say: figures that others are made of, and those of tests that are not named.
NOT_SHOWN = re.compile(
    "|".join(
        [
            r".*/(se|temperature|n_infra|schema_version|k|n)",
            r".*/ever/ci/\d|.*/sensitivity/.*/ever/.*|.*/by_(difficulty|generation|prompt)/.*",
            r"\w+_score/results.json/(by_category/.*|.*/n_prompts|n_samples|(compiler|sampling|env)/.*)",
            r"(base|other)_score/results.json/(extractor_version|n_prompts)|tuned_score/results.json/.*/n_prompts",
            r"other_score/results.json/(funnel|outcomes|sensitivity)/.*|other_score/.*/(ever/.*|extractor_version)",
            # The first difference and p are told of the baseline: they are the same figures.
            r"compare/comparison.json/(a/.*|diff|ci/.*|p)",
            r"compare/comparison.json/formatting/(strict/.*|.*/(p|n_prompts|[ab]/.*))",
            r"compare/comparison.json/(metrics|by_category)/.*/([ab]/ci/\d|n_prompts_?)",
            r"compare/comparison.json/(metrics|baselines)/.*/(n_prompts|n_samples)",
            r"compare/comparison.json/baselines/.*/b/ci/\d|compare/comparison.json/by_category/.*/(p|n_samples)",
            r"compare/comparison.json/(power/(sd|n_prompts)|forgetting/(diff|ci/\d)|leaked/.*/p|improvements/.*)",
            r"compare/comparison.json/regressions/.*/(diff|failures/.*)|compare/comparison.json/.*/failures/.*",
            r"compare/comparison.json/sampling/(n|seed|batch_size|min_p)|compare/comparison.json/env/.*_size",
            # Best and last are told of the log's own entries; others' losses are in a mean.
            r"train/training_log.json/(best|final)/(epoch|loss|eval_loss|perplexity|learning_rate)",
            r"train/training_log.json/log/\d+/learning_rate|train/training_log.json/log/(?!9/|19/|29/)\d+/epoch",
        ]
    )
)


@pytest.mark.usefixtures("_compiled_once")
def test_another_figure_is_another_card(made: Documents, tmp_path: Path) -> None:
    """Every number that NOT_SHOWN does not name is seen in the card."""
    documents = renumbered(made, 4)
    before = text_of(documents, tmp_path)
    unseen = []
    for name in documents:
        for at, value in list(leaves(documents[name])):
            place = "/".join(map(str, (name, *at)))
            if name == "scores" or NOT_SHOWN.fullmatch(place) or KEPT.fullmatch(place):
                continue
            other = 3 * value + 4321 if isinstance(value, int) else 1.37 * value + 0.123456789
            put(documents[name], at, other)
            if text_of(documents, tmp_path, name) == before:
                unseen.append(place)
            put(documents[name], at, value)
            if "/" in name:
                (tmp_path / name).write_text(json.dumps(documents[name]))
    assert not unseen, "\n".join(unseen)


def test_the_hub_reads_its_metadata(made: Documents, tmp_path: Path) -> None:
    text = text_of(made, tmp_path).replace("@EXPERIMENT@", "v1")
    found = ModelCard(text)
    assert found.text == text.split("---\n", 2)[2]
    data, comparison = found.data, made["compare/comparison.json"]
    assert (data.base_model, data.library_name, data.license) == ("pico-qwen2", "peft", "apache-2.0")
    assert data.datasets == ["rows", "more"] and {"bbj", "lora"} <= set(data.tags) and data.model_name == "v1"
    assert {one.metric_type: one.metric_value for one in data.eval_results} == {
        name: entry["b"]["value"] for name, entry in comparison["metrics"].items()
    }
    assert {one.dataset_revision for one in data.eval_results} == {comparison["suite_hash"]}
    assert yaml.safe_load(data.to_yaml()) == yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    ("named", "fields"),
    [
        (None, {}),
        ("MIT", {"license": "mit"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Our own,\n---\nsee LICENCE", {"license": "other", "license_name": "our-own-see-licence"}),
        ("…", {"license": "other"}),
    ],
)
def test_licences(named: str | None, fields: dict[str, str]) -> None:
    assert card.licence(named) == fields


def hostile(made: Documents) -> Documents:
    """The artefacts with hostile text wherever a user, a model or a machine's own name may stand."""
    found = copy.deepcopy(made)
    spec, comparison, record = (found[x] for x in ("spec", "compare/comparison.json", "train/training_config.json"))
    spec["model"] |= {"base": "/models/" + HOSTILE.replace("/", "∕"), "revision": HOSTILE}
    spec["data"] |= {"path": HOSTILE, "stratify_by": [HOSTILE], "mix": {"path": HOSTILE}}
    spec["data"]["filters"] = {**spec["data"]["filters"], "where": {HOSTILE: HOSTILE}}
    spec["eval"]["prompts"], spec["export"]["licence"] = [HOSTILE], HOSTILE
    comparison["sampling"]["system_prompt"] = HOSTILE
    comparison["compiler"] = {"name": "bbjcpl", "version": HOSTILE}
    comparison["by_category"][HOSTILE] = comparison["by_category"].pop("loop")
    for change in comparison["regressions"]:
        change["id"] = HOSTILE
    found["contamination/contamination.json"]["leaked"] = [{"id": HOSTILE}]
    found["other_score/results.json"]["model"] |= {"base": HOSTILE, "revision": HOSTILE, "quantization": HOSTILE}
    found["train/ledger.json"] |= {"dropped": {HOSTILE: 1}, "repaired": {HOSTILE: 1}}
    record |= {"date": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    record["git"] |= {"user": HOSTILE, "commit": HOSTILE}
    record["machine"] |= {"gpus": [{"name": HOSTILE, "memory_gb": 1}], "driver": HOSTILE}
    for at, row in enumerate(found["scores"]):
        if row["tier"] == "syntax":
            row |= {"solution": HOSTILE, "category": f"{at}{HOSTILE}"}
            row["compiler"]["errors"] = [{"line": 1, "source": HOSTILE, "message": HOSTILE}]
            row["outcome"] = ("compile_error", "missing_construct", "forbidden_construct", "empty")[at % 4]
            row["checks"] |= {"missing": [HOSTILE], "forbidden": [HOSTILE]}
    for prompt in found["tuned_score/results.json"]["by_prompt"].values():
        prompt |= {"input": HOSTILE, "strict": 0}
    return found


def cells(line: str) -> int:
    """The cells of a table's row, by the strictest reading: after any backslash a bar ends none, but after two."""
    assert "\\\\|" not in line
    return len(re.findall(r"(?<!\\)\|", line))


def shape(text: str) -> dict[str, Any]:
    """What a reader of Markdown sees in the card besides text. Raises AssertionError for uneven tables."""
    body = text.split("\n---\n", 1)[1]
    lines, found = body.split("\n"), {"html": [], "links": [], "pictures": [], "headings": [], "other": [], "tables": 0}
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(body):
        if token.type == "html_block":
            found["html"].append(token.content.strip())
        elif token.type == "table_open":
            first, last = token.map
            assert len({cells(line) for line in lines[first:last]}) == 1, lines[first:last]
            found["tables"] += 1
        elif token.type == "heading_open":
            found["headings"].append(token.tag)
        elif token.type in ("hr", "blockquote_open", "code_block"):
            found["other"].append(token.type)
        for inner in token.children or ():
            if inner.type == "html_inline":
                found["html"].append(inner.content)
            elif inner.type == "link_open":
                found["links"].append(inner.attrs["href"])
            elif inner.type == "image":
                found["pictures"].append(inner.attrs["src"])
    return found


def test_nothing_but_the_template_acts(made: Documents, tmp_path: Path) -> None:
    said = prose(" ".join(HOSTILE.split()))
    text = text_of(hostile(made), tmp_path)
    assert {token: text.count(token) for token in ("@DESCRIPTION@", "@PARENT@")} == {"@DESCRIPTION@": 1, "@PARENT@": 1}
    assert text.count("{{ 7*7 }}") > 30 and "\u202e" not in text and "\x1b" not in text and "\0" not in text
    found = shape(text.replace("@PARENT@\n\n", "").replace("@DESCRIPTION@", said))
    assert found["html"] == ["<details>\n<summary>Every field, defaults included</summary>", "</details>"]
    anchors = "data configuration training evaluation export instructive-failures audit-and-contamination limits"
    assert found["links"] == [f"#{name}" for name in (*anchors.split(), "how-to-use-it", "provenance")]
    assert found["pictures"] == ["loss.svg", "scores.svg", "categories.svg", "funnel.svg"] and not found["other"]
    benign = shape(text_of(made, tmp_path))
    tables = found.pop("tables"), benign.pop("tables")
    assert tables[0] == tables[1] and set(found["headings"]) == set(benign["headings"]) == {"h1", "h2", "h3"}
    assert [tag for tag in found["headings"] if tag != "h3"] == ["h1"] + ["h2"] * 10
    code = re.search(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert code and compile(code[1], "card", "exec")
    data = ModelCard(text).data.to_dict()
    assert "base_model" not in data and "datasets" not in data and data["license"] == "other"


def test_headings_are_what_links_lead_to(made: Documents, tmp_path: Path) -> None:
    text = text_of(made, tmp_path)
    slugs = {re.sub(r"[^\w -]", "", line[3:]).lower().replace(" ", "-") for line in re.findall(r"^## .*$", text, re.M)}
    assert {link[1:] for link in shape(text)["links"]} == slugs


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("max_length of 4-bit base 1.5", "max_length of 4-bit base 1.5"),
        ("<b> [a](b) `c` *e* _f_ a|b &lt; R&D", r"\<b\> \[a\](b) \`c\` \*e\* \_f\_ a\|b \&lt; R&D"),
        ("1. one", r"1\. one"),
        ("- one", r"\- one"),
        ("---", r"\---"),
        ("# one", r"\# one"),
    ],
)
def test_a_description_is_a_paragraph(said: str, shown: str) -> None:
    assert prose(said) == shown
    tokens = MarkdownIt("commonmark").parse(shown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {inner.type for inner in tokens[1].children or ()} <= {"text", "text_special"}


def without(*names: str) -> Callable[[Documents], None]:
    def edit(made: Documents) -> None:
        for name in names:
            made.pop(name)
        if "release/export.json" in names:
            made["spec"].pop("export")

    return edit


def decided(decision: str, diff: float, ci: list[float] | None) -> Callable[[Documents], None]:
    def edit(made: Documents) -> None:
        comparison = made["compare/comparison.json"]
        comparison |= {"decision": decision, "baselines": {"base": comparison["baselines"]["base"]}}
        comparison["baselines"]["base"] |= {"decision": decision, "diff": diff, "ci": ci}

    return edit


def nothing_fails(made: Documents) -> None:
    for row in made["scores"]:
        row["outcome"] = "pass"


def no_numbers(made: Documents) -> None:
    for name in ("compare/comparison.json", "base_score/results.json", "tuned_score/results.json"):
        for number, (at, _) in enumerate(leaves(copy.deepcopy(made[name]))):
            if at[0] in ("metrics", "by_category", "formatting", "sensitivity", "baselines") and at[-1] not in (
                "n",
                "k",
            ):
                put(made[name], at, math.nan if number % 2 else None)
    for entry in made["train/training_log.json"]["log"]:
        entry.pop("eval_loss", None)
        entry["loss"] = math.nan
    record = made["train/training_config.json"]
    record |= {"tokens_per_s": None, "peak_memory": {"tpu_gb": 3}}


def only_syntax(made: Documents) -> None:
    made["compare/comparison.json"]["forgetting"] = None
    for name in ("base", "tuned", "other"):
        results = made[f"{name}_score/results.json"]
        for metric in ("factual_accuracy", "general_pass@1"):
            del results["metrics"][metric]
        results["outcomes"] = {"syntax": results["outcomes"]["syntax"]}
    for metric in ("factual_accuracy", "general_pass@1"):
        del made["compare/comparison.json"]["metrics"][metric]


def base(name: str) -> Callable[[Documents], None]:
    def edit(made: Documents) -> None:
        made["spec"]["model"] |= {"base": name, "revision": "c0ffee00" * 5 if name.count("/") == 1 else None}

    return edit


CASES: dict[str, tuple[Callable[[Documents], None], str, str]] = {
    "no GGUF": (without("release/export.json"), "judged by", "## Export"),
    "no failures": (nothing_fails, "Every sample of every syntax prompt passes.", "### 1."),
    "worse": (decided("FAIL", -0.2, [-0.3, -0.1]), "Worse than its base at BBj: strict compile@1", "Better"),
    "too little": (decided("FAIL", 0.01, [-0.02, 0.04]), "Not better than its base at BBj by the 0.10 asked", "Better"),
    "one prompt": (decided("FAIL", 0.01, None), "+0.01 n/a, 24 prompts", "Better"),
    "not known": (decided("INCONCLUSIVE", 0.1, [-0.1, 0.3]), "Not known to be better than its base", "Better"),
    "no record": (without("train/training_config.json"), "| last | 30 |", "trained by"),
    "lost figures": (no_numbers, "| n/a | n/a | n/a n/a | n/a |", " nan"),
    "syntax alone": (only_syntax, "forgot of other languages was not measured", "factual accuracy"),
    "a Hub base": (base("Qwen/Qwen2.5-Coder-32B"), "base = 'Qwen/Qwen2.5-Coder-32B'", "shows the plumbing"),
    "a local base": (base("/srv/models/mine"), "where mine lies", "/srv"),
    "an old record": (
        lambda made: made["train/training_config.json"].update(git={"commit": "c0ffee", "dirty": False}),
        "| commit | `c0ffee` |",
        "trained by",
    ),
    "few-shot": (lambda made: None, "The tuned model must beat every baseline", "trained by | `None`"),
    "references": (lambda made: None, "other 0.0", "SHA-256 | `None`"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("_compiled_once")
def test_cases(made: Documents, tmp_path: Path, case: str) -> None:
    edit, has, lacks = CASES[case]
    documents = copy.deepcopy(made)
    edit(documents)
    work = stage(documents, tmp_path)
    card.run(work)
    text = (work.directory / "MODEL_CARD.md").read_text()
    assert has in text and lacks not in text
    shape(text)
    ModelCard(text)
    assert {path.name for path in work.directory.iterdir()} == set(KINDS["card"].outputs)


def test_who_trained_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", str(tmp_path / name))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert train._git(tmp_path) == {"commit": None, "dirty": None, "user": None}
    (tmp_path / "GLOBAL").write_text("[user]\n\tname = Ada Lovelace\n")
    assert train._git(tmp_path) == {"commit": None, "dirty": None, "user": "Ada Lovelace"}
    monkeypatch.setenv("PATH", "")
    assert train._git(tmp_path) == {"commit": None, "dirty": None, "user": None}


def test_same_artefacts_same_bytes(made: Documents, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        work = stage(made, tmp_path / name)
        card.run(work)
        found.append({path.name: path.read_bytes() for path in work.directory.iterdir()})
    assert found[0] == found[1]
    assert not any(str(tmp_path).encode() in content for content in found[0].values())


def test_the_plots(made: Documents, tmp_path: Path) -> None:
    """Their texts are the figures; hostile names are shown, and no mathematics."""
    work = stage(made, tmp_path)
    known = card.context(work)
    known["comparison"]["by_category"] = {
        HOSTILE if not at else f"kind $a_{at}$ with a name of more than thirty letters": {
            "diff": 0.9 - at / 20,
            "ci": None if at == 3 else [0.8 - at / 20, 0.95 - at / 20],
            "n_prompts": at + 1,
        }
        for at in range(30)
    }
    card.draw(known, tmp_path)
    texts = {
        name: re.findall(r"<text[^>]*>(.*?)</text>", (tmp_path / f"{name}.svg").read_text())
        for name in ("scores", "categories", "funnel")
    }
    rows = cardplots.score_rows(known["comparison"], known["release"], known["references"])
    assert [row.name for row in rows] == [
        *("base, zero-shot", "base, few-shot", "tuned", "tuned, q8_0.gguf", "tuned, q4_k_m.gguf", "other"),
    ]
    for row in rows:
        assert row.name in texts["scores"]
        assert f"{figures.plain(row.value)} {figures.interval(row.ci)}" in texts["scores"]
        assert f"{row.name} {figures.plain(row.value)} {figures.interval(row.ci)}" in known["pictures"]["scores"]
    assert "+0.90 [0.80, 0.95]" in texts["categories"] and "+0.75" in [x.strip() for x in texts["categories"]]
    assert any("kind $a_1$" in text for text in texts["categories"])
    for side in ("base", "tuned"):
        assert {f"{count:,}" for count in made[f"{side}_score/results.json"]["funnel"].values()} <= set(texts["funnel"])
    for name in texts:
        svg = (tmp_path / f"{name}.svg").read_text()
        assert "fill: #ffffff" in svg and "<dc:date>" not in svg and "<script" not in svg


def test_each_category_shows_its_worst_prompt_before_any_shows_its_second() -> None:
    scores, prompts = [], {}
    for category, prompt_rates in {"many": [0, 0, 1, 1], "few": [0, 1], "mild": [1]}.items():
        for number, passed in enumerate(prompt_rates):
            name = f"{category}/{number}"
            prompts[name] = {"strict": passed, "n": 2, "input": "?"}
            for sample in range(passed, 2):
                scores.append(
                    {
                        "tier": "syntax",
                        "task_id": name,
                        "sample_idx": sample,
                        "category": category,
                        "difficulty": "basic",
                        "solution": "",
                        "outcome": "compile_error",
                        "compiler": {"errors": []},
                        "checks": {"missing": [], "forbidden": []},
                    }
                )
    chosen = [failure["id"] for failure in cardtext.failures(scores, prompts)]
    assert chosen == ["many/0", "few/0", "mild/0", "many/1", "few/1", "many/2", "many/3"]
