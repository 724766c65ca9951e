"""The scenario's JSON Schema, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sim.decoding import meanings
from sim.scenario.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario: every setting with its meaning, every policy with its own."""
    made = TypeAdapter(Settings).json_schema(schema_generator=_WithMeanings)
    return {"$schema": DIALECT, **made, "title": "Scenario"}


class _WithMeanings(GenerateJsonSchema):
    """Descriptions are the docstrings under the fields."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        made = super().dataclass_schema(schema)
        for name, says in meanings(schema["cls"]).items():
            if name in made.get("properties", {}):
                made["properties"][name] |= {"description": says}
        return made
