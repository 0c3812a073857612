"""`extends`: another experiment's spec, with changes.

A spec and its ancestors are layers, the spec itself first. Mappings are merged, anything else replaces; `null` is a
value like others. The description stays behind: it says what its own run was meant to find out. So does data.publish.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from bbjspec import yamlio
from bbjspec.errors import BadInput, Finding
from bbjspec.spec.names import MEANT, is_name

MAX_LAYERS = 20  # a reader who must open more files than this to know one value has lost
OWN = ("extends", "parent", "description")  # what is not inherited

At = Sequence[str | int]


@dataclass(frozen=True)
class Layer:
    """One file of a chain, as it stands."""

    path: Path
    shown: str
    text: str
    raw: dict[str, Any]

    @cached_property
    def places(self) -> yamlio.Places:
        """Where its values stand."""
        return yamlio.Places(self.text, self.shown)

    @property
    def parent(self) -> str | None:
        """The name that `extends` has, if it is a name."""
        name = self.raw.get("extends")
        return name if isinstance(name, str) else None

    def at_extends(self, message: str) -> Finding:
        """A finding about the parent, at the `extends` line."""
        return Finding(self.shown, *self.places.locate(["extends"], key=False), "extends", message)


@dataclass(frozen=True)
class Chain:
    """The layers that could be read, the spec itself first, and what kept the others from being read."""

    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...]


def read_chain(path: Path, shown: str, text: str | None = None) -> Chain:
    """A spec and its ancestors; `text` is the spec's own when it is not in its file yet.

    Raises BadInput when the spec itself cannot be read. What is wrong with an ancestor is among the chain's findings.
    """
    layers = [_layer(path, shown, yamlio.read_text(path, shown) if text is None else text)]
    while (last := layers[-1]).raw.get("extends") is not None:
        names = [layer.path.name.removesuffix(".yaml") for layer in layers]
        if last.parent in names[:-1]:
            # Each spec of a circle says so itself; one that leads into it says that its parent has errors.
            first = names.index(str(last.parent))
            circle = layers[first].at_extends(f"a circle: {' → '.join([*names[first:], names[first]])}")
            return Chain(tuple(layers[: first + 1]), (circle,))
        problem = _problem(last, len(layers))
        if problem:
            return Chain(tuple(layers), (last.at_extends(problem),))
        parent = last.path.with_name(f"{last.parent}.yaml")
        parent_shown = PurePosixPath(last.shown).with_name(parent.name).as_posix()
        try:
            layers.append(_layer(parent, parent_shown, yamlio.read_text(parent, parent_shown)))
        except BadInput as error:
            return Chain(tuple(layers), (last.at_extends(f"{parent_shown} has errors"), *error.findings))
    return Chain(tuple(layers), ())


def _problem(last: Layer, depth: int) -> str | None:
    """Why the last layer's parent cannot be read."""
    name, folder = last.parent, last.path.parent
    if name is None:
        return "the name of one experiment is meant, such as v2"
    if name.endswith(".yaml") and is_name(PurePosixPath(name).name.removesuffix(".yaml")):
        return f"the name alone is meant: {PurePosixPath(name).name.removesuffix('.yaml')}"
    if not is_name(name):
        return f"not an experiment's name: {MEANT}"
    own = last.path.name.removesuffix(".yaml")
    if name == own:
        return f"{own} cannot extend itself"
    if depth >= MAX_LAYERS:
        return f"more than {MAX_LAYERS} specs in a row; write this one out"
    if not (folder / f"{name}.yaml").is_file():
        there = sorted(p.stem for p in folder.glob("*.yaml") if is_name(p.stem) and p.stem != own)
        close = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(there[:10])}" if there else ""
        return f"no experiment {name} in the same folder" + (f"; {hint}" if hint else "")
    return None


def _layer(path: Path, shown: str, text: str) -> Layer:
    return Layer(path, shown, text, _parsed(text, shown))


@lru_cache(maxsize=64)
def _parsed(text: str, shown: str) -> dict[str, Any]:
    # Many experiments extend one: it is parsed once. Nobody writes into what is returned.
    return yamlio.parse(text, shown)


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """What the first layer says, with all that it inherits."""
    result: dict[str, Any] = {}
    for layer in reversed(layers[1:]):
        result = _merge(result, {key: value for key, value in layer.raw.items() if key not in OWN})
    if isinstance(data := result.get("data"), dict):  # one experiment places its sides: not its children too
        result["data"] = {key: value for key, value in data.items() if key != "publish"}
    return _merge(result, layers[0].raw)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def owner(layers: Sequence[Layer], at: At) -> Layer | None:
    """The layer whose file says what stands at that place after merging; None when none does."""
    for layer in layers:
        node: Any = layer.raw
        for step in at:
            if isinstance(node, dict):
                if step not in node:
                    break
                node = node[step]
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                node = node[step]
            else:
                return layer  # it ends the path here, and hides what lies below
        else:
            return layer
    return None
