"""`card`: the model card."""

from __future__ import annotations

from pydantic import Field

from bbjspec.spec.base import Section, told


class CardSpec(Section):
    """The card's looks."""

    template: str = Field(
        "templates/MODEL_CARD.md.j2",
        min_length=1,
        description="Jinja2 template of the card.",
        json_schema_extra=told(why="The template that ships; its sections follow the Hub's annotated model card."),
    )
