"""What an experiment says: one YAML file, validated into a frozen `Experiment` with every default filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from bbjspec.errors import BadInput, Finding
from bbjspec.spec import findings as told_by
from bbjspec.spec.base import Section, conflict
from bbjspec.spec.card import CardSpec
from bbjspec.spec.data import DataSpec
from bbjspec.spec.eval import EvalSpec
from bbjspec.spec.export import ExportSpec
from bbjspec.spec.inherit import Layer, merged, read_chain
from bbjspec.spec.lora import LoraSpec
from bbjspec.spec.model import ModelSpec
from bbjspec.spec.names import MEANT, experiment_name, is_name
from bbjspec.spec.resources import ResourcesSpec
from bbjspec.spec.tracking import TrackingSpec
from bbjspec.spec.training import TrainingSpec

__all__ = ["Experiment", "experiment_name", "load_experiment"]


class Experiment(Section):
    """One experiment, complete."""

    extends: str | None = Field(
        None,
        description="The experiment whose spec this one changes: a file in the same folder, named without .yaml.",
        json_schema_extra={"why": "Most runs change one thing; what it is compared with is then known too."},
    )
    parent: str | None = Field(
        None,
        description="The experiment that the card compares this run with; what `extends` names when not given.",
        json_schema_extra={"why": "`bbjspec new --from` writes it: a copy has no other memory of where it came from."},
    )
    description: str = Field(
        "",
        description="What this run is meant to find out; shown in the card.",
        json_schema_extra={"why": "Not inherited: each run has its own question."},
    )
    model: ModelSpec = Field(description="The base model.")
    data: DataSpec = Field(default_factory=DataSpec, description="Rows, filters, split.")
    lora: LoraSpec = Field(default_factory=LoraSpec, description="The adapter.")
    training: TrainingSpec = Field(default_factory=TrainingSpec, description="How it is learned.")
    tracking: TrackingSpec = Field(default_factory=TrackingSpec, description="Where training reports to.")
    eval: EvalSpec = Field(description="How it is judged.")
    export: ExportSpec = Field(default_factory=ExportSpec, description="What a release is made of.")
    card: CardSpec = Field(default_factory=CardSpec, description="The model card.")
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec, description="What a run may use.")

    @field_validator("parent")
    @classmethod
    def _is_an_experiment(cls, name: str | None) -> str | None:
        if name is not None and not is_name(name):
            raise ValueError(f"not an experiment's name: {MEANT}")
        return name

    @property
    def compared_with(self) -> str | None:
        """The experiment that the card compares this one with."""
        return self.parent or self.extends

    @property
    def gradient_accumulation_steps(self) -> int:
        """Backward passes per optimizer step: the global batch is what a spec says, this follows."""
        return self.training.global_train_batch_size // self._rows_at_once

    @property
    def _rows_at_once(self) -> int:
        return self.training.per_device_train_batch_size * max(1, self.resources.gpu)

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Experiment:
        training, export = self.training, self.export
        if self.resources.gpu == 0 and training.optim.startswith("paged"):
            raise conflict(
                f"optim {training.optim} needs a GPU; with resources.gpu 0 write adamw_torch",
                "training.optim",
                "resources.gpu",
            )
        if message := _indivisible(
            training.global_train_batch_size, training.per_device_train_batch_size, max(1, self.resources.gpu)
        ):
            raise conflict(
                message,
                "training.global_train_batch_size",
                "training.per_device_train_batch_size",
                "resources.gpu",
            )
        if self.model.attn_implementation == "flash_attention_2":
            if self.resources.gpu == 0:
                raise conflict(
                    "flash_attention_2 needs a GPU; with resources.gpu 0 write auto or sdpa",
                    "model.attn_implementation",
                    "resources.gpu",
                )
            if self.model.dtype == "float32":
                raise conflict(
                    "flash_attention_2 computes in 16 bits alone; with dtype float32 write auto or sdpa",
                    "model.attn_implementation",
                    "model.dtype",
                )
        if training.max_length > export.ollama.num_ctx:
            raise conflict(
                f"max_length {training.max_length} is more than export.ollama.num_ctx {export.ollama.num_ctx}: "
                "rows are learned that Ollama would cut; raise num_ctx",
                "training.max_length",
                "export.ollama.num_ctx",
            )
        if export.base_weights == "nf4" and not self.model.load_in_4bit:
            raise conflict(
                "base_weights nf4 is what training saw only with model.load_in_4bit: true; write bf16",
                "export.base_weights",
                "model.load_in_4bit",
            )
        for at, reference in enumerate(self.eval.references):
            if reference.name in export.gguf:
                raise conflict(
                    f"{reference.name} is what the plan calls the GGUF of that type; write another name",
                    f"eval.references.{at}.name",
                    "export.gguf",
                )
        return self


def _indivisible(rows: int, per_device: int, devices: int) -> str:
    """What is wrong with a global batch that does not fall into whole batches of the devices, and what would do."""
    at_once = per_device * devices
    if rows % at_once == 0:
        return ""
    multiples = [str(many) for many in (rows // at_once * at_once, (rows // at_once + 1) * at_once) if many]
    would_do = f"global_train_batch_size {' or '.join(multiples)}"
    share, rest = divmod(rows, devices)
    if not rest:
        divisors = [size for size in range(1, share + 1) if share % size == 0]
        below = [str(size) for size in divisors if size < per_device][-1:]
        above = [str(size) for size in divisors if size > per_device][:1]
        would_do += f", or per_device_train_batch_size {' or '.join(below + above)}"
    on = f" x {devices} GPUs = {at_once}" if devices > 1 else ""
    return (
        f"global_train_batch_size {rows} is no multiple of per_device_train_batch_size {per_device}{on}; "
        f"write {would_do}"
    )


def load_experiment(path: Path, shown: str, text: str | None = None) -> Experiment:
    """Read and validate one spec, with what it inherits. `shown` is how messages name the file.

    `text` is the spec's own when it is not in its file yet. Raises BadInput with every finding at once.
    """
    try:
        chain = read_chain(path, shown, text)
    except BadInput as error:
        raise BadInput(told_by.tidy(error.findings)) from error
    broken = list(chain.findings)
    experiment: Experiment | None = None
    # Ancestors first, so that each finding stands once: at the file that has it.
    for depth in reversed(range(len(chain.layers))):
        layers = chain.layers[depth:]
        experiment, found = _validate(layers, whole=not chain.findings)
        if broken:
            if len(layers) > 1:
                broken.append(layers[0].at_extends(f"{layers[1].shown} has errors"))
            found = [finding for finding in found if finding.file == layers[0].shown]
        broken += found
    if broken or experiment is None:
        raise BadInput(told_by.tidy(broken))
    return experiment


def _validate(layers: tuple[Layer, ...], *, whole: bool) -> tuple[Experiment | None, list[Finding]]:
    raw = merged(layers)
    found, secret = told_by.secret_findings(layers, raw)
    try:
        experiment = Experiment.model_validate(raw)
    except ValidationError as error:
        items: list[Any] = error.errors(include_url=False)
        if whole:
            items += _conflicts_besides(raw, items)
        items = [
            item
            for item in items
            if (whole or (item["type"] not in told_by.NEEDS_ALL and item["loc"][0] != "extends"))
            and not any(told_by.place_of(Experiment, item["loc"])[0][: len(at)] == at for at in secret)
        ]
        # Ten thousand unknown fields are one mistake.
        return None, found + told_by.translate(Experiment, layers, items[: told_by.MAX_FINDINGS + 1])
    return experiment, found


def _conflicts_besides(raw: dict[str, Any], items: list[Any]) -> list[Any]:
    """Conflicts between good fields that pydantic did not look for because a field beside them is bad.

    Only those of which every field is written: a default may be in conflict only because the bad field is left out.
    """
    pruned = raw
    for item in items[: told_by.MAX_FINDINGS]:
        if item["type"] not in told_by.NEEDS_ALL:
            pruned = _without(pruned, item["loc"])
    try:
        Experiment.model_validate(pruned)
    except ValidationError as error:
        return [
            item
            for item in error.errors(include_url=False)
            if item["type"] == "conflict"
            and item["loc"] not in [old["loc"] for old in items if old["type"] == "conflict"]
            and all(_is_in(pruned, (*item["loc"], *told_by.steps(field))) for field in item["ctx"]["fields"])
        ]
    return []


def _without(tree: Any, at: Sequence[str | int]) -> Any:
    if not isinstance(tree, dict) or at[0] not in tree:
        return tree
    # A bad element makes its whole list unknown.
    if len(at) == 1 or not isinstance(tree[at[0]], dict):
        return {key: value for key, value in tree.items() if key != at[0]}
    return tree | {at[0]: _without(tree[at[0]], at[1:])}


def _is_in(tree: Any, at: Sequence[str | int]) -> bool:
    for step in at:
        known = range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, dict) else ()
        if step not in known:
            return False
        tree = tree[step]
    return True
