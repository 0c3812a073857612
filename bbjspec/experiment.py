"""One spec -> ExperimentPlan: its stages, each with exactly what it consumes, and where its results are placed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bbjspec.digest import FileHashes, digest
from bbjspec.errors import BadInput, Finding
from bbjspec.exporting import MODELFILE, export_stages, types_of
from bbjspec.publish import folder_document
from bbjspec.references import generate_stage
from bbjspec.references import told as told_of
from bbjspec.sources import find_files, make_source
from bbjspec.spec import Experiment
from bbjspec.spec.references import GgufReference
from bbjspec.spec.training import EXECUTION
from bbjspec.stage import Stage

DATASET = "dataset"


@dataclass(frozen=True)
class ExperimentPlan:
    """One good experiment: its spec, its stages by role, and where they are published."""

    name: str
    spec: Experiment
    roles: dict[str, Stage]

    @property
    def card(self) -> Stage:
        """The last stage, on which all others lead."""
        return self.roles["card"]

    @cached_property
    def publish_digest(self) -> str:
        """Names the directory of publishing this card under this name: a record of it, the decision is the plan's."""
        return digest({"publish": self.name, "card": self.card.digest})

    @property
    def publish_directory(self) -> str:
        """`build/publish/<digest>`, relative to the project's root."""
        return f"build/publish/{self.publish_digest}"

    @property
    def folders(self) -> tuple[str, ...]:
        """Where publishing places the base's answers and verdicts, the experiment's own results, those of the few-shot
        baseline, of each reference and of each GGUF, and the sides."""
        folders = [self._baseline("base"), f"adapters/{self.name}", *self._beside]
        return (*folders, DATASET) if self.spec.data.publish else tuple(folders)

    def _baseline(self, role: str) -> str:
        base = self.spec.model.base.strip("./").replace("/", "--")
        return f"eval/baselines/{base}/{self.roles[f'{role}_score'].digest}"

    @property
    def _beside(self) -> dict[str, list[Stage]]:
        """What is generated and scored besides base and tuned model, by the folder that it is placed in."""
        places = {"few_shot": self._baseline("few_shot")} if self.spec.eval.few_shot else {}
        places |= {r.name: f"adapters/{self.name}/references/{r.name}" for r in self.spec.eval.references}
        places |= {name: f"adapters/{self.name}/gguf/{name}" for name in self.spec.export.gguf}
        return {place: [self.roles[f"{who}_{kind}"] for kind in ("generate", "score")] for who, place in places.items()}

    @property
    def placed(self) -> dict[str, Any] | None:
        """What the lock file remembers of the GGUFs that publishing placed, and where; None for a spec without."""
        if not self.spec.export.gguf:
            return None
        return {"dir": self.spec.export.dir, "gguf": self.roles["gguf"].digest, "release": self.roles["release"].digest}

    @cached_property
    def publish_document(self) -> dict[str, Any]:
        """The `stage.json` of publishing."""
        role = self.roles
        own = [role[r] for r in ("audit", "contamination", "train", "generate", "score", "compare")]
        own += [role["release"]] if "release" in role else []
        own += [self.card]
        of_base, (baseline, adapter) = [role["base_generate"], role["base_score"]], self.folders[:2]
        sides = [role["split"]] if self.spec.data.publish else []
        beside = self._beside
        return {
            "kind": "publish",
            "digest": self.publish_digest,
            "experiment": self.name,
            "description": " ".join(self.spec.description.split()),
            "parent": self.spec.compared_with,
            "export": self.placed,
            "inputs": {
                stage.digest: stage.directory
                for stage in (*of_base, *own, *(s for stages in beside.values() for s in stages), *sides)
            },
            "folders": [
                folder_document(baseline, of_base, None),
                folder_document(adapter, own, self.card),
                *(folder_document(folder, stages, None) for folder, stages in beside.items()),
                *([folder_document(DATASET, sides, None)] if sides else []),
            ],
        }


def compile_experiment(
    root: Path, name: str, spec: Experiment, shown: str, hashes: FileHashes, interned: dict[str, Stage]
) -> ExperimentPlan:
    """The stages of one experiment. Each takes exactly what it consumes: that is what its digest sees.

    Raises BadInput for a source file that is missing or broken.
    """

    def stage(kind: str, config: dict[str, Any], inputs: dict[str, Stage] | None = None, **sources: Any) -> Stage:
        return shared(Stage(kind, config, inputs or {}, sources, resources))

    def shared(made: Stage) -> Stage:
        # Of stages that are equal the first experiment's resources count, in the order of names.
        return interned.setdefault(made.digest, made)

    _all_there(root, spec, shown)
    dump = spec.model_dump(mode="json")
    resources = dump["resources"] | {"compiler_path": dump["eval"]["compiler"]["path"]}
    dataset = make_source(root, find_files(root, [spec.data.path], shown, "data.path"), "bytes", hashes)
    prompts = find_files(root, spec.eval.prompts, shown, "eval.prompts")
    template = make_source(root, find_files(root, [spec.card.template], shown, "card.template"), "bytes", hashes)
    source = {view: make_source(root, prompts, view, hashes) for view in ("input", "checks", "leakage")}

    model = {key: dump["model"][key] for key in ("base", "revision")} | {"recipe": _recipe(spec)}
    # A permission is no property of the model: what it lets through (base, revision) is what digests see.
    held = {key: value for key, value in dump["model"].items() if key != "allow_unpinned"}
    judge = {key: dump["eval"]["compiler"][key] for key in ("name", "version")}
    builtin = _builtin_version() if judge["name"] == "builtin" else None
    max_length = dump["training"]["max_length"]
    data = {key: value for key, value in dump["data"].items() if key not in ("path", "publish", "mix")}
    mix = dump["data"]["mix"]
    mixed = (
        {"mix": make_source(root, find_files(root, [mix["path"]], shown, "data.mix.path"), "bytes", hashes)}
        if mix
        else {}
    )
    # A compiler that chooses no row is not consumed: another one makes the same split.
    asked = dump["data"]["filters"]["require_compile"] or dump["data"]["dedup"]["exact"] == "keep_best"
    data |= {
        "mix": {"share": mix["share"]} if mix else None,
        "max_length": max_length,
        "judge": judge if asked else None,
        "builtin_version": builtin if asked else None,
    }

    tokenizer = stage("tokenizer", model)
    audit = stage(
        "audit",
        {"compiler": judge, "builtin_version": builtin, "max_length": max_length},
        {"tokenizer": tokenizer},
        dataset=dataset,
    )
    split = stage("split", data, {"tokenizer": tokenizer}, dataset=dataset, **mixed)
    contamination = stage("contamination", {}, {"split": split}, prompts=source["leakage"])
    base = stage("base", model, {"tokenizer": tokenizer})
    execution = {key: dump["training"][key] for key in EXECUTION}
    learned = {key: value for key, value in dump["training"].items() if key not in EXECUTION}
    train = shared(
        Stage(
            "train",
            {"model": held, "lora": dump["lora"], "training": learned},
            {"base": base, "tokenizer": tokenizer, "split": split},
            resources=resources | {"training": execution, "tracking": dump["tracking"] | {"name": name}},
        )
    )
    sampling = {"model": held, "sampling": dump["eval"]["sampling"]}
    judging = {
        "compiler": judge,
        "builtin_version": builtin,
        "k": dump["eval"]["k"],
        "n": dump["eval"]["sampling"]["n"],
    }
    models = {"base": base, "tokenizer": tokenizer}
    base_generate = stage("generate", sampling | {"adapter": False}, models, prompts=source["input"])
    generate = stage("generate", sampling | {"adapter": True}, models | {"train": train}, prompts=source["input"])
    beside: dict[str, Stage] = {}
    if shots := dump["eval"]["few_shot"]:
        # Which rows give a prompt away, and are never shown, depends on the suite's references too.
        asked_of = {"prompts": source["input"], "leakage": source["leakage"]}
        config = sampling | {"adapter": False, "few_shot": {"n": shots}}
        beside["few_shot"] = stage("generate", config, models | {"split": split}, **asked_of)
    for at, reference in enumerate(spec.eval.references):
        sources = {"prompts": source["input"]}
        if isinstance(reference, GgufReference):
            file = find_files(root, [reference.gguf], shown, f"eval.references.{at}.gguf")
            sources["gguf"] = make_source(root, file, "bytes", hashes)
        beside[reference.name] = shared(
            generate_stage(reference, dump["eval"]["sampling"], spec.model.base, tokenizer, sources, resources)
        )
    base_score = stage("score", judging, {"generate": base_generate}, prompts=source["checks"])
    score = stage("score", judging, {"generate": generate}, prompts=source["checks"])
    beside_scores = {
        name: stage("score", judging, {"generate": made}, prompts=source["checks"]) for name, made in beside.items()
    }
    references = {f"{r.name}_score": beside_scores[r.name] for r in spec.eval.references}
    compare = stage(
        "compare",
        {"gate": dump["eval"]["gate"], "k": dump["eval"]["k"]},
        {"base": base_score, "tuned": score, "contamination": contamination}
        | {name: made for name, made in beside_scores.items() if name == "few_shot"},
    )
    export: dict[str, Stage] = {}
    if types_of(dump):
        modelfile = make_source(root, find_files(root, [MODELFILE], shown, "export.gguf"), "bytes", hashes)
        made = models | {"train": train, "score": score, "compare": compare}
        export = export_stages(stage, dump, made, judging, source | {"modelfile": modelfile})
    told = {key: dump[key] for key in ("data", "lora", "training", "eval")} | {"model": held}
    if export:  # where files are placed is told by the publisher
        told["export"] = {key: dump["export"][key] for key in dump["export"] if key != "dir"} | {"gguf": types_of(dump)}
    told["data"] = {key: value for key, value in told["data"].items() if key != "publish"}
    told["eval"] = {key: value for key, value in told["eval"].items() if key != "compiler"} | {"compiler": judge}
    told["eval"]["references"] = [told_of(reference) for reference in dump["eval"]["references"]]
    card = stage(
        "card",
        {"spec": told},
        {
            "audit": audit,
            "contamination": contamination,
            "train": train,
            "base_score": base_score,
            "tuned_score": score,
            "compare": compare,
            **references,
            **({"release": export["release"]} if export else {}),
        },
        template=template,
    )
    roles = {
        "tokenizer": tokenizer,
        "audit": audit,
        "split": split,
        "contamination": contamination,
        "base": base,
        "base_generate": base_generate,
        "base_score": base_score,
        "train": train,
        "generate": generate,
        "score": score,
        **{f"{name}_generate": made for name, made in beside.items()},
        **{f"{name}_score": made for name, made in beside_scores.items()},
        "compare": compare,
        **export,
        "card": card,
    }
    return ExperimentPlan(name, spec, roles)


def _all_there(root: Path, spec: Experiment, shown: str) -> None:
    """Raise BadInput with every file that the spec names and that is missing, not the first alone."""
    named = [
        ("data.path", [spec.data.path]),
        ("eval.prompts", spec.eval.prompts),
        ("card.template", [spec.card.template]),
    ]
    named += [("data.mix.path", [spec.data.mix.path])] if spec.data.mix else []
    missing: list[Finding] = []
    for field, patterns in named:
        try:
            find_files(root, patterns, shown, field)
        except BadInput as error:
            missing += error.findings
    if len(missing) > 1:
        raise BadInput(missing)


def _recipe(spec: Experiment) -> dict[str, Any] | None:
    """How an embedded base is built, so that another recipe is another base; None for real ones."""
    if spec.model.source != "embedded":
        return None
    from bbjspec.embedded import recipe_config

    return recipe_config(spec.model.base)


def _builtin_version() -> int:
    from bbjspec.bbj.checker import BUILTIN_VERSION

    return BUILTIN_VERSION
